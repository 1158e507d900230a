"""What the runner answers, checked: a device's words are not to be trusted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

MOST_BYTES = 16 << 20
"""Size of an answer at most: 1 MiB of outputs, some thousand timings, what the machine tells of itself."""

_MOST_TIMES = 10_000


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


Text = Annotated[str, Field(max_length=400), AfterValidator(_printable)]
LongText = Annotated[str, Field(max_length=1 << 20), AfterValidator(_printable)]
Nanoseconds = Annotated[int, Field(ge=0, lt=2**53)]
PositiveNanoseconds = Annotated[FiniteFloat, Field(gt=0, lt=2**53)]
Times = Annotated[tuple[Nanoseconds, ...], Field(max_length=_MOST_TIMES)]
Figures = Annotated[dict[Text, FiniteFloat], Field(max_length=1024)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorInfo(_Answer):
    """An artifact's input or output.

    Attributes
    ----------
    name : str
    shape : tuple of int
        With the batch of 1.
    dtype : str
        numpy's name of the type.
    scale, zero_point : float, int, or None
        The real value is ``scale * (q - zero_point)``; ``None`` where the tensor is not quantized.
    """

    name: LongText
    shape: Annotated[tuple[Annotated[int, Field(ge=1, lt=2**31)], ...], Field(max_length=16)]
    dtype: Literal[
        "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
        "float16", "float32", "float64",
    ]  # fmt: skip
    scale: Annotated[FiniteFloat, Field(gt=0)] | None = None
    zero_point: int | None = None


class System(_Answer):
    """What a machine is.

    Attributes
    ----------
    os, machine : str
        Operating system and its version; architecture, e.g. ``aarch64``.
    cpuinfo : dict of str
        From ``/proc/cpuinfo``, where there is one; different cores' values are separated by ``", "``.
    cpu_count : int or None
    governor : str or None
        The rule by which the first processor's clock varies.
    fixed_hz : float or None
        That clock, where its lowest and highest are the same.
    android : dict of str or None
        A phone's model, processor and build.
    """

    os: Text
    machine: Text
    cpuinfo: Annotated[dict[Text, LongText], Field(max_length=64)]
    cpu_count: Annotated[int, Field(ge=1, lt=2**16)] | None
    governor: Text | None
    fixed_hz: FiniteFloat | None
    android: Annotated[dict[Text, Text], Field(max_length=64)] | None


class State(_Answer):
    """How busy, fast and warm a machine is at one moment.

    Attributes
    ----------
    time_s : float
        When, on a clock that only goes forward.
    frequency_hz : dict of float
        Clock of each processor that the runner may use.
    temperature_c : dict of float
        Of each thermal zone.
    load : float or None
        Average number of running processes over the last minute.
    busy_s, stolen_s : float or None
        Seconds that all processors have worked since the machine started, and that other virtual machines
        took from this one; Linux only.
    throttled : bool or None
        Whether the processor is held back at this moment, by its temperature or its supply.
    throttle_events : int
        Times that it has been held back since it started, where it counts them.
    """

    time_s: FiniteFloat
    frequency_hz: Figures = Field(default_factory=dict)
    temperature_c: Figures = Field(default_factory=dict)
    load: FiniteFloat | None = None
    busy_s: FiniteFloat | None = None
    stolen_s: FiniteFloat | None = None
    throttled: bool | None = None
    throttle_events: int = 0


class Opened(_Answer):
    """An artifact that a runtime has opened, and where.

    Attributes
    ----------
    input, output : TensorInfo
    runtime, version, kernels : str
    metadata : dict of str
        What the artifact says of itself.
    python : str
        Version of Python.
    system : System
    affinity : tuple of int
        Processors that the runner may use.
    """

    input: TensorInfo
    output: TensorInfo
    runtime: Text
    version: Text
    kernels: Text
    metadata: Annotated[dict[LongText, LongText], Field(max_length=1024)]
    python: Text
    system: System
    affinity: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**16)], ...], Field(max_length=2**12)]


class Timed(_Answer):
    """Timings of an open artifact.

    Attributes
    ----------
    latency_ns, warmup_ns, load_ns : tuple of int
        Of single inferences, those before them, and loads: from the artifact's bytes to a ready runtime.
    peak_bytes : int or None
        Growth of the process's peak resident memory while the artifact was loaded and run once.
    before, after : State
        Around the timed inferences, after the warm-up.
    warnings : tuple of str
        What makes the timings doubtful.
    """

    latency_ns: Times
    warmup_ns: Times
    load_ns: Times
    peak_bytes: Annotated[int, Field(lt=2**53)] | None
    before: State
    after: State
    warnings: Annotated[tuple[Text, ...], Field(max_length=20)]


class Window(_Answer):
    """Inferences without a pause between them.

    Attributes
    ----------
    start_s : float
        When they began, in s since the device was started.
    seconds : float
        What they took, in s.
    iterations : int
    """

    start_s: Annotated[FiniteFloat, Field(ge=0, lt=2**40)]
    seconds: Annotated[FiniteFloat, Field(gt=0, lt=2**40)]
    iterations: Annotated[int, Field(ge=1, lt=2**53)]


class Answer(Opened, Timed):
    """The answer to a request in a file: `Opened`, `Timed`, and the outputs.

    Attributes
    ----------
    windows : tuple of Window
        For an energy meter.
    outputs_sha256 : str
        Hash of the outputs of all inputs, one after the other.
    outputs : str or None
        They, in base64, where they are small.
    """

    schema_: Literal[1] = Field(alias="schema")
    windows: Annotated[tuple[Window, ...], Field(max_length=1000)] = ()
    outputs_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    outputs: Annotated[str, Field(max_length=2 << 20)] | None


class InTurn(Opened):
    """The answer to a request in a file for several artifacts: `Opened` is of the first.

    Attributes
    ----------
    windows_ns : tuple of tuple of float
        Of each artifact, the median of each of its windows.
    """

    schema_: Literal[1] = Field(alias="schema")
    windows_ns: Annotated[
        tuple[Annotated[tuple[PositiveNanoseconds, ...], Field(max_length=1000)], ...],
        Field(max_length=1000),
    ]


class Refused(BaseModel):
    """Why there is no answer.

    Attributes
    ----------
    error : str
        One line.
    missing : str or None
        The runtime's package that cannot be imported.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    error: Text
    missing: Literal["ai_edge_litert", "onnxruntime"] | None = None
