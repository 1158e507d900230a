"""Grow tiny neural networks by splitting neurons, under a budget measured on the device that runs them."""

__version__ = "0.1.0"
