"""The table of growing against its controls: its tasks, arms, cells and statistics."""
