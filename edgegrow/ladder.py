"""A ladder: one growth passes through several budgets, and a network is trained and delivered for each.

Its rungs are bounds of one metric, or targets that share a budget. Growing from the smallest rung to the
largest is the trunk. Each rung is then a run of its own, ``rungs/NAME`` in the ladder's folder, that begins
with the weights that growth has passed it with. Nothing random is new: the trunk draws from the streams of a
plain growth, keyed by the seed and the growth step, and every rung from those of a plain run's last training,
keyed by the seed and the epoch. So no rung depends on another's training, nor on whether anything was
interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from edgegrow.budget import TargetLadder
from edgegrow.config import RunConfig
from edgegrow.family import Family
from edgegrow.growth.grow import Grower
from edgegrow.growth.probe import count_of
from edgegrow.growth.progress import Progress
from edgegrow.journal import Journal
from edgegrow.ladder_stages import Stage, held_back, read_way, strides
from edgegrow.ladder_targets import check_distinct, check_possible
from edgegrow.result import open_run
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.targets import Target
from edgegrow.training import TRAIN_PASSES, Batches
from edgegrow.versions import versions

COST_BOUND = 2.0
"""What the whole ladder takes at most, in units of the training of its largest rung alone."""

RUNGS = "rungs"
"""Folder of the rungs' runs, in that of the ladder."""

_SCARCE = 0.5
"""Share of its epochs below which a rung's training is warned about."""


@dataclass(frozen=True)
class LadderGrowth:
    """A ladder in the making.

    Attributes
    ----------
    config : RunConfig
        Of the whole; the epochs of its training are resolved to a number, and its targets are in order.
    setting : Setting
        Of any of its rungs.
    """

    config: RunConfig
    setting: Setting

    @cached_property
    def rungs(self) -> dict[str, RunConfig]:
        """``{name: configuration}`` of every rung's run, the smallest first."""
        return self.config.rungs()

    @property
    def targets(self) -> list[Target]:
        """The rungs' targets, each once."""
        return [setting.target for setting in self._smallest.values()]

    def check_possible(self) -> None:
        """Refuse, before anything is trained, what even a smallest rung's seed network is above.

        Raises
        ------
        InputError
            With the nearest rung that is not impossible.
        """
        for name, setting in self._smallest.items():
            check_possible(name, setting)

    @cached_property
    def _settings(self) -> dict[str, Setting]:
        """Of every rung."""
        settings = {name: self.setting.of(config) for name, config in self.rungs.items()}
        if self._over_targets:
            check_distinct(settings)
        return settings

    @property
    def _over_targets(self) -> bool:
        return isinstance(self.config.ladder, TargetLadder)

    @property
    def _smallest(self) -> dict[str, Setting]:
        """The smallest rung of every target: of a ladder of bounds one alone."""
        return self._settings if self._over_targets else dict(list(self._settings.items())[:1])

    def complete(self, folder: RunFolder) -> Family:
        """Grow and train from wherever the folder stands; what is finished is not done again."""
        grower, trunk_macs = self._grow(folder)
        steps = self._anneal_steps(folder, grower.batches, trunk_macs)
        runs = {}
        for name, setting in self._settings.items():
            rung = folder.path / RUNGS / name
            if any(RunFolder(rung).history("done")):
                runs[name] = open_run(rung)
                continue
            self.setting.listener.say(f"rung {name}")
            runs[name] = setting.complete(RunFolder(rung), steps)
        passed = {event["name"]: event for event in folder.history("rung")}
        own = {
            name: run.training()["macs_trained"] - passed[name]["macs_trained"] for name, run in runs.items()
        }
        spent = trunk_macs + sum(own.values())
        epoch_macs = max(event["epoch_macs"] for event in passed.values())
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
        grower, progress = self._planter(folder).grower(folder)
        grower.most_steps *= len(self.rungs)
        passed = {event["name"]: event for event in folder.history("rung")}
        below: str | None = None
        for name in self.rungs:
            stage = self._stage(name)
            grower.pricing = stage.pricing
            if name not in passed:
                for stop in self._stops(folder, below, name):
                    grower.limits = stop
                    progress.grown = False
                    grower.grow(progress)
                self._leave(folder, name, grower, progress)
            below = name
        return grower, progress.macs_trained

    def _planter(self, folder: RunFolder) -> Setting:
        """Choose the rung whose seed network the trunk starts from: the smallest is within all limits."""
        settings = list(self._smallest.values())
        if len(settings) == 1 or folder.load_checkpoint() is not None:
            return settings[0]
        return min(settings, key=lambda setting: count_of(setting.seed))

    def _from(self, name: str) -> dict[str, Setting]:
        """Of a rung and all after it."""
        names = list(self._settings)
        return {one: self._settings[one] for one in names[names.index(name) :]}

    def _stage(self, name: str) -> Stage:
        """Tell what growth to a rung keeps."""
        if self._over_targets:
            return Stage.of(self._from(name))
        return Stage(self._settings[name].limits, self._settings[name].pricing)

    def _stops(self, folder: RunFolder, below: str | None, name: str) -> list[dict[str, float]]:
        """List the limits to grow to on the way from the rung below, the last of them the rung's own."""
        limits = self._stage(name).limits
        if below is None:
            return [limits]
        if self._over_targets:
            passed = next(event for event in folder.history("rung") if event["name"] == below)
            costs, ratio = read_way(passed, limits)
            return strides(costs, limits, ratio)
        start = self._settings[below].limits
        return strides(start, limits, max(limits[metric] / start[metric] for metric in limits))

    def _leave(self, folder: RunFolder, name: str, grower: Grower, progress: Progress) -> None:
        """Leave a run behind that has grown, and is yet to be trained."""
        place = Path(RUNGS, name)
        if not (folder.path / place).exists():  # else it was left right before an interruption
            learnt = progress.learnt.get(name, {}) if self._over_targets else progress.learnt
            with folder.inner(place, self.rungs[name], versions()) as rung:
                rung.save_checkpoint(
                    replace(progress, grown=True, learnt=learnt), grower.trace, grower.optimizer
                )
        journal = Journal(folder, self.setting.listener)
        smaller = list(folder.history("rung"))[-1:]
        if smaller and smaller[0]["widths"] == grower.trace.widths() and smaller[0]["macs"] == grower.macs:
            remedy = "one will do on both targets" if self._over_targets else "leave one of them out"
            journal.warn(
                f"rung {name}: its network is the size of {smaller[0]['name']}'s, as no larger one fits: "
                f"{remedy}"
            )
        onward = {}
        if self._over_targets:
            _, *later = self._from(name)
            if said := held_back(self._from(name), grower.trace, progress.insertions):
                journal.warn(f"rung {name}: {said}")
            if later:
                onward = {"onward": self._stage(later[0]).way_from(grower.trace, progress.insertions)}
        journal.record(
            "rung",
            {
                "name": name,
                "widths": grower.trace.widths(),
                "macs": grower.macs,
                "epoch_macs": grower.epoch_macs,
                "macs_trained": progress.macs_trained,
                **onward,
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
        left = COST_BOUND * self._epochs * length * max(step_macs) - trunk_macs - finish_macs
        whole = int(asked * length)
        steps = max(1, min(whole, int(left / sum(step_macs))))
        if steps < _SCARCE * whole:
            self.setting.listener.warn(
                f"every rung is trained for {steps / length:.1f} epochs of the {asked:g} asked for, as the "
                f"ladder may cost {COST_BOUND:g} times its largest rung: leave rungs out, or give more "
                "--epochs"
            )
        return steps
