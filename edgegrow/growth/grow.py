"""The growth loop: train a little, ask what moves promise, try a few ways to grow, and keep the best.

Growing is a search for widths and depth while the network is small and training is cheap: every growth step
lays its budget out in several ways, and a short training of each decides between them. What is found is then
trained for nearly all of the time there is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch

from edgegrow.config import GrowConfig, TrainConfig
from edgegrow.data.dataset import Dataset, Split
from edgegrow.errors import DivergedError
from edgegrow.growth.allocations import Allocator, Option, Pricing
from edgegrow.growth.architecture import initialise
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves import BLOCKS, Move, apply
from edgegrow.growth.moves.blocks import Restructuring
from edgegrow.growth.probe import Figures, Taken, count_of, take
from edgegrow.growth.progress import Journal, Progress, Unheard
from edgegrow.growth.record import growth_event
from edgegrow.growth.schedule import most_steps
from edgegrow.growth.scoring import score, subsets
from edgegrow.growth.select import CheckedCostModel, CostModel, share
from edgegrow.growth.stretch import Stretch, Trainer
from edgegrow.growth.surgery import filter_norms
from edgegrow.growth.vetting import Vetting
from edgegrow.training import TRAIN_PASSES, batches_of, cosine, evaluate, generator, make_optimizer

_FAIR_ANNEAL = 0.5
"""Share of all training below which the anneal is warned about."""

_FILLED = 0.95
"""Share of a limit at which it counts as filled. A budget that the configured growth steps leave emptier, as
where a small network of fixed widths starts, is grown into by further ones."""


_CLEARLY = 0.02
"""Share of its validation loss by which another option has to beat the first: short trainings of one network
differ by as much, and architectures chosen by noise are worse than those in proportion."""


@dataclass(frozen=True)
class _Probe:
    """An option that has been tried: its network is trained a little."""

    option: Option
    taken: Taken
    optimizer: torch.optim.SGD
    figures: Figures


class Grower:
    """Grows one network on one data set under one budget.

    Parameters
    ----------
    trace : NetworkTrace
        The seed network, or the network of a checkpoint.
    data : Dataset
        Trains on its training split, decides on its validation split, never sees the test split.
    pricing : Pricing
        Gives cost models, which price whole networks in the metrics of `limits`, and may try each step's on
        the target.
    limits : mapping
        ``{metric: upper bound}``.
    train_config, grow_config
        See `edgegrow.config`; ``train_config.epochs`` must be resolved to a number.
    seed : int
        Decides everything random.
    journal : Journal
        Is told of everything.
    proportions : mapping, optional
        ``{group name: channels}``: what growing in proportion keeps to; by default the network's own widths.
    seed_network : NetworkTrace, optional
        What growth started from, of any widths; by default the network.

    Attributes
    ----------
    trace, optimizer
        The network as it is now, and its optimiser.
    most_steps : int
        Growth steps beyond those configured end here, even where a budget is left.
    """

    def __init__(
        self,
        trace: NetworkTrace,
        data: Dataset,
        pricing: Pricing,
        limits: Mapping[str, float],
        train_config: TrainConfig,
        grow_config: GrowConfig,
        seed: int,
        journal: Journal,
        proportions: Mapping[str, int] | None = None,
        seed_network: NetworkTrace | None = None,
    ) -> None:
        assert train_config.epochs is not None
        self.trace, self.data, self.pricing, self.limits = trace, data, pricing, dict(limits)
        self.train_config, self.config, self.seed, self.journal = train_config, grow_config, seed, journal
        self.epochs, self.proportions = train_config.epochs, dict(proportions or trace.widths())
        self.most_steps = most_steps(seed_network or trace, grow_config)
        self.batches = batches_of(data, train_config)
        self.trainer = Trainer(data, self.batches, seed, journal)
        self.vetting = Vetting(data, train_config, seed)
        self.optimizer = self._new_optimizer(trace)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference at the present size."""
        return count_of(self.trace)

    @property
    def epoch_macs(self) -> float:
        """Multiply-accumulates of one epoch of training at the present size."""
        return self._epoch_macs_of(self.trace)

    def _epoch_macs_of(self, trace: NetworkTrace) -> float:
        return float(TRAIN_PASSES * count_of(trace) * self.batches.size * self.batches.steps_per_epoch)

    def run(self, progress: Progress) -> Progress:
        """Grow and anneal from wherever ``progress`` stands to the end; the network is in `trace` then."""
        self.grow(progress)
        self.anneal(progress)
        return progress

    def grow(self, progress: Progress) -> None:
        """Grow from wherever ``progress`` stands until the budget is filled.

        Every try of a growth step, and every stretch of at most an epoch before, ends in a checkpoint and
        draws from streams of its own, keyed by seed and place: a resumed run takes the very steps that an
        uninterrupted one takes.
        """
        if progress.grown:
            return
        self.start(progress)
        while self.take_step(progress):
            pass
        progress.grown = True

    def start(self, progress: Progress) -> None:
        """Train the seed network from wherever ``progress`` stands until growth steps can be taken."""
        self._recall(progress)
        if not progress.filter_norms:
            progress.filter_norms = filter_norms(self.trace)
            progress.proportions = self.proportions
            self.journal.checkpoint(progress, self.trace, self.optimizer)
        while progress.waited < self._wait:
            progress.waited = self._train_seed(progress).next_step
            self.journal.checkpoint(progress, self.trace, self.optimizer)

    def take_step(self, progress: Progress) -> bool:
        """Take the next growth step, a checkpoint at its end; False where none is left to take."""
        if progress.growth_steps >= self.config.steps and not self._unfilled(progress):
            return False
        self._grow(progress)
        self.journal.checkpoint(progress, self.trace, self.optimizer)
        return True

    def anneal(self, progress: Progress) -> None:
        """Train the grown network from wherever ``progress`` stands, the rate falling along a cosine to 0."""
        if progress.anneal_total == 0:
            self.begin_anneal(progress, self._anneal_length(progress))
        total = progress.anneal_total
        while progress.anneal_steps < total:
            progress.anneal_steps = self.trainer.train(
                self.trace.graph,
                self.macs,
                self.optimizer,
                progress,
                "anneal",
                (2, progress.anneal_steps),
                partial(cosine, self.train_config.lr, steps=total),
                progress.anneal_steps,
                total,
            ).next_step
            self.journal.checkpoint(progress, self.trace, self.optimizer)

    def begin_anneal(self, progress: Progress, steps: int) -> None:
        """Decide how many optimiser steps `anneal` takes in all, and what from."""
        if self.config.weights == "fresh" and not progress.fresh:
            initialise(self.trace, self.seed)
        self.optimizer = self._new_optimizer(self.trace)
        progress.anneal_total = steps

    def costs(self, progress: Progress) -> CostModel:
        """Cost model of the network as deep as it is."""
        return self.pricing(progress.insertions)

    def _recall(self, progress: Progress) -> None:
        costs = self.costs(progress)
        if isinstance(costs, CheckedCostModel):
            costs.recall(progress.learnt)

    def _new_optimizer(self, trace: NetworkTrace) -> torch.optim.SGD:
        config = self.train_config
        return make_optimizer(trace.graph, config.lr, config.momentum, config.weight_decay)

    @property
    def _wait(self) -> int:
        """Optimiser steps of every short training: the seed's, and that of each option."""
        return max(1, round(self.config.interval * self.epochs * self.batches.steps_per_epoch))

    def _anneal_length(self, progress: Progress) -> int:
        """Optimiser steps that all training has left for the final size."""
        left = self.epochs * self.epoch_macs - progress.macs_trained
        if left < _FAIR_ANNEAL * self.epochs * self.epoch_macs:
            self.journal.warn(
                f"growing took {progress.macs_trained / self.epoch_macs:.1f} epochs' worth of the "
                f"{self.epochs:g} there are to train: give more --epochs, or fewer grow.samples"
            )
        return max(1, int(left / (TRAIN_PASSES * self.macs * self.batches.size)))

    def _unfilled(self, progress: Progress) -> bool:
        """Whether a budget is left that a channel more would fit into: a step at most doubles a group."""
        if progress.growth_steps >= self.most_steps:
            return False
        costs, widths = self.costs(progress), self.trace.widths()
        if share(costs(self.trace.shapes(widths)), self.limits) >= _FILLED:
            return False
        return any(
            share(costs(self.trace.shapes({**widths, name: width + 1})), self.limits) <= 1
            for name, width in widths.items()
        )

    def _short_rates(self, step: int) -> float:
        return cosine(self.train_config.lr, step, self._wait)

    def _train_seed(self, progress: Progress) -> Stretch:
        return self.trainer.train(
            self.trace.graph,
            self.macs,
            self.optimizer,
            progress,
            "seed",
            (1, 0, progress.waited),
            self._short_rates,
            progress.waited,
            self._wait,
        )

    def _grow(self, progress: Progress) -> None:
        """Take a growth step; what was tried before an interruption is not tried again.

        Raises
        ------
        DivergedError
            If all options do; one that does is not taken.
        """
        number, started = progress.growth_steps + 1, time.monotonic()
        scored, searched = subsets(self.data.train, self.config, self.epochs, self.seed, number)
        moves, context = score(self.trace, scored, self.config, generator(self.seed, 3, number))
        seconds = time.monotonic() - started
        options = self._options(progress, moves, number)
        if not progress.probes:
            progress.macs_trained += context.macs
        before = evaluate(self.trace.graph, self.data.validation)[0]
        probes: dict[str, _Probe] = {}
        for option in options:
            known = progress.probes.get(option.name)
            if known is None or known["network"] != option.network:  # a clock may have priced it otherwise
                found = None
                try:
                    probe = probes[option.name] = self._probe(option, progress, number, searched, before)
                    found = probe.figures.to_json()
                except DivergedError:
                    self.journal.record("lost", {"step": number, "allocation": option.name})
                progress.probes[option.name] = {"network": option.network, "figures": found}
                if option is not options[-1]:
                    self.journal.checkpoint(progress, self.trace, self.optimizer)
        options = [option for option in options if progress.probes[option.name]["figures"]]
        if not options:
            raise DivergedError(f"growth step {number}: whatever it tried diverged: lower train.lr")
        figures = {option.name: Figures(**progress.probes[option.name]["figures"]) for option in options}
        best = self._best(options, figures, progress, number)
        if best.name not in probes:
            unheard = replace(self.trainer, journal=Unheard())
            probes[best.name] = self._probe(
                best, Progress(**progress.to_json()), number, searched, before, unheard
            )
        event = growth_event(number, best, options, figures, self.trace.widths(), moves)
        self._adopt(probes[best.name], progress)
        self.journal.record(
            "growth",
            {
                **event,
                "fresh": progress.fresh,
                "vetted": progress.vetted,
                "costs": dict(self.costs(progress)(self.trace.shapes(self.trace.widths()))),
                "samples": len(scored),
                "scoring_macs": context.macs,
                "scoring_seconds": seconds,
                "macs_trained": progress.macs_trained,
                "seconds": time.monotonic() - started,
            },
        )

    def _options(self, progress: Progress, moves: Sequence[Move], number: int) -> list[Option]:
        """Lay the step's budget out in every way that is configured; none twice."""
        self._recall(progress)
        limits = self._limits_at(progress, number)
        refused = {
            name
            for name, vetted in progress.vetted.items()
            if vetted["step"] < number and not vetted["holds"]
        }
        left = [m for m in moves if not (isinstance(m, Restructuring) and str(m.insertion) in refused)]
        allocator = Allocator(
            self.trace, progress.insertions, left, self.pricing, limits, progress.proportions
        )
        ways = {"proportional": allocator.proportional, "gain": allocator.gain}
        found = [ways[name]() for name in self.config.allocations]
        for kind in BLOCKS:
            if kind in self.config.moves and (inserting := allocator.block(kind)) is not None:
                found.append(inserting)
        distinct: dict[tuple[str | int, ...], Option] = {}
        for option in found:
            distinct.setdefault(tuple(option.network), option)
        return list(distinct.values())

    def _best(
        self, options: Sequence[Option], figures: Mapping[str, Figures], progress: Progress, number: int
    ) -> Option:
        """Take the best after the short trainings, if clearly better than the first; a block if it holds."""
        left = list(options)
        while True:
            best = min(left, key=lambda option: figures[option.name].validation_loss)
            if figures[best.name].validation_loss > (1 - _CLEARLY) * figures[left[0].name].validation_loss:
                return left[0]
            if all(self._holds(block, best, options[0], progress, number) for block in best.blocks):
                return best
            left.remove(best)

    def _holds(
        self, block: Restructuring, option: Option, otherwise: Option, progress: Progress, number: int
    ) -> bool:
        """Whether a block does no harm where samples are few; asked once for each.

        It is asked of the network as it is, with and without; where a block frees a part of the budget, of
        the networks of its option, which spends that, and of the one that would be taken otherwise. A block
        is not taken where that would leave less than half of all training.
        """
        vetted = progress.vetted.get(str(block.insertion))
        if vetted is None:
            networks: dict[str, NetworkTrace] = {}
            for name, taken in (("without", otherwise), ("with", option)):
                network = deepcopy(self.trace)
                if block.frees:
                    network = apply(network, taken.moves, generator(self.seed, 8, number)).trace
                elif taken is option:
                    network = block.made(network)
                networks[name] = network
            spent = progress.macs_trained + sum(map(self.vetting.macs, networks.values()))
            if spent > (1 - _FAIR_ANNEAL) * self.epochs * self._epoch_macs_of(networks["with"]):
                self.journal.warn(
                    f"{block.kind} is not taken: a look at it on few samples would leave too little of all "
                    "training: give more --epochs, or leave it out of --moves"
                )
                return False
            looks = {}
            for name, network in networks.items():
                stage = f"grow {number}, {block.kind}, few samples {name}"
                looks[name] = self.vetting.look(network, partial(self.journal.step, stage))
            progress.macs_trained = spent
            vetted = progress.vetted[str(block.insertion)] = {
                "step": number,
                "holds": self.vetting.holds(looks["without"], looks["with"]),
                **{name: look and asdict(look) for name, look in looks.items()},
            }
            self.journal.checkpoint(progress, self.trace, self.optimizer)
        return bool(vetted["holds"])

    def _fresh_at(self, number: int) -> bool:
        return self.config.weights == "fresh" and number >= self.config.steps

    def _limits_at(self, progress: Progress, number: int) -> dict[str, float]:
        """Bounds of a growth step: geometrically from the present costs to the budget over the steps left."""
        now = self.costs(progress)(self.trace.shapes(self.trace.widths()))
        part = 1 / max(1, self.config.steps - number + 1)
        return {metric: now[metric] ** (1 - part) * limit**part for metric, limit in self.limits.items()}

    def _probe(
        self,
        option: Option,
        progress: Progress,
        number: int,
        searched: Split,
        before: float,
        trainer: Trainer | None = None,
    ) -> _Probe:
        """Try an option. All options of a step see the same samples in the same order.

        Where the grown network's weights are to be fresh, those of the last step are so already: it is judged
        as it will be trained, and what the best has learnt is kept.
        """
        rng = generator(self.seed, 8, number)
        taken = take(option, self.trace, searched, self.config.step_sizes, progress.filter_norms, rng)
        progress.macs_trained += taken.macs
        if self._fresh_at(number):
            initialise(taken.trace, self.seed)
        optimizer = self._new_optimizer(taken.trace)
        stage, macs, done, after = f"grow {number}, {option.name}", count_of(taken.trace), 0, before
        while done < self._wait:
            done, _, after, _ = (trainer or self.trainer).train(
                taken.trace.graph, macs, optimizer, progress, stage, (1, number, done),
                self._short_rates, done, self._wait,
            )  # fmt: skip
        figures = Figures(
            taken.step_size, taken.predicted_loss_change, taken.loss_before, taken.loss_after,
            before, after, option.gain,
        )  # fmt: skip
        return _Probe(option, taken, optimizer, figures)

    def _adopt(self, probe: _Probe, progress: Progress) -> None:
        """Go on from an option's network."""
        self.trace, self.optimizer = probe.taken.trace, probe.optimizer
        progress.filter_norms = probe.taken.filter_norms
        progress.insertions = [dict(record) for record in probe.option.insertions]
        if probe.option.name == "gain":
            progress.proportions = self.trace.widths()
        progress.learnt = dict(probe.option.learnt)
        self._recall(progress)
        progress.growth_steps, progress.probes = progress.growth_steps + 1, {}
        progress.fresh = self._fresh_at(progress.growth_steps)
