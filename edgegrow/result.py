"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import floor
from pathlib import Path
from typing import Any

from edgegrow.budget import FILLED
from edgegrow.config import RunConfig
from edgegrow.errors import BudgetError, InputError
from edgegrow.measure.protocol import Measurement, Profile
from edgegrow.run import RunFolder
from edgegrow.units import format_budget, format_quantity

_PROFILED = {
    "macs": "macs",
    "params": "params",
    "latency_ms": "latency",
    "energy_mj": "energy",
    "ram_bytes": "ram",
    "flash_bytes": "flash",
}
"""Budgeted metric -> the figure of the profile that it bounds."""

_PLANNED = {"ram_bytes": "peak_activations"}
"""The same for a host, whose profile has no RAM of firmware: the arena of activations, as it is planned."""


_OTHERS = {"tflite": ("onnx",), "onnx": ("tflite",), "c": ()}
"""Format of the artifact that a budget holds for -> the others that may have a profile of their own."""


def write_profiles(folder: RunFolder, profiles: Mapping[str, Profile]) -> None:
    """Write ``{format: profile}`` into a run folder: ``profile.json`` is the first one's."""
    for item, profile in profiles.items():
        profile.write(_profile_file(folder, None if profile is next(iter(profiles.values())) else item))


def read_profiles(folder: RunFolder) -> dict[str, Profile]:
    """Read back what `write_profiles` wrote.

    Raises
    ------
    InputError
        If one is damaged, or there is none.
    """
    primary = Profile.read(_profile_file(folder))
    possible = _OTHERS.get(primary.artifact.format, ())
    others = [item for item in possible if _profile_file(folder, item).exists()]
    return {
        primary.artifact.format: primary,
        **{item: Profile.read(_profile_file(folder, item)) for item in others},
    }


def _profile_file(folder: RunFolder, item: str | None = None) -> Path:
    return folder.path / (f"profile-{item}.json" if item else "profile.json")


