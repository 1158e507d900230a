"""Targets: devices with their runtimes, described by TOML files, each number with its source."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.measure.arm.scale import CycleScale
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.mcu.cores import find_core
from edgegrow.measure.meters.constant import ActivePower
from edgegrow.measure.protocol import TargetRef, Word, explain

SOURCED = ("soc", "memory", "cost", "power")
"""Tables whose every number names its source."""

# Products of a few such numbers stay finite.
Positive = Annotated[FiniteFloat, Field(ge=1e-12, le=1e15)]
Count = Annotated[int, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Soc(_Frozen):
    """The processor.

    Attributes
    ----------
    core : str or None
        E.g. ``Cortex-M4``.
    clock_hz, voltage_v : float or None
        The fixed clock in Hz and the supply in V that figures hold for.
    isa : tuple of str
        Features of its instruction set that kernels use, e.g. ``dsp``, ``neon``, ``vnni``.
    """

    core: Word | None = None
    clock_hz: Positive | None = None
    voltage_v: Positive | None = None
    isa: tuple[Word, ...] = ()


class Memory(_Frozen):
    """Memory that an application may use, in bytes."""

    flash_bytes: Count | None = None
    ram_bytes: Count | None = None


class Runtime(_Frozen):
    """What runs an artifact.

    Attributes
    ----------
    names : tuple of str
        Runtimes that the target has, one a format at most: ``litert``, ``onnxruntime``, ``tflm``, ...
    version, compiler, kernels : str or None
        Fixed ones; a host's are found out when measuring.
    threads : int
    affinity : str or None
        Processors to run on, e.g. ``4-7``.
    """

    names: Annotated[tuple[Word, ...], Field(min_length=1)]
    version: Word | None = None
    compiler: Word | None = None
    kernels: Word | None = None
    threads: Count = 1
    affinity: Annotated[str, Field(pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$")] | None = None


class Cost(_Frozen):
    """How a cost model predicts this target.

    Attributes
    ----------
    channel_block : int or None
        Channels that kernels compute at once: a layer's time steps with this.
    latency_table : str or None
        File that ``edgegrow targets calibrate --out`` has written, beside the target's file: measured
        latencies of layers, or emulated networks. Where it is left out, they are kept in the user's cache.
    cycle_scale : float or None
        Cycles on the device for one of the cycle model's, or, of a Linux or Android target, for one
        instruction that is counted in the emulator.
    calibration : str or None
        With which networks, when and how the table or scale was found.
    error : float or None
        Relative error of predictions on networks that calibration has not seen; 0.1 is 10 %.
    """

    channel_block: Count | None = None
    latency_table: Word | None = None
    cycle_scale: Positive | None = None
    calibration: Word | None = None
    error: Annotated[FiniteFloat, Field(ge=0, le=1e3)] | None = None


class Power(_Frozen):
    """What it consumes.

    Attributes
    ----------
    active_w, pj_per_cycle : float or None
        While it infers, in W or in pJ a cycle.
    idle_w : float or None
        In W.
    error : float or None
        Relative deviation of what others published for the same board and voltage; 0.1 is 10 %.
    conditions : str or None
        Voltage, clock, and whose row it is.
    """

    active_w: Positive | None = None
    pj_per_cycle: Positive | None = None
    idle_w: Annotated[FiniteFloat, Field(ge=0)] | None = None
    error: Annotated[FiniteFloat, Field(ge=0, le=1e3)] | None = None
    conditions: Word | None = None


class Emulator(_Frozen):
    """What stands for the target on another machine.

    Attributes
    ----------
    name : str
        A program or package.
    cpu, part : str or None
        Of a Linux target: the processor as QEMU calls it, and its ``CPU part`` in ``/proc/cpuinfo``, by which
        runtimes pick their kernels. A device has to have the same part to be taken for the target.
    machine : str or None
        The machine it imitates, or the system configuration that it estimates.
    memory_mode : str or None
        Which memories hold weights and activations, where the program can estimate several.
    image : str or None
        A container's image.
    """

    name: Word
    cpu: Word | None = None
    part: Annotated[str, Field(pattern="^0x[0-9a-f]{3}$")] | None = None
    machine: Word | None = None
    memory_mode: Word | None = None
    image: Word | None = None


class Transport(_Frozen):
    """How the device is reached.

    Attributes
    ----------
    kind : str
        Kind of link.
    address : str or None
        ``USER@HOST[:PORT]`` for ``ssh``, the device's serial number for ``adb``.
    python : str or None
        Path of the Python there that has numpy and the runtime.
    baud : int or None
        Of a serial line.
    """

    kind: Literal["local", "container", "emulator", "ssh", "adb", "serial"]
    address: Word | None = None
    python: Word | None = None
    baud: Count | None = None


class Source(_Frozen):
    """Where a number is from: its key's path, e.g. ``memory.ram_bytes``; a url or a document; the date."""

    field: Word
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    document: Word | None = None
    date: datetime.date

    @model_validator(mode="after")
    def _somewhere(self) -> Source:
        if self.url is None and self.document is None:
            raise ValueError("it needs a url or a document")
        return self


