"""Ladders and goals against their alternatives: what is asked, cells, and what came of them."""
