"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegrow.config import RunConfig
from edgegrow.errors import BudgetError
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


_OTHERS = {"tflite": ("onnx",), "c": ()}
"""Format of the artifact that a budget holds for -> the others with a profile of their own."""


def write_profiles(folder: RunFolder, profiles: Mapping[str, Profile]) -> None:
    """Write ``{format: profile}`` into a run folder: ``profile.json`` is the first one's."""
    for item, profile in profiles.items():
        profile.write(_profile_file(folder, None if profile is next(iter(profiles.values())) else item))


def read_profiles(folder: RunFolder) -> dict[str, Profile]:
    """Read back what `write_profiles` wrote.

    Raises
    ------
    InputError
        If one is missing or damaged.
    """
    primary = Profile.read(_profile_file(folder))
    others = _OTHERS.get(primary.artifact.format, ())
    return {
        primary.artifact.format: primary,
        **{item: Profile.read(_profile_file(folder, item)) for item in others},
    }


def _profile_file(folder: RunFolder, item: str | None = None) -> Path:
    return folder.path / (f"profile-{item}.json" if item else "profile.json")


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

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "folder": str(self.folder.path),
            "budget": self.config.budget.limits,
            "delivered": self.costs(),
            "training": self.training(),
            "profiles": {
                item: profile.model_dump(mode="json", by_alias=True)
                for item, profile in self.profiles.items()
            },
        }

    def check_budget(self) -> None:
        """Compare what the run delivered with what it was asked for.

        Raises
        ------
        BudgetError
            If a limit is exceeded: which, by how much, and the nearest budget that this network keeps.
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


def _worst(profile: Profile, metric: str) -> Measurement | None:
    """Find the figure that a promise is measured by: the greatest of all inferences, where they differ."""
    return profile.find(metric, "max") or profile.find(metric)
