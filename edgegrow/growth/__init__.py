"""Growing a network by splitting neurons, under a budget."""
