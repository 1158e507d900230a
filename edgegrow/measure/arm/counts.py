"""What the counter writes, one line an inference, and the figures that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgegrow.measure.aggregation import exact_or_median
from edgegrow.measure.device import DeviceError
from edgegrow.measure.protocol import Identity, Measurement

PREFIX = b"edgegrow-count "
"""What the counter's lines on standard error begin with; ``PREFIX`` of counter.c."""

KINDS = ("integer", "multiply", "load", "store", "branch", "float", "simd", "other")
"""Kinds of instructions; ``NAMES`` of counter.c."""

_MOST_LINES = 10_000
_METHOD = (
    "counted in QEMU by a plugin when their block is entered, of one inference between two marks: the call "
    "from Python is part of it; {n} inferences of one input, each after a load of the artifact"
)
_LANES = (
    "products that instructions add to a sum or begin one with: lanes of multiply-accumulates, dot products "
    "and multiplications to twice the width, those of padding included"
)

Count = Annotated[int, Field(ge=0, lt=2**63)]


class Counts(BaseModel):
    """Instructions of one inference.

    Attributes
    ----------
    inference : int
        From 0.
    instructions : int
        All: the sum of the kinds.
    mac_lanes : int
        Multiply-accumulates in them.
    integer, multiply, load, store, branch, float, simd, other : int
        By kind. ``multiply`` has integer divisions, ``simd`` all on vectors but loads and stores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    inference: Count
    instructions: Count
    mac_lanes: Count
    integer: Count
    multiply: Count
    load: Count
    store: Count
    branch: Count
    float: Count
    simd: Count
    other: Count

    @model_validator(mode="after")
    def _sums_up(self) -> Counts:
        if sum(getattr(self, kind) for kind in KINDS) != self.instructions:
            raise ValueError("the kinds do not sum up to the instructions")
        return self


def read_counts(text: bytes, device: str) -> tuple[tuple[Counts, ...], bytes]:
    """Take the counter's lines out of what a program wrote on standard error.

    Parameters
    ----------
    text : bytes
    device : str
        What an error names.

    Returns
    -------
    counts : tuple of Counts
    rest : bytes
        What others wrote.

    Raises
    ------
    DeviceError
        If a line is damaged, or there are too many.
    """
    counts: list[Counts] = []
    rest = []
    for line in text.split(b"\n"):
        if not line.startswith(PREFIX):
            rest.append(line)
            continue
        try:
            counts.append(Counts.model_validate_json(line[len(PREFIX) :]))
        except ValidationError:
            raise DeviceError(f"{device}: a line of its counter is damaged: measure again") from None
        if len(counts) > _MOST_LINES:
            raise DeviceError(f"{device}: its counter wrote more than {_MOST_LINES:,} lines")
    return tuple(counts), b"\n".join(line for line in rest if line)


def count_measurements(counts: Sequence[Counts], identity: Identity, remark: str) -> Iterator[Measurement]:
    """Measurements of what was counted: ``instructions``, those of each kind, and ``mac_lanes``.

    Parameters
    ----------
    counts : sequence of Counts
        One or more.
    identity : Identity
    remark : str
        Ends the method.
    """
    method = f"{_METHOD.format(n=len(counts))}; {remark}"
    common = {"identity": identity, "evidence": "emulated", "method": method}
    for kind in ("", *KINDS):
        samples = [getattr(one, kind or "instructions") for one in counts]
        metric = f"instructions:{kind}" if kind else "instructions"
        yield from exact_or_median(metric, "instructions", samples, **common)
    lanes = [one.mac_lanes for one in counts]
    yield from exact_or_median("mac_lanes", "macs", lanes, **{**common, "method": _LANES})
