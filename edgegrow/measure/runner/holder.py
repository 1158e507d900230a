"""An artifact that is open, and its outputs."""

from __future__ import annotations

import platform
import time
from typing import Any

import numpy as np

from .bounds import OPEN_BYTES, Bounds, reset_peak, status_bytes
from .litert import LiteRT
from .machine import processors, system
from .onnx_runtime import OnnxRuntime
from .runtimes import import_runtime
from .tensors import Unusable, check_tensor


class Holder:
    """Holds one open artifact.

    Attributes
    ----------
    load_ns : int
        What its loading took.
    peak_bytes : int or None
        Growth of the process's peak resident memory while it was loaded and run once.
    """

    def __init__(self) -> None:
        self._artifact: Any = None

    def open(self, content: bytes, format: str, threads: int) -> dict[str, Any]:
        """Load an artifact and run it once, within bounds; tell what it is, and where."""
        self.load_once(content, format, threads)
        return self.told()

    def load_once(self, content: bytes, format: str, threads: int) -> None:
        """Load an artifact and run it once, within bounds."""
        self._artifact, self._content, self._threads = None, content, threads
        self._runtime = LiteRT if format == "tflite" else OnnxRuntime
        import_runtime(format)
        with Bounds(OPEN_BYTES + 8 * len(content)):
            start = reset_peak()
            artifact, self.load_ns = self.load()
            check_tensor("input", artifact.input)
            check_tensor("output", artifact.output)
            artifact.set_input(np.zeros(artifact.input["shape"], artifact.input["dtype"]))
            artifact.invoke()
            artifact.get_output()
            peak = status_bytes("VmHWM")
        self.peak_bytes = None if start is None or peak is None else peak - start
        self._artifact = artifact

    def told(self) -> dict[str, Any]:
        """Tell what the artifact is, and where."""
        names = ("input", "output", "runtime", "version", "kernels", "metadata")
        told = {name: getattr(self.opened(), name) for name in names}
        return {**told, "python": platform.python_version(), "system": system(), "affinity": processors()}

    def load(self) -> tuple[Any, int]:
        """Load the artifact once more: what runs it, and the ns that it took."""
        before = time.perf_counter_ns()
        artifact = self._runtime(self._content, self._threads)
        return artifact, time.perf_counter_ns() - before

    def opened(self) -> Any:
        """Return what runs the artifact."""
        if self._artifact is None:
            raise Unusable("it is not open")
        return self._artifact

    def run(self, x: np.ndarray) -> bytes:
        """Run samples ``(n, ...)``, one after the other."""
        artifact, outputs = self.opened(), []
        for sample in x.reshape(len(x), *artifact.input["shape"]):
            artifact.set_input(sample)
            artifact.invoke()
            outputs.append(artifact.get_output().tobytes())
        return b"".join(outputs)

    def random_sample(self) -> np.ndarray:
        """Draw one random input, the same every time."""
        shape, dtype = (self.opened().input[key] for key in ("shape", "dtype"))
        generator = np.random.default_rng(0)
        if dtype.startswith("float"):
            return generator.standard_normal(shape).astype(dtype)
        kind = np.iinfo(dtype)
        return generator.integers(kind.min, kind.max, shape, dtype, endpoint=True)
