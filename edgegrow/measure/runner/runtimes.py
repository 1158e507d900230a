"""The packages that run artifacts."""

from __future__ import annotations

import importlib
import os
from typing import Any

RUNTIMES = {"tflite": ("ai_edge_litert", "tflite_runtime"), "onnx": ("onnxruntime",)}
"""The packages that run each format; the first that is there."""


def import_runtime(format: str) -> Any:
    """Import the package that runs a format: the first of `RUNTIMES` that is here."""
    first = None
    # Else ONNX Runtime 1.31 leaves files in the temporary folder and ~/.cache, and reports by network.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in RUNTIMES[format]:
        try:
            package = importlib.import_module(name)
            if format == "tflite":
                importlib.import_module(name + ".interpreter")
            return package
        except ImportError as error:
            first = first or error
    raise first or ImportError(format)
