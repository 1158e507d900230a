"""The founding claims of growing by splitting, each tested on its own; `run.py` runs them."""
