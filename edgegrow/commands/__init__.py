"""Commands of the command line that have names of their own: groups, and what is more than a few lines."""
