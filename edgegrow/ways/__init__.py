"""How an artifact is measured, one way a function; `edgegrow.measuring` chooses among them."""
