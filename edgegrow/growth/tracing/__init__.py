"""Following channels through a traced network."""