@dataclass(frozen=True)
class Try:
    """A network that was trained for all epochs in search of a goal.

    Attributes
    ----------
    name : str
        Of its folder in ``tries``.
    snapshot : int
        Growth steps that had been taken to it; it is narrower than that where growth took a larger step.
    macs : int
        Multiply-accumulates of one inference.
    validation_accuracy : float
        Of the float network, 0 to 1.
    reached : bool
        Whether that is the goal.
    macs_trained : float
        Multiply-accumulates of its training.
    collapsed : bool
        Whether it ended less accurate than its snapshot was after a short training: this tells of its first
        weights and not of its size, so that it was trained once more, from others.
    """

    name: str
    snapshot: int
    macs: int
    validation_accuracy: float
    reached: bool
    macs_trained: float
    collapsed: bool

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> Try:
        """Read it back from a run's history."""
        return cls(**{field.name: event[field.name] for field in fields(cls)})

    def to_event(self) -> dict[str, Any]:
        """Return it as a run's history keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : RunFolder
        Where everything about it is.
    config : RunConfig
        What it was asked for.
    profiles : dict
        ``{format: Profile}`` of its artifacts, first of that which the budget holds for.
    """

    folder: RunFolder
    config: RunConfig
    profiles: dict[str, Profile]

    def delivered(self) -> dict[str, Measurement]:
        """Return what the delivered network takes in every budgeted metric, ``{metric: measurement}``."""
        profile = next(iter(self.profiles.values()))
        found = {
            metric: _worst(profile, _PROFILED[metric]) or profile.find(_PLANNED.get(metric, ""))
            for metric in self.config.budget.limits
        }
        return {metric: measurement for metric, measurement in found.items() if measurement is not None}

    def costs(self) -> dict[str, float]:
        """Return the values of `delivered`."""
        return {metric: measurement.value for metric, measurement in self.delivered().items()}

    def training(self) -> dict[str, float]:
        """``macs_trained``, all of them with scoring, and the same in epochs of the final network."""
        done = list(self.folder.history("done"))[-1]
        return {key: float(done[key]) for key in ("macs_trained", "epochs_of_final_network")}

    def tries(self) -> list[Try]:
        """Return the networks that were trained in search of a goal, in order; none without a goal."""
        return [Try.of_event(event) for event in self.folder.history("try")]

    def search(self) -> dict[str, Any] | None:
        """Return how the search for the goal ended; None without a goal.

        Returns
        -------
        dict
            ``accuracy``, the goal; ``reached``, whether any try has it; ``try``, the name of that which was
            delivered; ``validation_accuracy`` of that; ``trunk_macs_trained``, what growing took.
        """
        found = list(self.folder.history("goal"))
        return {key: value for key, value in found[-1].items() if key != "event"} if found else None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        search = self.search()
        goal = {**search, "tries": [asdict(one) for one in self.tries()]} if search else None
        return {
            "folder": str(self.folder.path),
            "target": self.config.target,
            "budget": self.config.budget.limits,
            "delivered": self.costs(),
            "training": self.training(),
            **({"goal": goal} if goal else {}),
            "profiles": {
                item: profile.model_dump(mode="json", by_alias=True)
                for item, profile in self.profiles.items()
            },
        }

    def check(self) -> None:
        """Raise a BudgetError where anything that was asked for was not kept: the budget, or the goal."""
        self.check_budget()
        self.check_goal()

    def check_budget(self) -> None:
        """Compare what the run delivered with what it was asked for.

        Raises
        ------
        BudgetError
            If a limit is exceeded: which, by how much, and the nearest budget that this network keeps. If
            more than a twentieth of every limit is left: how much, and the nearest budget that it fills.
        """
        limits, costs = self.config.budget.limits, self.costs()
        missed = [
            f"budget {metric}: missed: {format_quantity(metric, costs[metric])} is "
            f"{100 * (costs[metric] / limit - 1):.1f} % over {format_quantity(metric, limit)}"
            for metric, limit in limits.items()
            if costs[metric] > limit
        ]
        if missed:
            kept = {metric: max(limit, costs[metric]) for metric, limit in limits.items()}
            raise BudgetError(f"{'; '.join(missed)}: the nearest budget that it keeps: {format_budget(kept)}")
        used = [1.0, *(event["used"] for event in self.folder.history("budget"))][-1]
        if used < FILLED and self.config.goal is None:  # a goal asks for the smallest network, not for all
            raise BudgetError(
                f"budget: kept, but {100 * (1 - used):.1f} % of it is left, as growing came no closer: "
                f"the nearest budget that the network fills: {format_budget(costs)}"
            )

    def check_goal(self) -> None:
        """Tell whether the goal was reached, where there was one.

        Raises
        ------
        BudgetError
            If not: by how much it was missed, and the nearest goal that the network reaches.
        """
        search = self.search()
        if search is None or search["reached"]:
            return
        goal, nearest = search["accuracy"], floor(1e4 * search["validation_accuracy"]) / 100
        raise BudgetError(
            f"goal accuracy={100 * goal:g}%: missed by {100 * goal - nearest:.2f} points: the most accurate "
            f"network within the budget reaches {nearest:.2f} % of validation samples: raise the budget, or "
            f"lower the goal to accuracy={nearest:.2f}%"
        )


def _worst(profile: Profile, metric: str) -> Measurement | None:
    """Find the figure that a promise is measured by: the greatest of all inferences, where they differ.

    Of a clock it is the median, or the mean where that is all that is told: its extremes are chance.
    """
    worst = profile.find(metric, "max")
    if worst is None or worst.evidence == "measured":
        return profile.find(metric) or profile.find(metric, "mean")
    return worst


def open_run(path: Path) -> Run:
    """Read a finished run back.

    Raises
    ------
    InputError
        If the folder is no run, or the run has not finished.
    """
    folder = RunFolder.open(path)
    config = folder.config()
    if config.ladder is not None:
        raise InputError(f"{path}: it is a ladder, of several runs: open it as one, or name one of its rungs")
    if not any(folder.history("done")):
        raise InputError(f"{path}: the run has not finished: continue it with --resume {path}")
    run = Run(folder, config, read_profiles(folder))
    missing = set(config.budget.limits) - set(run.delivered())
    if missing:
        what = ", ".join(sorted(missing))
        raise InputError(f"{path}: its profile.json has no figure for {what}: put the file back")
    return run
