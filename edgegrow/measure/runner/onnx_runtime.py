"""Running ``.onnx`` artifacts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tensors import batch_of_one, check_one_each


class OnnxRuntime:
    """An ``.onnx`` artifact in ONNX Runtime on the CPU; input and output stay bound between calls."""

    runtime = "onnxruntime"
    kernels = "CPUExecutionProvider"

    def __init__(self, content: bytes, threads: int) -> None:
        import onnxruntime as ort

        self.version = ort.__version__
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Waiting threads that spin take the processor from the others, and from the clock.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            content, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_one_each(len(inputs), len(outputs))
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.input, self.output = self._describe(inputs[0]), self._describe(outputs[0])
        self._binding = self._session.io_binding()
        self._binding.bind_output(self.output["name"])

    @staticmethod
    def _describe(tensor: Any) -> dict[str, Any]:
        element = tensor.type[len("tensor(") : -1]
        return {
            "name": tensor.name,
            "shape": batch_of_one([n if isinstance(n, int) else -1 for n in tensor.shape]),
            "dtype": {"float": "float32", "double": "float64"}.get(element, element),
            "scale": None,
            "zero_point": None,
        }

    def set_input(self, x: np.ndarray) -> None:
        """Give it one sample, ``(1, ...)``."""
        self._x = np.ascontiguousarray(x)  # the binding reads this memory at every call
        self._binding.bind_cpu_input(self.input["name"], self._x)

    def invoke(self) -> None:
        """Run it: what is timed."""
        self._session.run_with_iobinding(self._binding)

    def get_output(self) -> np.ndarray:
        """Copy its output, ``(1, ...)``."""
        return self._binding.copy_outputs_to_cpu()[0]
