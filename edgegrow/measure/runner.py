"""The program that opens, runs and times artifacts: on this machine and on every other device, the same file.

It needs nothing of edgegrow: Python 3.9, numpy and the artifact's runtime (``ai-edge-litert``,
``tflite-runtime`` or ``onnxruntime``) suffice, wherever it is copied to; hence one file. It is a process of
its own: a damaged artifact takes only this process with it, and what it measures is free of training's
threads and memory.

``runner.py REQUEST.json`` answers one request of `KEYS`: it prints one line of JSON and ends with 0, or with
3 and ``{"error": "one line"}`` (``missing`` names the runtime that cannot be imported).

``runner.py`` without it reads requests on stdin and answers on stdout, each one line of JSON whose ``bytes``
says how many bytes of payload follow:

========= ============================================== ==================================================
do        request, payload                               answer, payload
========= ============================================== ==================================================
open      format, threads; the artifact                  input, output, runtime, version, kernels, metadata,
                                                         python, system, affinity
run       n; n input samples                             n; n output samples
measure   min_iterations, min_seconds, max_samples,      latency_ns, warmup_ns, load_ns, peak_bytes, before,
          settle_seconds                                 after, warnings
========= ============================================== ==================================================
"""

from __future__ import annotations

import base64
import gc
import hashlib
import importlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

