"""Measurements and profiles: the one form in which every way of measuring reports.

A figure always says whether it was measured, emulated, predicted or published, and with which runtime, clock
and threads: figures of different identities are never compared silently. What is absent is named, with the
reason. Units: latency and load ``ms``, energy ``mJ``, memory ``bytes``.
"""

from __future__ import annotations

import builtins
import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from edgegrow.errors import InputError
from edgegrow.files import read_regular, write_atomic

SCHEMA = 1
"""Version of the profile's form; a profile of another version is refused."""

LARGEST_PACKAGE_BYTES = 2**28
"""Bytes that a C package's files may have together."""

LARGEST_PROFILE_BYTES = 2**26
"""Bytes of a profile's file that is read: hundreds of measurements with all of their samples."""

Evidence = Literal["measured", "emulated", "predicted", "published"]
Aggregation = Literal["exact", "min", "median", "mean", "max", "p90", "p99"]
Format = Literal["tflite", "onnx", "ort", "c"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Word = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A whole number that other languages read too; a larger one is kept as a float."""

_NEVER_BELOW_0 = frozenset({"bytes", "cycles", "fraction", "instructions", "LSB", "macs", "ms", "params"})
"""Units of what is counted or timed. A part, of a metric with a colon, may be a difference of two."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Identity(_Frozen):
    """What a figure depends on besides the artifact; ``null`` is "not known" or "does not apply".

    Attributes
    ----------
    runtime, version : str or None
        What ran the artifact, e.g. ``litert`` and ``2.3.0``.
    compiler : str or None
        Compiler and flags, where the artifact or its runtime was built for the measurement.
    kernels : str or None
        Kernels that computed it, e.g. ``XNNPACK``.
    clock_hz, voltage_v : float or None
        The processor's fixed clock in Hz and its supply in V; ``None`` where the clock varies.
    threads : int or None
        Threads the runtime was given.
    cpu : str or None
        The processor's model.
    affinity : str or None
        Processors that the process may use, e.g. ``0-3``.
    governor : str or None
        The rule by which the clock varies.
    os : str or None
        Operating system and its version, or the firmware.
    python : str or None
        Version of Python, where it made the calls.
    meter : str or None
        What measured energy: its name, resolution and rate.
    """

    runtime: str | None = None
    version: str | None = None
    compiler: str | None = None
    kernels: str | None = None
    clock_hz: FiniteFloat | None = None
    voltage_v: FiniteFloat | None = None
    threads: int | None = None
    cpu: str | None = None
    affinity: str | None = None
    governor: str | None = None
    os: str | None = None
    python: str | None = None
    meter: str | None = None


class Measurement(_Frozen):
    """One figure.

    Attributes
    ----------
    metric : str
        What it is: ``latency``, ``load``, ``energy``, ``flash``, ``cycles``, ``accuracy``, ...
    value, unit : int or float, str
    aggregation : str
        What `value` is of the samples; ``exact`` for a count, or a single reading.
    samples : tuple of float
        Readings in the order taken, in `unit`; with several aggregations of them, on the median's only.
    evidence : str
        ``measured`` by a clock or meter on the device, ``emulated``, ``predicted`` or ``published``.
    identity : Identity
    method : str
        How it was obtained: warm-up, iterations, load of the machine, meter, source.
    error : float or None
        Relative error that a prediction has been seen to have; 0.1 is 10 %.
    trials : int or None
        How many there were, where `value` is the share of them that succeeded: an accuracy's test samples.
    """

    metric: Word
    value: Count | FiniteFloat
    unit: Word
    aggregation: Aggregation = "exact"
    samples: tuple[FiniteFloat, ...] = ()
    evidence: Evidence
    identity: Identity = Identity()
    method: str = ""
    error: Annotated[FiniteFloat, Field(ge=0)] | None = None
    trials: Annotated[Count, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Measurement:
        values = (self.value, *self.samples)
        if self.unit in _NEVER_BELOW_0 and ":" not in self.metric and min(values) < 0:
            raise ValueError(f"{self.metric} below 0 {self.unit} is impossible")
        if self.unit == "fraction" and max(values) > 1:
            raise ValueError(f"{self.metric} above 1 is impossible: it is a fraction")
        return self


class Unavailable(_Frozen):
    """A figure that could not be had, and why."""

    metric: Word
    reason: Word


class Artifact(_Frozen):
    """The file, or the C package, that was measured."""

    path: str
    sha256: Sha256
    format: Format
    bytes: int = Field(ge=0)

    @classmethod
    def of(cls, path: str | Path, content: builtins.bytes) -> Artifact:
        """Describe a file by its name and `content`; its suffix is its format."""
        suffix = Path(path).suffix[1:].lower()
        if suffix not in get_args(Format):
            raise InputError(f"artifact {path}: unknown suffix: expected .{', .'.join(get_args(Format))}")
        digest = hashlib.sha256(content).hexdigest()
        return cls(path=str(path), sha256=digest, format=suffix, bytes=len(content))

    @classmethod
    def of_package(cls, folder: str | Path) -> Artifact:
        """Describe a C package by its files' names below `folder`, in order, and their contents.

        Raises
        ------
        InputError
            If a file cannot be read, or they are too large for a package.
        """
        root, digest, total = Path(folder), hashlib.sha256(), 0
        try:
            files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
            for name in sorted(files):
                total += files[name].stat().st_size
                if total > LARGEST_PACKAGE_BYTES:
                    hint = f"its files take more than {LARGEST_PACKAGE_BYTES:,} bytes"
                    raise InputError(f"package {folder}: {hint}: give the folder that export wrote")
                # Each by its length first: no other names and contents give the same bytes.
                for part in (name.encode(), read_regular(files[name])):
                    digest.update(len(part).to_bytes(8, "little") + part)
        except OSError as error:
            raise InputError(f"package {folder}: cannot read it: {error.strerror}") from error
        return cls(path=str(folder), sha256=digest.hexdigest(), format="c", bytes=total)


class TargetRef(_Frozen):
    """The target that an artifact was measured for: its name, and the hash of its file."""

    name: Word
    sha256: Sha256


class Profile(_Frozen):
    """What is known of one artifact on one target: ``profile.json``."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    artifact: Artifact
    target: TargetRef
    measurements: tuple[Measurement, ...]
    unavailable: tuple[Unavailable, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Profile:
        seen = set()
        for m in self.measurements:
            key = (m.metric, m.aggregation, m.evidence)
            if key in seen:
                raise ValueError(f"{m.evidence} {m.metric} ({m.aggregation}) is given twice")
            seen.add(key)
        return self

    def find(self, metric: str, aggregation: Aggregation | None = None) -> Measurement | None:
        """Return the measurement of a metric: the median or the exact one if no aggregation is named."""
        wanted = ("median", "exact") if aggregation is None else (aggregation,)
        return next(
            (m for m in self.measurements if m.metric == metric and m.aggregation in wanted),
            None,
        )

    @classmethod
    def read(cls, path: str | Path) -> Profile:
        """Read a profile, strictly.

        Raises
        ------
        InputError
            If it cannot be read, has another schema version, unknown or missing fields, or a value that is
            of the wrong type or not finite.
        """
        try:
            content = read_regular(path, LARGEST_PROFILE_BYTES + 1)
            if len(content) > LARGEST_PROFILE_BYTES:
                raise InputError(f"profile {path}: more than {LARGEST_PROFILE_BYTES:,} bytes: not a profile")
            text = content.decode("utf-8")
            raw = json.loads(text)
        except OSError as error:
            raise InputError(f"profile {path}: cannot read it: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"profile {path}: not JSON: {error}") from error
        version = raw.get("schema") if isinstance(raw, dict) else None
        if version is not None and (version != SCHEMA or isinstance(version, bool)):
            raise InputError(
                f"profile {path}: schema {version!r} is not known, this edgegrow reads {SCHEMA}: "
                "update edgegrow, or measure again"
            )
        if version is None:
            raise InputError(f'profile {path}: it has no "schema": not a profile')
        try:
            return cls.model_validate_json(text, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            raise InputError(f"profile {path}: {explain(error)}") from error

    def write(self, path: str | Path) -> None:
        """Write the profile as JSON; a reader sees the old file or the new one, never a part.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        text = json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, allow_nan=False)
        # Samples on one line each: the rest stays readable, and comparable by lines.
        text = re.sub(r"\[\n[-+.\deE,\s]+\]", lambda match: " ".join(match[0].split()), text)
        write_atomic(Path(path), text + "\n")


def profile_schema() -> dict[str, Any]:
    """JSON Schema of ``profile.json``, shipped as ``edgegrow/measure/profile.schema.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Profile.model_json_schema(by_alias=True, mode="serialization"),
    }


def explain(error: ValidationError, known: tuple[str, ...] = ()) -> str:
    """Explain in one line the first problem of a validation: the key's path, and what is wrong with it.

    Parameters
    ----------
    error : ValidationError
    known : tuple of str
        Names that unknown keys are compared with, for a hint.
    """
    problems = error.errors(include_url=False, include_input=False)
    # A misspelt key is also a missing one: say what is there, not what is not.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    path = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
        message = "unknown key" + (f", did you mean {near[0]}?" if near else "")
    elif problem["type"] == "missing":
        message = "it is missing"
    more = len(problems) - 1
    return " ".join(f"{path + ': ' if path else ''}{message}{f' (and {more} more)' if more else ''}".split())
