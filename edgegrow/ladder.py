"""A ladder: one growth passes through several budgets, and a network is trained and delivered for each.

Growing from the smallest rung to the largest is the trunk. Each rung is then a run of its own, ``rungs/NAME``
in the ladder's folder, that begins with the weights that growth has passed it with. Nothing random is new:
the trunk draws from the streams of a plain growth, keyed by the seed and the growth step, and every rung from
those of a plain run's last training, keyed by the seed and the epoch. So no rung depends on another's
training, nor on whether anything was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log
from pathlib import Path

from edgegrow.config import RunConfig
from edgegrow.errors import InputError
from edgegrow.family import Family
from edgegrow.growth.grow import Grower
from edgegrow.growth.progress import Progress
from edgegrow.journal import Journal
from edgegrow.result import open_run
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.training import TRAIN_PASSES, Batches
from edgegrow.versions import versions

COST_BOUND = 2.0
"""What the whole ladder takes at most, in units of the training of its largest rung alone."""

RUNGS = "rungs"
"""Folder of the rungs' runs, in that of the ladder."""

_STRIDE = 2.0
"""Ratio of costs that one growth step takes at most: rungs further apart are grown to in several. What each
step takes is missing from the rungs' own training."""

_SCARCE = 0.5
"""Share of its epochs below which a rung's training is warned about."""


@dataclass(frozen=True)
class LadderGrowth:
    """A ladder in the making.

    Attributes
    ----------
    config : RunConfig
        Of the whole; the epochs of its training are resolved to a number.
    setting : Setting
        Of any of its rungs.
    """

    config: RunConfig
    setting: Setting

    @cached_property
    def rungs(self) -> dict[str, RunConfig]:
        """``{name: configuration}`` of every rung's run, the smallest first."""
        return self.config.rungs()

    def check_possible(self) -> None:
        """Refuse, before anything is trained, what even the smallest rung's seed network is above.

        Raises
        ------
        InputError
            With the nearest rung that is not impossible.
        """
        name, smallest = next(iter(self.rungs.items()))
        try:
            assert self.setting.of(smallest).seed
        except InputError as error:
            raise InputError(f"rung {name}: {error}") from error

    def complete(self, folder: RunFolder) -> Family:
        """Grow and train from wherever the folder stands; what is finished is not done again."""
        grower, trunk_macs = self._grow(folder)
        steps = self._anneal_steps(folder, grower.batches, trunk_macs)
        runs = {}
        for name, config in self.rungs.items():
            rung = folder.path / RUNGS / name
            if any(RunFolder(rung).history("done")):
                runs[name] = open_run(rung)
                continue
            self.setting.listener.say(f"rung {name}")
            runs[name] = self.setting.of(config).complete(RunFolder(rung), steps)
        passed = {event["name"]: event for event in folder.history("rung")}
        own = {
            name: run.training()["macs_trained"] - passed[name]["macs_trained"] for name, run in runs.items()
        }
        spent, epoch_macs = trunk_macs + sum(own.values()), list(passed.values())[-1]["epoch_macs"]
        folder.record(
            "done",
            {
                "macs_trained": spent,
                "epochs_of_final_network": spent / epoch_macs,
                "cost": spent / (self._epochs * epoch_macs),
                "trunk_macs_trained": trunk_macs,
                "rungs_macs_trained": own,
            },
        )
        return Family(folder, self.config, runs)

    @property
    def _epochs(self) -> float:
        """Epochs of a whole training, the quantization-aware ones included."""
        assert self.config.train.epochs is not None
        return self.config.train.epochs + self.config.quantize.qat_epochs

    def _grow(self, folder: RunFolder) -> tuple[Grower, float]:
        """Grow through all rungs, and leave a run behind at each; also return what it took."""
        first = next(iter(self.rungs.values()))
        grower, progress = self.setting.of(first).grower(folder)
        grower.most_steps *= len(self.rungs)
        passed = {event["name"] for event in folder.history("rung")}
        below: Mapping[str, float] | None = None
        for name, config in self.rungs.items():
            limits = self.setting.of(config).limits
            if name not in passed:
                for stop in _stops(below, limits):
                    grower.limits = dict(stop)
                    progress.grown = False
                    grower.grow(progress)
                self._leave(folder, name, grower, progress)
            below = limits
        return grower, progress.macs_trained

    def _leave(self, folder: RunFolder, name: str, grower: Grower, progress: Progress) -> None:
        """Leave a run behind that has grown, and is yet to be trained."""
        place = Path(RUNGS, name)
        if not (folder.path / place).exists():  # else it was left right before an interruption
            with folder.inner(place, self.rungs[name], versions()) as rung:
                rung.save_checkpoint(replace(progress, grown=True), grower.trace, grower.optimizer)
        journal = Journal(folder, self.setting.listener)
        smaller = list(folder.history("rung"))[-1:]
        if smaller and smaller[0]["widths"] == grower.trace.widths() and smaller[0]["macs"] == grower.macs:
            journal.warn(
                f"rung {name}: its network is the size of {smaller[0]['name']}'s, as no larger one fits: "
                "leave one of them out"
            )
        journal.record(
            "rung",
            {
                "name": name,
                "widths": grower.trace.widths(),
                "macs": grower.macs,
                "epoch_macs": grower.epoch_macs,
                "macs_trained": progress.macs_trained,
            },
        )
        journal.checkpoint(progress, grower.trace, grower.optimizer)

    def _anneal_steps(self, folder: RunFolder, batches: Batches, trunk_macs: float) -> int:
        """Optimiser steps of every rung: as many as its epochs, or fewer, for the ladder to keep its bound.

        Quantization-aware epochs count on both sides of it, and are not cut.
        """
        length, asked = batches.steps_per_epoch, self.config.train.epochs
        assert asked is not None
        step_macs = [TRAIN_PASSES * batches.size * event["macs"] for event in folder.history("rung")]
        finish_macs = self.config.quantize.qat_epochs * length * sum(step_macs)
        left = COST_BOUND * self._epochs * length * step_macs[-1] - trunk_macs - finish_macs
        whole = int(asked * length)
        steps = max(1, min(whole, int(left / sum(step_macs))))
        if steps < _SCARCE * whole:
            self.setting.listener.warn(
                f"every rung is trained for {steps / length:.1f} epochs of the {asked:g} asked for, as the "
                f"ladder may cost {COST_BOUND:g} times its largest rung: leave rungs out, or give more "
                "--epochs"
            )
        return steps


def _stops(below: Mapping[str, float] | None, limits: Mapping[str, float]) -> list[dict[str, float]]:
    """Limits to grow to on the way from one rung to the next, which are the last of them."""
    if below is None:
        return [dict(limits)]
    count = ceil(max(log(limits[metric] / below[metric]) for metric in limits) / log(_STRIDE) - 1e-9)
    parts = [step / count for step in range(1, count)]
    between = [{m: below[m] ** (1 - part) * limits[m] ** part for m in limits} for part in parts]
    return [*between, dict(limits)]
