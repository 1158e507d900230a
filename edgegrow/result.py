"""What came of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegrow.config import RunConfig
from edgegrow.delivery import FORMATS
from edgegrow.errors import BudgetError
from edgegrow.measure.protocol import Measurement, Profile
from edgegrow.run import RunFolder
from edgegrow.units import format_quantity

_PROFILED = {"macs": "macs", "params": "params", "flash_bytes": "flash"}
"""Budgeted metric -> the figure of the profile that it bounds."""


def profile_file(folder: RunFolder, item: str) -> Path:
    """Profile of an artifact: ``profile.json`` of the primary one, ``profile-FORMAT.json`` of others."""
    return folder.path / ("profile.json" if item == FORMATS[0] else f"profile-{item}.json")


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
        ``{format: Profile}`` of its artifacts.
    """

    folder: RunFolder
    config: RunConfig
    profiles: dict[str, Profile]

    def delivered(self) -> dict[str, Measurement]:
        """Return what the delivered network takes in every budgeted metric, ``{metric: measurement}``."""
        profile = self.profiles[FORMATS[0]]
        found = {metric: profile.find(_PROFILED[metric]) for metric in self.config.budget.limits}
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
            If a limit is exceeded: which, and by how much.
        """
        for metric, limit in self.config.budget.limits.items():
            value = self.costs()[metric]
            if value > limit:
                raise BudgetError(
                    f"budget {metric}: missed: {format_quantity(metric, value)} is "
                    f"{100 * (value / limit - 1):.1f} % over {format_quantity(metric, limit)}"
                )
