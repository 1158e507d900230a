"""What came of a ladder: a finished run for every rung."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgegrow.config import RunConfig
from edgegrow.errors import BudgetError
from edgegrow.result import Run
from edgegrow.run import RunFolder


@dataclass(frozen=True)
class Family:
    """The networks of a finished ladder.

    Attributes
    ----------
    folder : RunFolder
        The ladder's; the rungs' runs are in it.
    config : RunConfig
        What it was asked for.
    rungs : dict
        ``{name: Run}``, the smallest first; of a ladder of targets in the order of growth.
    """

    folder: RunFolder
    config: RunConfig
    rungs: dict[str, Run]

    def training(self) -> dict[str, Any]:
        """Tell what all of it took.

        Returns
        -------
        dict
            ``macs_trained``, the same as ``epochs_of_final_network``, which is the largest rung's, and as
            ``cost`` in units of a whole training of that one; ``trunk_macs_trained`` and
            ``rungs_macs_trained``, its parts.
        """
        done = list(self.folder.history("done"))[-1]
        return {key: value for key, value in done.items() if key != "event"}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; a rung's own training includes the growth up to it."""
        return {
            "folder": str(self.folder.path),
            "ladder": self.config.model_dump()["ladder"],
            "budget": self.config.budget.limits,
            "training": self.training(),
            "rungs": {name: run.to_json() for name, run in self.rungs.items()},
        }

    def check(self) -> None:
        """Compare what every rung delivered with what it was asked for.

        Raises
        ------
        BudgetError
            If a limit of any is exceeded: of which rung, by how much, and what it keeps.
        """
        missed = []
        for name, run in self.rungs.items():
            try:
                run.check_budget()
            except BudgetError as error:
                missed.append(f"rung {name}: {error}")
        if missed:
            raise BudgetError("; ".join(missed))
