"""Calibrations: what was measured or emulated on a target to price networks there, and on what it depends.

A calibration keeps readings, not conclusions: models are computed from it each time. One that was made with
another runtime, version, processor or compiler is refused, since its figures are of another machine.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from edgegrow.errors import InputError
from edgegrow.files import read_regular, write_atomic
from edgegrow.measure.protocol import Identity, Sha256, Word, explain

SCHEMA = 1
"""Version of a calibration's form; a file of another one is refused."""

LARGEST_BYTES = 2**26
"""Size of a calibration's file above which it is not read."""

DECISIVE = ("runtime", "version", "kernels", "compiler", "threads", "cpu")
"""Parts of an identity that a calibration must share with what runs now."""

Nanoseconds = Annotated[FiniteFloat, Field(gt=0, le=1e15)]
Width = Annotated[int, Field(ge=1, le=2**24)]
Cycles = Annotated[int, Field(ge=0, le=2**53)]
Bytes = Annotated[int, Field(ge=0, le=2**40)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reading(_Frozen):
    """Times of one inference, each the median of a window, in ns.

    Attributes
    ----------
    windows_ns : tuple of float
        Of the layer or network.
    reference_ns : float
        Of the reference network in the same run: how fast the machine was just then.
    """

    windows_ns: Annotated[tuple[Nanoseconds, ...], Field(min_length=1)]
    reference_ns: Nanoseconds


class LayerReading(Reading):
    """Times of a file of one layer: its kind and its widths, as `edgegrow.cost.operators` tells them."""

    kind: Word
    sizes: Annotated[tuple[Width, ...], Field(min_length=1, max_length=2)]


class NetworkReading(Reading):
    """Times of a whole network, by the widths of its channel groups."""

    widths: dict[str, Width]


class _Calibration(_Frozen, ABC):
    """What every calibration tells of itself.

    Attributes
    ----------
    target : str
        Name of the target.
    structure : str
        Hash of the network's structure, its widths left out: `edgegrow.cost.operators.structure_of`.
    net, data : str
        What it was made with, as they were called.
    identity : Identity
        What the figures depend on.
    edgegrow, command, date : str
        Version, command line and ISO date and time of the beginning.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    target: Word
    structure: Sha256
    net: Word
    data: Word
    identity: Identity
    edgegrow: Word
    command: str
    date: Word

    def described(self) -> str:
        """Tell in a line what was found, and by what."""
        identity = self.identity
        ran = (
            f"{identity.runtime} {identity.version}, {identity.kernels}, {identity.compiler or identity.cpu}"
        )
        return f"{self.target} for {self.net} on {self.data}: {self._found()} ({ran})"

    @abstractmethod
    def _found(self) -> str: ...

    def check(self, where: Path | str, structure: str, identity: Identity, again: str) -> None:
        """Refuse a calibration of another network, or of what has changed since.

        Parameters
        ----------
        where : Path or str
            Its file, for the message.
        structure, identity
            Of the network and the target now.
        again : str
            Command that calibrates again, for the message.

        Raises
        ------
        InputError
            In one line: what differs.
        """
        if self.structure != structure:
            raise InputError(
                f"calibration {where}: it is of another network ({self.net} on {self.data}): {again}"
            )
        for part in DECISIVE:
            then, now = getattr(self.identity, part), getattr(identity, part)
            if then != now:
                raise InputError(f"calibration {where}: {part} was {then}, it is {now} now: {again}")

    def summary(self) -> dict[str, Any]:
        """Return what it is and what it says of itself, without the readings."""
        return self.model_dump(mode="json", exclude={"schema_", "layers", "networks", "trials"})

    def write(self, path: Path) -> None:
        """Write it as JSON; a reader sees the old file or the new one, never a part.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"calibration {path}: cannot make its folder: {error.strerror}") from error
        tree = self.model_dump(mode="json", by_alias=True)
        write_atomic(path, "".join(_lines(tree)))