class Target(_Frozen):
    """A device with its runtime.

    Attributes
    ----------
    name : str
    kind : str
        ``linux``, ``android``, ``mcu`` (microcontroller) or ``npu``.
    description : str
        One line.
    soc, memory, runtime, cost, power : Soc, Memory, Runtime, Cost, Power
    emulator : Emulator or None
    transport : Transport
    sources : tuple of Source
        One at least for every number in `SOURCED`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    kind: Literal["linux", "android", "mcu", "npu"]
    description: Word
    soc: Soc = Soc()
    memory: Memory = Memory()
    runtime: Runtime
    cost: Cost = Cost()
    power: Power = Power()
    emulator: Emulator | None = None
    transport: Transport = Transport(kind="local")
    sources: tuple[Source, ...] = ()

    _sha256: str = PrivateAttr("")
    _file: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _each_number_has_a_source(self) -> Target:
        numbers = set(self.numbers())
        named = {source.field for source in self.sources}
        for path in sorted(numbers - named):
            raise ValueError(f"{path} has no source: add [[sources]] with field, url or document, and date")
        for path in sorted(named - numbers):
            raise ValueError(f"sources: {path} is no number of this target")
        return self

    def numbers(self) -> Iterator[str]:
        """Paths of the numbers that need a source, e.g. ``soc.clock_hz``."""
        for table in SOURCED:
            for key, value in getattr(self, table):
                if isinstance(value, int | float):
                    yield f"{table}.{key}"

    def board(self) -> Board:
        """Return the microcontroller that predictions are for.

        Raises
        ------
        InputError
            If the target is none, its core cannot be emulated, or its clock is missing.
        """
        soc, cost = self.soc, self.cost
        if self.kind != "mcu" or soc.core is None or soc.clock_hz is None:
            raise InputError(f"target {self.name}: it is no microcontroller with soc.core and soc.clock_hz")
        return Board(
            name=self.name,
            core=find_core(soc.core),
            clock_hz=soc.clock_hz,
            flash_bytes=self.memory.flash_bytes,
            ram_bytes=self.memory.ram_bytes,
            cycle_scale=cost.cycle_scale,
            calibration=cost.calibration,
            error=cost.error,
            power=self.active_power,
            compiler=self.runtime.compiler or "zig",
            emulator=self.emulator.name if self.emulator is not None else "unicorn",
        )

    def cycle_scale(self) -> CycleScale | None:
        """Return how instructions become time on a Linux or Android target; None without a calibration."""
        cost, clock_hz = self.cost, self.soc.clock_hz
        if cost.cycle_scale is None or cost.calibration is None or cost.error is None or clock_hz is None:
            return None
        return CycleScale(cost.cycle_scale, clock_hz, cost.calibration, cost.error)

    @property
    def via(self) -> str | None:
        """The device's address as ``--via`` has it; None where the way to it takes none."""
        kind, address = self.transport.kind, self.transport.address
        return None if address is None else f"{kind}:{'//' if kind == 'ssh' else ''}{address}"

    def reached(self, kind: str, address: str | None) -> Target:
        """Return the target with another way to its device, and an address where the way takes one."""
        changed = {"kind": kind, "address": address, "python": self.transport.python}
        return self.model_copy(update={"transport": Transport.model_validate(changed)})

    @property
    def active_power(self) -> ActivePower | None:
        """What the target draws while it infers; None where its file does not tell."""
        watts = self.power.active_w
        if watts is None and self.power.pj_per_cycle is not None and self.soc.clock_hz is not None:
            watts = self.power.pj_per_cycle * 1e-12 * self.soc.clock_hz
        if watts is None:
            return None
        return ActivePower(watts, self.power.error, self.power.conditions, self.soc.voltage_v)

    @property
    def latency_table(self) -> Path | None:
        """Path of the target's own calibration, where it has one."""
        if self.cost.latency_table is None or self._file is None:
            return None
        return self._file.parent / self.cost.latency_table

    @property
    def reference(self) -> TargetRef:
        """The target's name and the hash of its file, or of its contents where it has none."""
        content = self.model_dump_json().encode()
        return TargetRef(name=self.name, sha256=self._sha256 or hashlib.sha256(content).hexdigest())


def load_target(name_or_path: str | Path) -> Target:
    """Load a shipped target by its name, or a file's.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `target_names`; or a path, which ends in ``.toml`` or has a folder.

    Raises
    ------
    InputError
        If there is none, or its file is wrong: syntax, unknown keys, types, numbers without a source.
    """
    text = str(name_or_path)
    path = Path(text)
    if not (text.endswith(".toml") or len(path.parts) > 1 or isinstance(name_or_path, Path)):
        names = target_names()
        if text not in names:
            near = difflib.get_close_matches(text, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(names)}, or a file NAME.toml"
            raise InputError(f"target {text}: unknown: {hint}")
        path = _folder() / f"{text}.toml"
    if path.exists() and not path.is_file():
        raise InputError(f"target {path}: it is no file: give a name, or a file NAME.toml")
    try:
        content = read_regular(path)
    except OSError as error:
        raise InputError(f"target {path}: cannot read it: {error.strerror}") from error
    try:
        data = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"target {path}: not TOML: {error}") from error
    try:
        # Through JSON: strict about numbers and strings, while arrays become tuples and dates are dates.
        target = Target.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise InputError(f"target {path}: {explain(error, _keys())}") from error
    target._sha256, target._file = hashlib.sha256(content).hexdigest(), path
    return target


def target_names() -> tuple[str, ...]:
    """Names of the shipped targets, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def list_targets() -> tuple[Target, ...]:
    """Load the shipped targets, sorted by name."""
    return tuple(load_target(name) for name in target_names())


def target_schema() -> dict[str, Any]:
    """JSON Schema of a target's file, shipped as ``edgegrow/target.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Target.model_json_schema()}


def _folder() -> Path:
    """Folder of the shipped targets: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "_targets"
    return installed if installed.is_dir() else package.parent / "targets"


def _keys() -> tuple[str, ...]:
    models = (Target, Soc, Memory, Runtime, Cost, Power, Emulator, Transport, Source)
    return tuple(key for model in models for key in model.model_fields)
