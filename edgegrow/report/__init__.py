"""What a run did, for people: terminal tables."""
