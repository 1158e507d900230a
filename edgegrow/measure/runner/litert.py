"""Running ``.tflite`` artifacts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .runtimes import import_runtime
from .tensors import batch_of_one, check_one_each


class LiteRT:
    """A ``.tflite`` artifact in the interpreter of LiteRT or TensorFlow Lite, with its default delegate."""

    def __init__(self, content: bytes, threads: int) -> None:
        package = import_runtime("tflite")
        self.runtime = "litert" if package.__name__ == "ai_edge_litert" else "tflite-runtime"
        self.version = package.__version__
        self.metadata: dict[str, str] = {}
        self._interpreter = package.interpreter.Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        check_one_each(len(inputs), len(outputs))
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.input, self.output = self._describe(inputs[0]), self._describe(outputs[0])

    @staticmethod
    def _describe(details: dict[str, Any]) -> dict[str, Any]:
        scale, zero_point = details["quantization"]
        quantized = len(details["quantization_parameters"]["scales"]) > 0
        return {
            "name": details["name"],
            "shape": batch_of_one([int(n) for n in details["shape_signature"]]),
            "dtype": np.dtype(details["dtype"]).name,
            "scale": float(scale) if quantized else None,
            "zero_point": int(zero_point) if quantized else None,
        }

    @property
    def kernels(self) -> str:
        """Which kernels run it: a delegate may have declined a part, or all of it."""
        delegated = [op for op in self._interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
        if not delegated:
            return "built-in"
        whole = (
            len(delegated) == 1
            and self._input in delegated[0]["inputs"]
            and self._output in delegated[0]["outputs"]
        )
        return "XNNPACK" if whole else "XNNPACK in part, built-in"

    def set_input(self, x: np.ndarray) -> None:
        """Give it one sample, ``(1, ...)``."""
        self._interpreter.set_tensor(self._input, x)

    def invoke(self) -> None:
        """Run it: what is timed."""
        self._interpreter.invoke()

    def get_output(self) -> np.ndarray:
        """Copy its output, ``(1, ...)``."""
        return self._interpreter.get_tensor(self._output)