KEYS = {
    "artifact": None,  # the artifact's file, beside the request
    "format": None,  # tflite or onnx
    "inputs": None,  # .npy file, (n, ...) of the artifact's input; by default one random sample
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

MARK_SYSCALL = 60000
"""A system call that no Linux has; its argument is 1 where an inference begins and 0 where it ends."""

SETTLING = 17
"""Inferences after the first load, the last of which counts: Python makes what repeats faster."""

RESETTLING = 2
"""Inferences after each further load, the last of which counts: a runtime plans its memory at the first."""

MAX_OUTPUT_BYTES = 1 << 20
"""Outputs that are part of the answer; of larger ones it has the digest alone."""

OPEN_BYTES = 2**31
"""Memory that opening an artifact may take beyond eight times its size; damaged ones ask for any amount."""

OPEN_SECONDS = 60
"""Time that opening an artifact and running it once may take."""

REOPENED = 4
"""Further loads when measuring: the first one is slower, the median tells what a start costs."""

RUNTIMES = {"tflite": ("ai_edge_litert", "tflite_runtime"), "onnx": ("onnxruntime",)}
"""The packages that run each format; the first that is there."""

SYS = Path("/sys")

_WINDOW, _STEADY, _LEAST_WARM_NS = 5, 0.97, 50_000_000
_FACTS = ("vendor_id", "model name", "Model", "Hardware", "uarch", "CPU implementer", "CPU part",
          "CPU variant", "CPU revision", "Features", "flags")  # fmt: skip
_PROPERTIES = ("ro.product.model", "ro.soc.model", "ro.build.fingerprint")
_NUMBERS = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32")


class Unusable(Exception):
    """The artifact cannot be run; the message says why."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Let garbage collection wait."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def warm_up(call: Callable[[], object], max_seconds: float) -> tuple[list[int], bool]:
    """Repeat a call until its times stop falling: twice in turn, no time in a window is a new best by 3 %.

    Parameters
    ----------
    call : callable
    max_seconds : float
        Time after which it ends anyhow, in s; 0 for one window of 5 calls.

    Returns
    -------
    nanoseconds : list of int
        One a call.
    settled : bool
        Whether they stopped falling, or were not asked to.
    """
    clock = time.perf_counter_ns
    times: list[int] = []
    start, steady = clock(), 0
    while True:
        best = min(times, default=0)
        for _ in range(_WINDOW):
            before = clock()
            call()
            times.append(clock() - before)
        steady = steady + 1 if min(times[-_WINDOW:]) >= _STEADY * best and best else 0
        taken = clock() - start
        if steady >= 2 and taken >= _LEAST_WARM_NS:
            return times, True
        if taken >= max_seconds * 1e9:
            return times, max_seconds == 0


def time_calls(
    call: Callable[[], object], *, min_iterations: int, min_seconds: float, max_samples: int
) -> np.ndarray:
    """Time repeated calls, one by one, in this process; garbage collection waits meanwhile.

    Where there are more calls than `max_samples`, every second, fourth, ... of them is kept, spread over the
    whole time.

    Parameters
    ----------
    call : callable
        What to time.
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
    kept, stride, calls = [], 1, 0
    with uncollected():
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
    return np.array(kept, np.int64)


def boot_seconds() -> float:
    """Seconds since this machine was started, by the clock of ``/proc/uptime``, which all processes share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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
    if tensor["dtype"] not in _NUMBERS:
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


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except (OSError, ValueError):
        return None


def _number(path: Path) -> float | None:
    with suppress(TypeError, ValueError):
        return float(_text(path))  # type: ignore[arg-type]
    return None


def processors() -> list[int]:
    """Numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(wanted: list[int]) -> None:
    """Run on these processors alone."""
    try:
        os.sched_setaffinity(0, wanted)
    except (OSError, ValueError, AttributeError) as error:
        raise Unusable(f"it cannot run on the processors {wanted}: {processors()} are here") from error


def system() -> dict[str, Any]:
    """Tell what does not change: operating system, processor, its clock where it is fixed, the phone."""
    facts: dict[str, list[str]] = {}
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in _FACTS and value.strip() not in facts.setdefault(key.strip(), []):
            facts[key.strip()].append(value.strip())
    clocks = SYS / f"devices/system/cpu/cpu{processors()[0]}/cpufreq"
    slowest, fastest = _number(clocks / "scaling_min_freq"), _number(clocks / "scaling_max_freq")
    return {
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpuinfo": {key: ", ".join(values) for key, values in facts.items()},
        "cpu_count": os.cpu_count(),
        "governor": _text(clocks / "scaling_governor"),
        "fixed_hz": fastest * 1e3 if fastest is not None and slowest == fastest else None,
        "android": android(),
    }


def android() -> dict[str, str] | None:
    """Model, processor and build of an Android phone."""
    if not Path("/system/bin/getprop").exists():
        return None
    found = {}
    for name in _PROPERTIES:
        with suppress(OSError, subprocess.SubprocessError):
            command = ["/system/bin/getprop", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, timeout=5, check=True)
            found[name] = done.stdout.decode(errors="replace").strip()
    return found


def state() -> dict[str, Any]:
    """Tell how busy, fast and warm the machine is just now; what it does not tell is None, or left out."""
    cpus, zones = SYS / "devices/system/cpu", {}
    for zone in sorted((SYS / "class/thermal").glob("thermal_zone*"))[:64]:
        millidegrees = _number(zone / "temp")
        if millidegrees is not None:
            zones[f"{zone.name[12:]} {_text(zone / 'type')}"] = millidegrees / 1e3
    clocks = {str(n): _number(cpus / f"cpu{n}/cpufreq/scaling_cur_freq") for n in processors()}
    busy_s = stolen_s = load = None
    with suppress(OSError, ValueError, IndexError, AttributeError):
        # user nice system idle iowait irq softirq steal
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        busy_s, stolen_s = (sum(ticks[:3]) + sum(ticks[5:7])) / second, ticks[7] / second
    with suppress(OSError, AttributeError):
        load = os.getloadavg()[0]
    events = _number(cpus / f"cpu{processors()[0]}/thermal_throttle/core_throttle_count")
    return {
        "time_s": time.monotonic(),
        "frequency_hz": {n: kilohertz * 1e3 for n, kilohertz in clocks.items() if kilohertz is not None},
        "temperature_c": zones,
        "load": load,
        "busy_s": busy_s,
        "stolen_s": stolen_s,
        "throttled": throttled(),
        "throttle_events": int(events or 0),
    }


def throttled() -> bool | None:
    """Tell whether the processor is held back now, by its temperature or its supply."""
    held = [
        (_number(device / "cur_state") or 0) > 0
        for device in (SYS / "class/thermal").glob("cooling_device*")
        if re.search("cpufreq|cpu|Processor", _text(device / "type") or "")
    ]
    with suppress(TypeError, ValueError):
        # A Raspberry Pi's firmware: low voltage, clock capped, throttled, soft limit of temperature.
        flags = _text(SYS / "devices/platform/soc/soc:firmware/get_throttled")
        held.append(int(flags, 16) & 0xF != 0)  # type: ignore[arg-type]
    return any(held) if held else None


class Holder:
    """Holds one open artifact."""

    def __init__(self) -> None:
        self.artifact: Any = None

    def open(self, content: bytes, format: str, threads: int) -> dict[str, Any]:
        """Load an artifact and run it once, within bounds."""
        self.artifact, self.content, self.threads = None, content, threads
        self.runtime = LiteRT if format == "tflite" else OnnxRuntime
        import_runtime(format)
        with _Limits(OPEN_BYTES + 8 * len(content)):
            start = _reset_peak()
            artifact, self.load_ns = self._load()
            _check_tensor("input", artifact.input)
            _check_tensor("output", artifact.output)
            artifact.set_input(np.zeros(artifact.input["shape"], artifact.input["dtype"]))
            artifact.invoke()
            artifact.get_output()
            peak = _status("VmHWM")
        self.peak_bytes = None if start is None or peak is None else peak - start
        self.artifact = artifact
        names = ("input", "output", "runtime", "version", "kernels", "metadata")
        told = {name: getattr(artifact, name) for name in names}
        return {**told, "python": platform.python_version(), "system": system(), "affinity": processors()}

    def _load(self) -> tuple[Any, int]:
        before = time.perf_counter_ns()
        artifact = self.runtime(self.content, self.threads)
        return artifact, time.perf_counter_ns() - before

    def opened(self) -> Any:
        """Return the artifact."""
        if self.artifact is None:
            raise Unusable("it is not open")
        return self.artifact

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

    def measure(
        self, x: np.ndarray, min_iterations: int, min_seconds: float, max_samples: int, settle_seconds: float
    ) -> dict[str, Any]:
        """Time inferences of a sample ``(1, ...)``, and further loads."""
        artifact = self.opened()
        artifact.set_input(x)
        warm, settled = warm_up(artifact.invoke, settle_seconds)
        before = state()
        latency = time_calls(
            artifact.invoke,
            min_iterations=min_iterations,
            min_seconds=min_seconds,
            max_samples=max_samples,
        )
        after = state()
        return {
            "latency_ns": latency.tolist(),
            "warmup_ns": warm[:max_samples],
            "load_ns": [self.load_ns] + [self._load()[1] for _ in range(REOPENED)],
            "peak_bytes": self.peak_bytes,
            "before": before,
            "after": after,
            "warnings": [] if settled else [f"times still fell after {settle_seconds:g} s of warm-up"],
        }

    def mark(self, x: np.ndarray, iterations: int) -> dict[str, Any]:
        """Run inferences of a sample ``(1, ...)`` between two system calls each, and never read a clock.

        Each that counts is of an artifact that is loaded anew: where its memory lies has a part in the count.
        """
        import ctypes

        call = ctypes.CDLL(None).syscall
        with uncollected():
            for n in range(iterations):
                artifact, _ = self._load()
                artifact.set_input(x)
                for _ in range(SETTLING if n == 0 else RESETTLING):
                    call(MARK_SYSCALL, 1)
                    artifact.invoke()
                    call(MARK_SYSCALL, 0)
        # No state either: what is read of the machine moves what lies in memory behind it.
        untold = {"time_s": 0.0}
        nothing: dict[str, Any] = {"latency_ns": [], "warmup_ns": [], "load_ns": [], "warnings": []}
        return {**nothing, "peak_bytes": self.peak_bytes, "before": untold, "after": untold}

    def repeat(
        self,
        x: np.ndarray,
        windows: int,
        pause_seconds: float,
        min_iterations: int,
        min_seconds: float,
        settle_seconds: float,
    ) -> dict[str, Any]:
        """Infer a sample ``(1, ...)`` in windows, for an energy meter."""
        artifact, done = self.opened(), []
        artifact.set_input(x)
        warm, _ = warm_up(artifact.invoke, settle_seconds)
        # The clock is read once a millisecond or so: it draws power too.
        batch = range(max(1, int(1e6 / max(1, np.median(warm)))))
        before = state()
        with uncollected():
            for _ in range(windows):
                time.sleep(pause_seconds)
                calls, elapsed, start = 0, 0.0, boot_seconds()
                while calls < min_iterations or elapsed < min_seconds:
                    for _ in batch:
                        artifact.invoke()
                    calls, elapsed = calls + len(batch), boot_seconds() - start
                done.append({"start_s": start, "seconds": elapsed, "iterations": calls})
            time.sleep(pause_seconds)
        nothing: dict[str, Any] = {"latency_ns": [], "warmup_ns": [], "load_ns": [], "warnings": []}
        return {**nothing, "peak_bytes": self.peak_bytes, "before": before, "after": state(), "windows": done}


def fulfil(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer one request about files in a folder."""
    if request["affinity"] is not None:
        pin(request["affinity"])
    holder = Holder()
    content = (folder / request["artifact"]).read_bytes()
    opened = holder.open(content, request["format"], request["threads"])
    if request["inputs"] is None:
        x = holder.random_sample()
    else:
        x = np.load(folder / request["inputs"], allow_pickle=False)
        if (x.dtype.name, [1, *x.shape[1:]]) != (opened["input"]["dtype"], opened["input"]["shape"]):
            raise Unusable(f"its input is {opened['input']['dtype']} {opened['input']['shape']} here")
    outputs = holder.run(x)
    if request["marks"]:
        measured = holder.mark(x[:1], request["iterations"])
    elif request["windows"]:
        pauses = {name: request[name] for name in ("windows", "pause_seconds")}
        least = {name: request[name] for name in ("min_iterations", "min_seconds", "settle_seconds")}
        measured = holder.repeat(x[:1], **pauses, **least)
    else:
        names = ("min_iterations", "min_seconds", "max_samples", "settle_seconds")
        measured = holder.measure(x[:1], **{name: request[name] for name in names})
    return {
        "schema": 1,
        **opened,
        **measured,
        "outputs_sha256": hashlib.sha256(outputs).hexdigest(),
        "outputs": base64.b64encode(outputs).decode() if len(outputs) < MAX_OUTPUT_BYTES else None,
    }


def answer(holder: Holder, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Answer one request of several, with a payload of its own."""
    if request["do"] == "open":
        return holder.open(payload, request["format"], request["threads"]), b""
    if request["do"] == "run":
        details = holder.opened().input
        x = np.frombuffer(payload, details["dtype"]).reshape(request["n"], *details["shape"])
        return {"n": request["n"]}, holder.run(x)
    names = ("min_iterations", "min_seconds", "max_samples", "settle_seconds")
    return holder.measure(holder.random_sample(), **{name: request[name] for name in names}), b""


def refusal(error: Exception, format: str) -> dict[str, Any]:
    """Say in one line why a request is not answered; which runtime is missing, where it is that."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"it asks for more than {OPEN_BYTES // 2**30} GiB of memory"
    if isinstance(error, ImportError):
        return {"error": text, "missing": RUNTIMES[format][0]}
    return {"error": text}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    holder = Holder()
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        content = requests.read(request.get("bytes", 0))
        try:
            found, payload = answer(holder, request, content)
        except Exception as error:  # a runtime refuses an artifact with exceptions of any class
            found, payload = refusal(error, request.get("format", "tflite")), b""
        answers.write(json.dumps({**found, "bytes": len(payload)}).encode() + b"\n" + payload)
        answers.flush()


def main() -> int:
    """Answer the request that is named, or those on stdin; what the runtimes themselves print is stderr's."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        if len(sys.argv) < 2:
            serve(sys.stdin.buffer, answers)
            return 0
        path = Path(sys.argv[1])
        request = {**KEYS, **json.loads(path.read_text(encoding="utf-8"))}
        try:
            found = fulfil(request, path.parent)
        except Exception as error:  # as in serve
            found = refusal(error, request["format"])
        answers.write(json.dumps(found).encode() + b"\n")
        return 3 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main())
