"""A goal: grow until validation accuracy reaches it, and deliver the smallest network that does.

One growth, the trunk, starts small and passes through sizes up to the budget, a short training at each; it
goes no further than predictions ask for. Where the network has places for blocks, its first step comes before
the first try: that is where blocks are taken, and networks of any size are better with them. Some of these
networks, or some between, are trained for all epochs, each in a folder of its own, ``tries/NAME``:
`edgegrow.growth.goal_search` says which, and when to stop. The budget bounds the search from above. Where not
even the network that fills it reaches the goal, the most accurate of those that were trained is delivered.

Nothing random is new: the trunk draws from the streams of a plain growth, keyed by the seed and the growth
step, and every try from those of a plain run's last training, keyed by the seed and the epoch; its weights
are fresh, keyed by the seed. So tries differ by their architectures alone, but for one that collapsed, whose
second training has another seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from math import ceil, log
from pathlib import Path

from edgegrow.growth.goal_search import Bracket, Trained, next_size
from edgegrow.growth.grow import Grower
from edgegrow.growth.progress import Progress
from edgegrow.growth.schedule import block_kinds
from edgegrow.growth.snapshots import Sized, Snapshot, as_deep, narrowest, of_size, whole
from edgegrow.journal import Journal
from edgegrow.result import Run, Try
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.training import evaluate
from edgegrow.versions import versions

TRIES = "tries"
"""Folder of the whole trainings, in that of the run."""

_SEED_FRACTION = 1 / 12
"""Cost of the network that the trunk starts from, in units of the budget; smaller ones are narrower alone."""

_OTHER_SEED = 1_000_003
"""Added to the seed of a training that is made once more."""

_STRIDE = 1.3
"""Ratio of costs from one snapshot to the next. Finer ones would cost more than they tell: networks between
are had by narrowing."""


@dataclass(frozen=True)
class GoalSearch:
    """A search for the smallest network that reaches a goal.

    Attributes
    ----------
    setting : Setting
        Of the run; its configuration has the goal.
    """

    setting: Setting

    def complete(self, folder: RunFolder) -> Run:
        """Search from wherever the folder stands, then deliver and measure; nothing is trained twice."""
        checkpoint = folder.load_checkpoint()
        if checkpoint is None or checkpoint.progress.anneal_total == 0:
            self._search(folder)
        return self.setting.complete(folder)

    @property
    def _goal(self) -> float:
        assert self.setting.config.goal is not None
        return self.setting.config.goal.accuracy

    @cached_property
    def _trunk_setting(self) -> Setting:
        config = self.setting.config
        steps = ceil(-log(_SEED_FRACTION) / log(_STRIDE))
        grow = config.grow.model_copy(update={"seed_fraction": _SEED_FRACTION, "steps": steps})
        return self.setting.of(config.model_copy(update={"grow": grow}))

    def _search(self, folder: RunFolder) -> None:
        """Grow and try until the search has ended; the newest checkpoint is then that of the best network."""
        grower, progress = self._trunk_setting.grower(folder)
        trunk = _Trunk(grower, progress, Journal(folder, self.setting.listener))
        if not progress.grown:
            trunk.start(folder)
        snapshots = [Snapshot.of_event(event) for event in folder.history("snapshot")]
        if len(snapshots) == 1 and not progress.grown and trunk.tries_blocks:
            snapshots += trunk.step()
        tries = [Try.of_event(event) for event in folder.history("try")]
        for number in count(len(tries) + 1):
            sized = self._next(snapshots, tries, trunk)
            if sized is None:
                break
            again = any(one.collapsed and one.macs == sized.macs for one in tries)
            tries.append(self._try(folder, f"{number:02}-macs-{sized.macs}", sized, trunk, again))
        self._adopt(folder, tries, trunk)

    def _next(self, snapshots: list[Snapshot], tries: list[Try], trunk: _Trunk) -> Sized | None:
        """Choose the next network to train for all epochs, growing on where it is larger than all so far.

        It has the blocks of the newest snapshot. What missed the goal without them tells nothing of it.
        """
        while True:
            deep = as_deep(snapshots)
            done = [
                Trained(one.macs, one.validation_accuracy)
                for one in tries
                if not one.collapsed and (one.reached or one.snapshot >= deep[0].step)
            ]
            bracket = Bracket.of(done, self._goal)
            smallest = narrowest(deep, self.setting.fresh)
            short = [snapshot.short for snapshot in deep]
            largest, grown = short[-1].macs, trunk.progress.grown
            size = next_size(done, short, self._goal, smallest, largest if grown else None)
            if size is None:
                return None
            if size <= largest or grown:
                sized = of_size(deep, min(size, largest), self.setting.fresh)
                if bracket.encloses(sized.macs):
                    return sized
                between = [one for one in whole(deep) if bracket.encloses(one.macs)]
                if between:
                    return between[0]
                if grown or bracket.reached is not None:
                    return None  # a channel more or less is all that lies between
            snapshots += trunk.step()

    def _try(self, folder: RunFolder, name: str, sized: Sized, trunk: _Trunk, again: bool) -> Try:
        """Train a network for all epochs, from wherever its folder stands."""
        self.setting.listener.say(f"try {name}")
        place = Path(TRIES, name)
        config = self.setting.config
        seed = (config.seed + again * _OTHER_SEED) % 2**32
        setting = self.setting.of(config.model_copy(update={"goal": None, "seed": seed}))
        if not (folder.path / place).exists():
            self._begin(folder, place, sized, trunk, setting)
        grower, progress = setting.grower(RunFolder(folder.path / place))
        grower.anneal(progress)
        accuracy = evaluate(grower.trace.graph, self.setting.data.validation)[1]
        reached = accuracy >= self._goal
        collapsed = not (again or reached) and accuracy < sized.short_accuracy
        found = Try(name, sized.snapshot, sized.macs, accuracy, reached, progress.macs_trained, collapsed)
        trunk.record("try", found.to_event())
        return found

    def _begin(self, folder: RunFolder, place: Path, sized: Sized, trunk: _Trunk, setting: Setting) -> None:
        """Make a folder of a run that has grown, and is yet to be trained."""
        assert setting.train_config.epochs is not None
        steps = max(1, int(setting.train_config.epochs * trunk.grower.batches.steps_per_epoch))
        with folder.inner(place, setting.config, versions()) as run:
            grower, _ = setting.grower(run)
            grower.trace = sized.architecture.build(setting.fresh())
            records = [dict(record) for record in sized.architecture.insertions]
            progress = Progress(grown=True, insertions=records)
            grower.begin_anneal(progress, steps)
            run.save_checkpoint(progress, grower.trace, grower.optimizer)

    def _adopt(self, folder: RunFolder, tries: list[Try], trunk: _Trunk) -> None:
        """Take the smallest network that has reached the goal, or the most accurate, as the run's own."""
        reached = [one for one in tries if one.reached]
        best = (
            min(reached, key=lambda one: one.macs)
            if reached
            else max(tries, key=lambda one: (one.validation_accuracy, -one.macs))
        )
        grower, progress = self.setting.grower(RunFolder(folder.path / TRIES / best.name))
        spent = trunk.progress.macs_trained + sum(one.macs_trained for one in tries)
        journal = Journal(folder, self.setting.listener)
        journal.record(
            "goal",
            {
                "accuracy": self._goal,
                "reached": best.reached,
                "try": best.name,
                "validation_accuracy": best.validation_accuracy,
                "trunk_macs_trained": trunk.progress.macs_trained,
            },
        )
        adopted = replace(progress, macs_trained=spent)
        journal.checkpoint(adopted, grower.trace, grower.optimizer)


