"""What is asked of a network: bounds that it keeps, a ladder of several, or an accuracy to reach."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator

from edgegrow.errors import InputError
from edgegrow.units import UNITS, parse_quantity

Metric = Literal["macs", "params", "latency_ms", "energy_mj", "ram_bytes", "flash_bytes"]

FILLED = 0.95
"""Share of a limit at which it counts as filled: who allows something wants it used."""

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of folders that are safe on any system."""

_PERCENTAGE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*")


class Frozen(BaseModel):
    """A model that does not change, knows all of its keys, and holds no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class Budget(Frozen):
    """Upper bounds that the delivered network keeps; at least one, but with a ladder of bounds.

    Attributes
    ----------
    macs, params : float, optional
        Multiply-accumulates of one inference; weights and biases as deployed (batch norms folded).
    latency_ms, energy_mj : float, optional
        Of one inference, on the target.
    ram_bytes, flash_bytes : float, optional
        Working memory, and the artifact's size.
    """

    macs: float | None = Field(None, gt=0)
    params: float | None = Field(None, gt=0)
    latency_ms: float | None = Field(None, gt=0)
    energy_mj: float | None = Field(None, gt=0)
    ram_bytes: float | None = Field(None, gt=0)
    flash_bytes: float | None = Field(None, gt=0)

    @property
    def limits(self) -> dict[str, float]:
        """The bounds that are set, ``{metric: value}``."""
        return self.model_dump(exclude_none=True)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``latency=20ms,ram=64kB,...``.

        Raises
        ------
        InputError
            For an unknown key, a wrong unit, a key given twice, or nothing at all.
        """
        limits: dict[str, float] = {}
        for item in text.split(","):
            key, equals, value = item.partition("=")
            key = key.strip()
            if not equals or key not in UNITS:
                raise InputError(f"budget '{item.strip()}': write key=value with a key of {', '.join(UNITS)}")
            metric = UNITS[key][0]
            if metric in limits:
                raise InputError(f"budget '{text}': {key} is given twice: give it once")
            limits[metric] = parse_quantity(key, value)
        return cls(**limits)


_Kind = TypeVar("_Kind", bound=Frozen)


class Ladder(Frozen):
    """Several budgets at once, of one metric: a network is delivered for each.

    Attributes
    ----------
    metric : str
        What the rungs bound.
    rungs : tuple of float
        Two bounds or more, distinct; in ascending order whatever order they are given in.
    """

    metric: Metric
    rungs: tuple[PositiveFloat, ...]

    @field_validator("rungs")
    @classmethod
    def _distinct(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if len(rungs) < 2:
            raise ValueError("a ladder has two rungs or more: give a --budget for a single network")
        if len(set(rungs)) < len(rungs):
            raise ValueError("a rung is given twice: give each once")
        return tuple(sorted(rungs))

    @classmethod
    def parse(cls, text: str) -> Ladder:
        """Read ``latency=5ms,10ms,20ms``.

        Raises
        ------
        InputError
            For an unknown metric or several, a wrong unit, a rung given twice, or fewer than two.
        """
        key, equals, values = text.partition("=")
        key = key.strip()
        if not equals or key not in UNITS:
            raise InputError(
                f"ladder '{text}': write key=value,value,... with a key of {', '.join(UNITS)}, e.g. "
                "latency=5ms,10ms,20ms, or target=NAME,NAME,..."
            )
        if "=" in values:
            raise InputError(f"ladder '{text}': it bounds one metric: put the others into --budget")
        rungs = [parse_quantity(key, value, of="ladder") for value in values.split(",")]
        return _checked(cls, text, {"metric": UNITS[key][0], "rungs": rungs})


class TargetLadder(Frozen):
    """One budget on several targets: a network is delivered for each.

    Attributes
    ----------
    targets : tuple of str
        Names or files of two targets or more, distinct by the names of their rungs. As they were given; in
        the configuration of a ladder that has begun, in the order in which growth passes through them.
    """

    targets: tuple[str, ...]

    @field_validator("targets")
    @classmethod
    def _distinct(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if len(targets) < 2:
            raise ValueError("a ladder has two targets or more: give a --target for a single network")
        for target in targets:
            if not _FOLDER.fullmatch(name := _rung_of(target)):
                raise ValueError(
                    f"{target!r} is no target's name: give names or files, with names of letters, digits, "
                    "'.', '_' and '-'"
                )
            # Some systems do not tell capitals from small letters in the names of folders.
            if sum(_rung_of(other).lower() == name.lower() for other in targets) > 1:
                raise ValueError(f"target {name} is given twice: give each once, files by names of their own")
        return targets

    @property
    def by_name(self) -> dict[str, str]:
        """``{name of the rung: target}``; a file's rung has its name without ``.toml``."""
        return {_rung_of(target): target for target in self.targets}

    @classmethod
    def parse(cls, text: str) -> TargetLadder:
        """Read ``target=nrf5340dk,nucleo-l4r5zi``.

        Raises
        ------
        InputError
            For a target given twice, fewer than two, or what is no name of one.
        """
        _, _, values = text.partition("=")
        if "=" in values:
            raise InputError(f"ladder '{text}': its rungs are targets: put the limits into --budget")
        return _checked(cls, text, {"targets": [value.strip() for value in values.split(",")]})


def _rung_of(target: str) -> str:
    return PurePath(target).name.removesuffix(".toml")


def parse_ladder(text: str) -> Ladder | TargetLadder:
    """Read a ladder of bounds or of targets, as `Ladder.parse` and `TargetLadder.parse` do.

    Raises
    ------
    InputError
        As they do.
    """
    of_targets = text.partition("=")[0].strip() == "target"
    return TargetLadder.parse(text) if of_targets else Ladder.parse(text)


def _checked(kind: type[_Kind], text: str, values: dict[str, object]) -> _Kind:
    """Make a ladder of a text's values; an InputError where they do not go together."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"ladder '{text}': {problem}") from error


class Goal(Frozen):
    """What the smallest network that reaches it is delivered for.

    Attributes
    ----------
    accuracy : float
        Of the trained float network on validation samples, above 0 and at most 1.
    """

    accuracy: float = Field(gt=0, le=1)

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read ``accuracy=90%`` or ``accuracy=0.9``.

        Raises
        ------
        InputError
            For anything but an accuracy, or one that no network can have.
        """
        key, equals, value = text.partition("=")
        match = _PERCENTAGE.fullmatch(value)
        if key.strip() != "accuracy" or not equals or match is None:
            raise InputError(f"goal '{text}': write accuracy=90% or accuracy=0.9")
        accuracy = float(match[1]) / (100 if match[2] else 1)
        if not 0 < accuracy <= 1:
            raise InputError(f"goal '{text}': out of range: write more than 0 % and at most 100 %")
        return cls(accuracy=accuracy)
