"""The growth loop: train a little, ask what moves promise, try a few ways to grow, and keep the best.

Growing is a search for widths and depth while the network is small and training is cheap: every growth step
lays its budget out in several ways, and a short training of each decides between them. What is found is then
trained for nearly all of the time there is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from edgegrow.budget import FILLED
from edgegrow.config import GrowConfig, TrainConfig
from edgegrow.data.dataset import Dataset
from edgegrow.errors import DivergedError
from edgegrow.growth.allocations import Allocator, Option, Pricing
from edgegrow.growth.architecture import initialise
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.choosing import FAIR_ANNEAL, Chooser, refused_before
from edgegrow.growth.filter_norms import filter_norms
from edgegrow.growth.moves import BLOCKS, Move
from edgegrow.growth.moves.blocks import Restructuring
from edgegrow.growth.probe import Figures, Probe, Prober, count_of
from edgegrow.growth.progress import Journal, Progress, Unheard
from edgegrow.growth.record import growth_event
from edgegrow.growth.schedule import most_steps
from edgegrow.growth.scoring import score, subsets
from edgegrow.growth.select import CheckedCostModel, CostModel, share
from edgegrow.growth.stretch import Trainer
from edgegrow.growth.vetting import Vetting
from edgegrow.training import TRAIN_PASSES, batches_of, cosine, evaluate, generator


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
        wait = max(1, round(grow_config.interval * self.epochs * self.batches.steps_per_epoch))
        self.prober = Prober(self.trainer, train_config, wait, grow_config.step_sizes)
        self.optimizer = self.prober.optimizer(trace)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference at the present size."""
        return count_of(self.trace)

    @property
    def epoch_macs(self) -> float:
        """Multiply-accumulates of one epoch of training at the present size."""
        return self.trainer.epoch_macs(self.macs)

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
            self._keep(progress)
        while progress.waited < self.prober.steps:
            progress.waited = self.trainer.train(
                self.trace.graph,
                self.macs,
                self.optimizer,
                progress,
                "seed",
                (1, 0, progress.waited),
                self.prober.rates,
                progress.waited,
                self.prober.steps,
            ).next_step
            self._keep(progress)

    def take_step(self, progress: Progress) -> bool:
        """Take the next growth step, a checkpoint at its end; False where none is left to take."""
        if progress.growth_steps >= self.config.steps and not self._unfilled(progress):
            return False
        self._grow(progress)
        self._keep(progress)
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
            self._keep(progress)

    def begin_anneal(self, progress: Progress, steps: int) -> None:
        """Decide how many optimiser steps `anneal` takes in all, and what from."""
        if self.config.weights == "fresh" and not progress.fresh:
            initialise(self.trace, self.seed)
        self.optimizer = self.prober.optimizer(self.trace)
        progress.anneal_total = steps

    def costs(self, progress: Progress) -> CostModel:
        """Cost model of the network as deep as it is."""
        return self.pricing(progress.insertions)

    def used(self, progress: Progress) -> float:
        """Share of its fullest limit that the network takes, as growing prices it: at most 1."""
        self._recall(progress)
        return share(self.costs(progress)(self.trace.shapes(self.trace.widths())), self.limits)

    def _recall(self, progress: Progress) -> None:
        costs = self.costs(progress)
        if isinstance(costs, CheckedCostModel):
            costs.recall(progress.learnt)

    def _keep(self, progress: Progress) -> None:
        self.journal.checkpoint(progress, self.trace, self.optimizer)

    def _anneal_length(self, progress: Progress) -> int:
        """Optimiser steps that all training has left for the final size."""
        left = self.epochs * self.epoch_macs - progress.macs_trained
        if left < FAIR_ANNEAL * self.epochs * self.epoch_macs:
            self.journal.warn(
                f"growing took {progress.macs_trained / self.epoch_macs:.1f} epochs' worth of the "
                f"{self.epochs:g} there are to train: give more --epochs, or fewer grow.samples"
            )
        return max(1, int(left / (TRAIN_PASSES * self.macs * self.batches.size)))

    def _unfilled(self, progress: Progress) -> bool:
        """Whether a budget is left that a channel more would fit into, which more growth steps then fill.

        The configured ones leave it where a small network of fixed widths starts: a step at most doubles a
        group.
        """
        if progress.growth_steps >= self.most_steps:
            return False
        costs, widths = self.costs(progress), self.trace.widths()
        if share(costs(self.trace.shapes(widths)), self.limits) >= FILLED:
            return False
        return any(
            share(costs(self.trace.shapes({**widths, name: width + 1})), self.limits) <= 1
            for name, width in widths.items()
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
        fresh = self._fresh_at(number)
        probes: dict[str, Probe] = {}
        for option in options:
            known = progress.probes.get(option.name)
            if known is None or known["network"] != option.network:  # a clock may have priced it otherwise
                found = None
                try:
                    probe = probes[option.name] = self.prober.probe(
                        option, self.trace, progress, number, searched, before, fresh
                    )
                    found = probe.figures.to_json()
                except DivergedError:
                    self.journal.record("lost", {"step": number, "allocation": option.name})
                progress.probes[option.name] = {"network": option.network, "figures": found}
                if option is not options[-1]:
                    self._keep(progress)
        options = [option for option in options if progress.probes[option.name]["figures"]]
        if not options:
            raise DivergedError(f"growth step {number}: whatever it tried diverged: lower train.lr")
        figures = {option.name: Figures(**progress.probes[option.name]["figures"]) for option in options}
        chooser = Chooser(self.trace, number, self.epochs, self.trainer, self.vetting, self._keep)
        best = chooser.best(options, figures, progress)
        if best.name not in probes:
            unheard = replace(self.prober, trainer=replace(self.trainer, journal=Unheard()))
            uncounted = Progress(**progress.to_json())
            probes[best.name] = unheard.probe(best, self.trace, uncounted, number, searched, before, fresh)
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
        refused = refused_before(progress, number)
        left = [m for m in moves if not (isinstance(m, Restructuring) and str(m.insertion) in refused)]
        allocator = Allocator(
            self.trace, progress.insertions, left, self.pricing, limits, progress.proportions
        )
        blocks = [kind for kind in BLOCKS if kind in self.config.moves]
        return allocator.every(self.config.allocations, blocks)

    def _fresh_at(self, number: int) -> bool:
        return self.config.weights == "fresh" and number >= self.config.steps

    def _limits_at(self, progress: Progress, number: int) -> dict[str, float]:
        """Bounds of a growth step: geometrically from the present costs to the budget over the steps left."""
        now = self.costs(progress)(self.trace.shapes(self.trace.widths()))
        part = 1 / max(1, self.config.steps - number + 1)
        return {metric: now[metric] ** (1 - part) * limit**part for metric, limit in self.limits.items()}

    def _adopt(self, probe: Probe, progress: Progress) -> None:
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
