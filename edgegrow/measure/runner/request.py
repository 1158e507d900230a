"""What a request in a file asks for."""

from __future__ import annotations

from typing import Any

KEYS: dict[str, Any] = {
    "artifact": None,  # the artifact's file, beside the request
    "format": None,  # tflite or onnx
    "inputs": None,  # .npy file, (n, ...) of the artifact's input; by default one random sample
    "sizes": None,  # bytes of several artifacts that follow each other in the file, to be timed in turn
    "rounds": 1,  # windows of each of them
    "threads": 1,
    "affinity": None,  # numbers of the processors to run on
    "min_iterations": 50,
    "min_seconds": 1.0,
    "max_samples": 2000,
    "settle_seconds": 3.0,  # the longest warm-up
    "marks": False,  # for a counter of instructions: no clock; a system call before and after each inference
    "iterations": 5,  # how many inferences count: the last of each load
    "windows": 0,  # for an energy meter: so many windows of min_iterations and min_seconds, nothing is timed
    "pause_seconds": 0.0,  # before each window
}
"""A request, with its defaults."""
