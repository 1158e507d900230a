"""Microcontroller cores: a C package is compiled, emulated exactly, and its cycles are modelled."""
