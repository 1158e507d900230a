"""The program that opens and runs artifacts in a process of its own.

A damaged artifact can crash its runtime, or make it ask for gigabytes; here it takes only this process with
it. The process is also free of training's threads and memory, so that what it measures is the artifact's.

The file needs nothing of edgegrow: Python 3.8, numpy and the artifact's runtime (``ai-edge-litert`` or
``onnxruntime``) suffice, wherever it is copied to. It reads requests on stdin and answers on stdout, each one
line of JSON whose ``bytes`` says how many bytes of payload follow:

========= ============================================== ==================================================
do        request, payload                               answer, payload
========= ============================================== ==================================================
open      format, threads; the artifact                  input, output, runtime, version, kernels, metadata,
                                                         load_ns
run       n; n input samples                             n; n output samples
measure   min_iterations, min_seconds, max_samples       latency_ns; load_ns of further loads; peak_bytes or
                                                         null
========= ============================================== ==================================================

An answer of ``{"error": "..."}`` is one line that says what the artifact lacks.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAX_SAMPLES = 2000
"""Timings kept: p99 rests on 20 of them, and a profile stays small."""

OPEN_BYTES = 2**31
"""Memory that opening an artifact may take beyond eight times its size; damaged ones ask for any amount."""

OPEN_SECONDS = 60
"""Time that opening an artifact and running it once may take."""

REOPENED = 4
"""Further loads when measuring: the first one is slower, the median tells what a start costs."""

RUNTIMES = {"tflite": "ai_edge_litert", "onnx": "onnxruntime"}
"""The package that runs each format."""


class Unusable(Exception):
    """The artifact cannot be run; the message says why."""


def time_calls(
    call: Callable[[], object],
    *,
    warmup: int = 5,
    min_iterations: int = 50,
    min_seconds: float = 1.0,
    max_samples: int = MAX_SAMPLES,
) -> np.ndarray:
    """Time repeated calls, one by one, in this process.

    Garbage collection waits meanwhile. Where there are more calls than `max_samples`, every second, fourth,
    ... of them is kept, spread over the whole time.

    Parameters
    ----------
    call : callable
        What to time.
    warmup : int
        Calls before the first timed one.
    min_iterations : int
        Timed calls at least.
    min_seconds : float
        Time that they take at least, in seconds.
    max_samples : int
        Timings returned at most; 2 or more.

    Returns
    -------
    ndarray
        int64 ``(samples,)``, nanoseconds.
    """
    clock = time.perf_counter_ns
    for _ in range(warmup):
        call()
    kept, stride, calls = [], 1, 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = clock() + int(min_seconds * 1e9)
        while True:
            before = clock()
            call()
            after = clock()
            if calls % stride == 0:
                kept.append(after - before)
            calls += 1
            if calls >= min_iterations and after >= end:
                break
            if len(kept) >= max_samples:
                kept, stride = kept[::2], stride * 2
    finally:
        if collecting:
            gc.enable()
    return np.array(kept, np.int64)


class LiteRT:
    """A ``.tflite`` artifact in LiteRT's interpreter, with its default delegate."""

    runtime = "litert"

    def __init__(self, content: bytes, threads: int) -> None:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        self.version = ai_edge_litert.__version__
        self.metadata: dict[str, str] = {}
        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        _one_each(len(inputs), len(outputs))
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.input, self.output = self._describe(inputs[0]), self._describe(outputs[0])

    @staticmethod
    def _describe(details: dict[str, Any]) -> dict[str, Any]:
        scale, zero_point = details["quantization"]
        quantized = len(details["quantization_parameters"]["scales"]) > 0
        return {
            "name": details["name"],
            "shape": _batch_of_one([int(n) for n in details["shape_signature"]]),
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
        _one_each(len(inputs), len(outputs))
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.input, self.output = self._describe(inputs[0]), self._describe(outputs[0])
        self._binding = self._session.io_binding()
        self._binding.bind_output(self.output["name"])

    @staticmethod
    def _describe(tensor: Any) -> dict[str, Any]:
        element = tensor.type[len("tensor(") : -1]
        return {
            "name": tensor.name,
            "shape": _batch_of_one([n if isinstance(n, int) else -1 for n in tensor.shape]),
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


def _one_each(inputs: int, outputs: int) -> None:
    if (inputs, outputs) != (1, 1):
        raise Unusable(f"it has {inputs} inputs and {outputs} outputs, not one of each")


def _batch_of_one(shape: list[int]) -> list[int]:
    """Settle a batch that was left open (-1); one sample is what a device is given."""
    return [1, *shape[1:]] if shape[:1] == [-1] else shape


def _check_tensor(what: str, tensor: dict[str, Any]) -> None:
    shape = tensor["shape"]
    if min(shape, default=0) < 1 or shape[0] != 1:
        raise Unusable(f"its {what} has shape {shape}: export it with fixed sizes and a batch of 1")
    if tensor["dtype"] not in ("int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32"):
        raise Unusable(f"its {what} holds {tensor['dtype']}, not numbers")


def _status(field: str) -> int | None:
    """Bytes of a field of Linux's ``/proc/self/status``, e.g. ``VmRSS``; None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
    except (OSError, StopIteration):
        return None


def _reset_peak() -> int | None:
    """Start a new peak of resident memory; returns where it starts, in bytes, or None where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmHWM")


class _Limits:
    """Bounds on time and address space, while an artifact is opened."""

    def __init__(self, extra_bytes: int) -> None:
        self.extra = extra_bytes

    def __enter__(self) -> None:
        if hasattr(signal, "alarm"):
            signal.alarm(OPEN_SECONDS)
        size = _status("VmSize")
        if size is not None:
            import resource

            self._before = resource.getrlimit(resource.RLIMIT_AS)
            limit = size + self.extra
            hard = self._before[1]
            resource.setrlimit(
                resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
            )

    def __exit__(self, *exception: object) -> None:
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        if hasattr(self, "_before"):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, self._before)


class Server:
    """Answers requests about one open artifact."""

    def __init__(self) -> None:
        self.content, self.format, self.threads = b"", "", 1
        self.artifact: Any = None
        self.peak_bytes: int | None = None

    def answer(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer one request, with a payload of its own."""
        if request["do"] == "open":
            self.artifact = None
            self.format, self.threads, self.content = request["format"], request["threads"], payload
            return self.open(), b""
        if self.artifact is None:
            raise Unusable("it is not open")
        if request["do"] == "run":
            return self.run(request["n"], payload)
        return self.measure(request["min_iterations"], request["min_seconds"], request["max_samples"]), b""

    def _load(self) -> tuple[Any, int]:
        runtime = LiteRT if self.format == "tflite" else OnnxRuntime
        before = time.perf_counter_ns()
        artifact = runtime(self.content, self.threads)
        return artifact, time.perf_counter_ns() - before

    def open(self) -> dict[str, Any]:
        """Load the artifact and run it once, within bounds."""
        __import__(RUNTIMES[self.format])
        if self.format == "tflite":
            __import__("ai_edge_litert.interpreter")
        with _Limits(OPEN_BYTES + 8 * len(self.content)):
            start = _reset_peak()
            artifact, load_ns = self._load()
            _check_tensor("input", artifact.input)
            _check_tensor("output", artifact.output)
            x = np.zeros(artifact.input["shape"], artifact.input["dtype"])
            artifact.set_input(x)
            artifact.invoke()
            artifact.get_output()
            peak = _status("VmHWM")
        self.peak_bytes = None if start is None or peak is None else peak - start
        self.artifact = artifact
        names = ("input", "output", "runtime", "version", "kernels", "metadata")
        return {**{name: getattr(artifact, name) for name in names}, "load_ns": load_ns}

    def run(self, n: int, payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Run `n` samples, one after the other."""
        details = self.artifact.input
        x = np.frombuffer(payload, details["dtype"]).reshape(n, *details["shape"])
        outputs = []
        for sample in x:
            self.artifact.set_input(sample)
            self.artifact.invoke()
            outputs.append(self.artifact.get_output().tobytes())
        return {"n": n}, b"".join(outputs)

    def measure(self, min_iterations: int, min_seconds: float, max_samples: int) -> dict[str, Any]:
        """Time inferences of a random input (the same every time), and further loads."""
        details = self.artifact.input
        generator = np.random.default_rng(0)
        if details["dtype"].startswith("float"):
            x = generator.standard_normal(details["shape"]).astype(details["dtype"])
        else:
            kind = np.iinfo(details["dtype"])
            x = generator.integers(kind.min, kind.max, details["shape"], details["dtype"], endpoint=True)
        self.artifact.set_input(x)
        latency = time_calls(
            self.artifact.invoke,
            min_iterations=min_iterations,
            min_seconds=min_seconds,
            max_samples=max_samples,
        )
        loads = [self._load()[1] for _ in range(REOPENED)]
        return {"latency_ns": latency.tolist(), "load_ns": loads, "peak_bytes": self.peak_bytes}


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"it asks for more than {OPEN_BYTES // 2**30} GiB of memory"
    text = " ".join(str(error).split())
    return text if isinstance(error, Unusable) else f"{text[:200] or type(error).__name__}"


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    server = Server()
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request.get("bytes", 0))
        try:
            answer, payload = server.answer(request, content)
        except ImportError as error:
            answer, payload = {"error": _one_line(error), "missing": RUNTIMES[request["format"]]}, b""
        except Exception as error:  # a runtime refuses an artifact with exceptions of any class
            answer, payload = {"error": _one_line(error)}, b""
        answers.write(json.dumps({**answer, "bytes": len(payload)}).encode() + b"\n" + payload)
        answers.flush()


def main() -> None:
    """Serve stdin and stdout; what the runtimes themselves print goes to stderr."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
