"""What a network takes on a target, counted or predicted without running it there."""