@dataclass(frozen=True)
class _Trunk:
    """The growth, as far as it has come: every event is followed by a checkpoint, so that none is lost."""

    grower: Grower
    progress: Progress
    journal: Journal

    @property
    def tries_blocks(self) -> bool:
        """Whether the next growth step can change more than widths."""
        return bool(block_kinds(self.grower.trace, self.grower.config))

    def start(self, folder: RunFolder) -> None:
        """Train the smallest network; what an interruption has kept from being recorded is recorded now."""
        self.grower.start(self.progress)
        if len(list(folder.history("snapshot"))) <= self.progress.growth_steps:
            self._snapshot()

    def step(self) -> Iterator[Snapshot]:
        """Grow on by a step; there is no snapshot where no step is left."""
        if self.grower.take_step(self.progress):
            yield self._snapshot()
        else:
            self.progress.grown = True
            self._checkpoint()

    def record(self, event: str, values: dict[str, object]) -> None:
        """Keep an event."""
        self.journal.record(event, values)
        self._checkpoint()

    def _snapshot(self) -> Snapshot:
        grower, progress = self.grower, self.progress
        loss, accuracy = evaluate(grower.trace.graph, grower.data.validation)
        values = {
            "step": progress.growth_steps,
            "widths": grower.trace.widths(),
            "insertions": progress.insertions,
            "macs": grower.macs,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "macs_trained": progress.macs_trained,
        }
        self.record("snapshot", values)
        return Snapshot.of_event(values)

    def _checkpoint(self) -> None:
        self.journal.checkpoint(self.progress, self.grower.trace, self.grower.optimizer)