class LatencyCalibration(_Calibration):
    """Latencies of layers over widths, and of whole networks: measured by a clock.

    Attributes
    ----------
    reference, widest : dict
        Widths of the network that every run times too, and the greatest that tables reach to.
    finished : bool
        Whether everything planned has been measured.
    layers : tuple of LayerReading
    networks : tuple of NetworkReading
    spread, error : float or None
        Of a finished one: relative deviation of windows of one file from their median (90th percentile), and
        the greatest relative error on networks that the model was not fitted to; 0.1 is 10 %.
    """

    what: Literal["latency"] = "latency"
    reference: dict[str, Width]
    widest: dict[str, Width]
    finished: bool = False
    layers: tuple[LayerReading, ...] = ()
    networks: tuple[NetworkReading, ...] = ()
    spread: Annotated[FiniteFloat, Field(ge=0)] | None = None
    error: Annotated[FiniteFloat, Field(ge=0)] | None = None

    def _found(self) -> str:
        found = f"{len(self.layers)} layers and {len(self.networks)} networks measured"
        if self.error is None or self.spread is None:
            return f"{found}, not finished"
        return (
            f"{found}; predictions were wrong by up to {100 * self.error:.1f} % on networks not seen, nine "
            f"of ten windows are within {100 * self.spread:.1f} % of their median"
        )

    @model_validator(mode="after")
    def _each_once(self) -> LatencyCalibration:
        seen = set()
        for reading in self.layers:
            if (key := (reading.kind, reading.sizes)) in seen:
                raise ValueError(f"layers: {reading.kind} {reading.sizes} is given twice")
            seen.add(key)
        for widths in (self.widest, *(network.widths for network in self.networks)):
            if widths.keys() != self.reference.keys():
                raise ValueError("networks: they are of different structures")
        return self


class Trial(_Frozen):
    """What an emulated network took.

    Attributes
    ----------
    widths : dict
        ``{channel group: width}``.
    cycles : tuple of int
        Of its operators in order; empty where the core has no cycle model.
    rest_cycles : int
        Outside of operators.
    flash_bytes, ram_bytes : int
    """

    widths: dict[str, Width]
    cycles: tuple[Annotated[Cycles, Field(gt=0)], ...]
    rest_cycles: Cycles
    flash_bytes: Bytes
    ram_bytes: Bytes


class BoardCalibration(_Calibration):
    """Networks of some widths, emulated for a microcontroller's core."""

    what: Literal["cycles"] = "cycles"
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]

    def _found(self) -> str:
        return f"{len(self.trials)} networks emulated"

    @model_validator(mode="after")
    def _alike(self) -> BoardCalibration:
        if len({(len(trial.cycles), tuple(sorted(trial.widths))) for trial in self.trials}) > 1:
            raise ValueError("trials: they are of different networks")
        return self


_Kind = TypeVar("_Kind", bound=_Calibration)


def read_latencies(path: Path) -> LatencyCalibration:
    """Read a calibration of latencies, strictly; an InputError says what is wrong with it."""
    return _read(path, LatencyCalibration)


def read_trials(path: Path) -> BoardCalibration:
    """Read a microcontroller's calibration, strictly; an InputError says what is wrong with it."""
    return _read(path, BoardCalibration)


def _read(path: Path, kind: type[_Kind]) -> _Kind:
    hint = "remove the file, and calibrate again"
    try:
        content = read_regular(path, LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise InputError(f"calibration {path}: it is larger than {LARGEST_BYTES:,} bytes: {hint}")
        text = content.decode()
        raw = json.loads(text)
    except OSError as error:
        raise InputError(f"calibration {path}: cannot read it: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"calibration {path}: not JSON: {hint}") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise InputError(f"calibration {path}: it is of no form that this edgegrow knows: {hint}")
    try:
        return kind.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InputError(f"calibration {path}: {explain(error)}: {hint}") from error


def _lines(tree: dict[str, object]) -> Iterator[str]:
    """JSON with a reading a line: it stays readable, and comparable by lines."""
    yield "{\n"
    for place, (key, value) in enumerate(tree.items()):
        end = "\n" if place == len(tree) - 1 else ",\n"
        if isinstance(value, list) and value:
            rows = ",\n".join(f"    {json.dumps(row, allow_nan=False)}" for row in value)
            yield f"  {json.dumps(key)}: [\n{rows}\n  ]{end}"
        else:
            yield f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}{end}"
    yield "}\n"


def digest(*parts: bytes) -> str:
    """Hash of several pieces, each by its length first: no others give the same bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()
