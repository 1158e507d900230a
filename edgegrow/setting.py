"""Everything that a run stands on: data, target, network and cost model; and the run itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

from edgegrow.calibrating import Subject
from edgegrow.config import GrowConfig, RunConfig
from edgegrow.cost.microcontroller import check_predictable
from edgegrow.cost.model import PREDICTED, LayerCosts, check_predicted
from edgegrow.data import load_dataset
from edgegrow.data.dataset import Dataset
from edgegrow.delivery import STRUCTURE_SAMPLES, Delivery, calibrated, deliver, flash_model, formats_of
from edgegrow.deploy.agreement import check_agreement
from edgegrow.deploy.c_cmsis import CmsisKernels
from edgegrow.deploy.lower import lower
from edgegrow.deploy.qat import check_trainable
from edgegrow.errors import InputError
from edgegrow.finishing import Finisher
from edgegrow.growth.architecture import Records
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.grow import Grower
from edgegrow.growth.moves import BLOCKS, replay
from edgegrow.growth.moves.places import pools_left_alone
from edgegrow.growth.progress import Progress
from edgegrow.growth.schedule import check_leaves_training
from edgegrow.growth.seed import build_network, plant_seed
from edgegrow.growth.select import CostModel
from edgegrow.journal import Journal
from edgegrow.listener import Listener
from edgegrow.measuring import GIVE_DEVICE, is_timed, reach
from edgegrow.nets import load_net
from edgegrow.pricing import board_costs, timed_costs
from edgegrow.profiling import profile_delivery
from edgegrow.result import Run, write_profiles
from edgegrow.run import Checkpoint, RunFolder
from edgegrow.targets import Target, load_target
from edgegrow.training import deterministic

_LEAST_EPOCHS, _LEAST_STEPS = 20, 6000
"""Training where ``train.epochs`` is not given: small data sets need more passes for as many steps."""


class Setting:
    """Everything that a run stands on, found and checked before anything is trained.

    Attributes
    ----------
    target, limits, data, train_config
        What the configuration names, resolved; a microcontroller's memory is a limit too.
    example : NetworkTrace
        The network as it comes, its weights random.

    Raises
    ------
    InputError
        If something is missing, wrong, or does not go together.
    """

    def __init__(self, config: RunConfig, listener: Listener) -> None:
        self.config, self.listener = config, listener
        self.target = reach(load_target(config.target), config.via)
        self.limits = _limits(config, self.target)
        self.net = load_net(config.net.name)
        self.data: Dataset = load_dataset(
            config.data.name, Path(config.data.dir) if config.data.dir else None
        )
        deterministic(config.train.threads)
        self.example = self.fresh()
        self._priced: dict[str, CostModel] = {}
        self.float_graph = lower(
            self.example.graph, self.data.input_shape
        )  # what cannot be deployed is named now
        check_agreement(self.example.graph, self.data.input_shape)
        for group in self.example.groups:
            listener.detail(f"channels {group}")
        if fixed := self.example.left_alone:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in fixed.items())
            listener.say(f"net {self.net.name}: left at their widths: {reasons}")
        self._tell_left_out()
        if "weigh" in self.grow_config.moves and (left := pools_left_alone(self.example)):
            reasons = "; ".join(f"{pool}: {reason}" for pool, reason in left.items())
            listener.say(f"net {self.net.name}: weigh leaves pools alone ({reasons})")
        check_leaves_training(self.example, self.grow_config)
        if config.quantize.qat_epochs:
            check_trainable(self.float_graph)
        self.train_config = config.train
        if config.train.epochs is None:
            steps = max(1, len(self.data.train) // config.train.batch_size)
            epochs = float(max(_LEAST_EPOCHS, -(-_LEAST_STEPS // steps)))
            self.train_config = config.train.model_copy(update={"epochs": epochs})

    def of(self, config: RunConfig) -> Setting:
        """Return the setting of a run that differs in its limits, its target, or in how it grows, alone.

        Data and cost models are shared; on one target the limits are of the same metrics.
        """
        other = copy(self)
        for cached in ("costs", "seed"):
            other.__dict__.pop(cached, None)
        other.config = config
        if config.target != self.config.target:
            other.target = load_target(config.target)
        other.limits = _limits(config, other.target)
        if config.target != self.config.target:
            other._tell_left_out()
        return other

    def _tell_left_out(self) -> None:
        if left_out := [kind for kind in self.config.grow.moves if kind not in self.grow_config.moves]:
            missing = " and ".join(left_out)
            self.listener.say(
                f"target {self.target.name} prices one structure alone, by its table: no {missing}"
            )

    @property
    def grow_config(self) -> GrowConfig:
        """How the network is grown: without ``weigh`` and ``trim`` where the target cannot price them.

        Raises
        ------
        InputError
            Where nothing else was asked for, or depth was.
        """
        config, target = self.config.grow, self.target
        priced_by_table = target.kind == "mcu" or "latency_ms" in self.limits
        if target.latency_table is None or not priced_by_table or not set(BLOCKS).intersection(config.moves):
            return config
        moves = tuple(kind for kind in config.moves if kind not in BLOCKS)
        if "deepen" in config.moves or not moves:
            raise InputError(
                f"grow.moves: target {target.name} prices one structure alone, by its cost.latency_table: "
                f"leave {' and '.join(BLOCKS)} out, or the table"
            )
        return config.model_copy(update={"moves": moves})

    @cached_property
    def costs(self) -> CostModel:
        """The cost model of the network as deep as it comes, in the metrics of the budget."""
        return self.pricing(())

    def pricing(self, insertions: Records) -> CostModel:
        """Return the target's cost model of the network with some blocks inserted; it is made once.

        Raises
        ------
        InputError
            If that network cannot be deployed, or the target's kept latencies are of another one.
        """
        key = json.dumps([self.target.name, *map(dict, insertions)])
        if key not in self._priced:
            self._priced[key] = self._cost_model(insertions)
        return self._priced[key]

    def _cost_model(self, insertions: Records) -> CostModel:
        example, graph = self.example, self.float_graph
        if insertions:
            example = replay(self.fresh(), insertions)
            graph = lower(example.graph, self.data.input_shape)
        samples = self.data.calibration(STRUCTURE_SAMPLES)
        subject = Subject(example, graph, samples, self.config.net.name, self.config.data.name)
        if self.target.kind == "mcu":
            return board_costs(self.limits, self.target, subject, self.listener)
        counted = [metric for metric in self.limits if metric in PREDICTED]
        costs = LayerCosts(counted, flash_model(example, self.data), graph)
        if len(counted) == len(self.limits):
            return costs
        return timed_costs(self.limits, costs, self.target, subject, self.listener)

    def fresh(self) -> NetworkTrace:
        """Build the network as it comes."""
        config, data = self.config, self.data
        return build_network(self.net, data.input_shape, data.classes, config.net.widths, config.seed)

    @cached_property
    def seed(self) -> NetworkTrace:
        """The network that growth starts from; an InputError where the budget is impossible."""
        config = self.config
        return plant_seed(
            self.net,
            self.data.input_shape,
            self.data.classes,
            self.costs,
            self.limits,
            config.grow.seed_fraction,
            config.seed,
            config.net.widths,
        )

    def check_data(self, folder: RunFolder) -> None:
        """Refuse to go on with other samples than those that the run began with."""
        for start in folder.history("start"):
            if start["fingerprint"] != self.data.fingerprint:
                raise InputError(
                    f"{folder.path}: data {self.data.name} is not what the run began with: "
                    "put the samples back, or grow anew"
                )

    def grower(self, folder: RunFolder) -> tuple[Grower, Progress]:
        """Take a growth up where the folder's newest checkpoint has left it; what came after is forgotten."""
        checkpoint = folder.load_checkpoint()
        grower = Grower(
            self.seed if checkpoint is None else checkpoint.build(self.fresh()),
            self.data,
            self.pricing,
            self.limits,
            self.train_config,
            self.grow_config,
            self.config.seed,
            Journal(folder, self.listener),
            self.example.widths(),
            self.example,
        )
        if checkpoint is None:
            return grower, Progress()
        checkpoint.restore_optimizer(grower.trace.graph, grower.optimizer)
        folder.rewind(checkpoint)
        return grower, checkpoint.progress

    def complete(self, folder: RunFolder, anneal_steps: int | None = None) -> Run:
        """Grow from wherever the folder's newest checkpoint stands, then deliver and measure.

        Parameters
        ----------
        folder : RunFolder
        anneal_steps : int, optional
            Optimiser steps at the final size, where that is not left to the grower.
        """
        checkpoint = folder.load_checkpoint()
        grower, progress = self.grower(folder)
        if anneal_steps is not None and progress.anneal_total == 0:
            grower.begin_anneal(progress, anneal_steps)
        grower.run(progress)
        finisher = self.finisher(grower.trace, checkpoint)
        finisher.run(progress, grower.trainer, Journal(folder, self.listener))
        delivery = self.deliver(finisher, folder.path, formats_of(self.target))
        profiles = profile_delivery(
            delivery,
            self.data,
            self.target,
            self.config.measure,
            self.config.train.threads,
            self.listener,
        )
        write_profiles(folder, profiles)
        run = Run(folder, self.config, profiles)
        costs, spent = run.costs(), progress.macs_trained
        epochs = spent / grower.epoch_macs
        folder.record("budget", {"used": grower.used(progress)})
        folder.record("done", {"costs": costs, "macs_trained": spent, "epochs_of_final_network": epochs})
        return run

    def finisher(self, trace: NetworkTrace, checkpoint: Checkpoint | None = None) -> Finisher:
        """Quantize a trained network; its quantization-aware training is where the checkpoint has left it."""
        config = self.config
        network = calibrated(trace, self.data, config.quantize.calibration_samples)
        finisher = Finisher(trace, network, config.train, config.quantize.qat_epochs)
        if checkpoint is not None:
            finisher.restore(checkpoint)
        return finisher

    def deliver(
        self,
        finisher: Finisher,
        folder: Path,
        formats: Sequence[str],
        library: CmsisKernels | None = None,
    ) -> Delivery:
        """Write the artifacts of a quantized network; see `edgegrow.delivery.deliver`."""
        graph = finisher.network.graph()
        return deliver(finisher.trace, graph, folder, formats, self.target, library, finisher.taken)


def _limits(config: RunConfig, target: Target) -> dict[str, float]:
    """Return what a run keeps; an InputError where the target has no figure for it."""
    limits = config.budget.limits
    if target.kind == "mcu":
        check_predictable(limits, target.board())
        return _with_memory(limits, target)
    if target.kind == "npu":
        raise InputError(f"target {target.name}: networks cannot be grown for it yet: use another kind")
    first = formats_of(target)[0]
    if "flash_bytes" in limits and first != "tflite":
        raise InputError(
            f"budget flash_bytes: target {target.name} runs .{first} files, whose size is not predicted: "
            "leave it out, or name litert first among its runtimes"
        )
    timed = is_timed(target)  # a way that cannot be is told now, and not at the end
    check_predicted(limits, target.name, timed, f"give {GIVE_DEVICE}")
    return limits


def _with_memory(limits: Mapping[str, float], target: Target) -> dict[str, float]:
    """Add what the target has of flash and RAM to the limits, where they do not ask for less."""
    there = {"flash_bytes": target.memory.flash_bytes, "ram_bytes": target.memory.ram_bytes}
    known = {metric: float(value) for metric, value in there.items() if value is not None}
    return {**limits, **{metric: min(limits.get(metric, value), value) for metric, value in known.items()}}
