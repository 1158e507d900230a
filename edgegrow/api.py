"""The Python API: what the command line does, as functions. It and `edgegrow.delivery` tie the rooms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from edgegrow.config import RunConfig
from edgegrow.cost.model import LayerCosts, check_predicted
from edgegrow.data import load_dataset
from edgegrow.data.dataset import Dataset
from edgegrow.delivery import FORMATS, Delivery, deliver, flash_model, profile_delivery
from edgegrow.deploy.c_cmsis import CmsisKernels, find_kernels
from edgegrow.errors import InputError
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.grow import Grower
from edgegrow.growth.progress import Progress
from edgegrow.growth.seed import build_network, plant_seed
from edgegrow.listener import Listener, Silent
from edgegrow.measure.host import measure_host
from edgegrow.measure.protocol import Profile
from edgegrow.nets import load_net
from edgegrow.result import Run, profile_file
from edgegrow.run import RunFolder
from edgegrow.targets import Target, load_target
from edgegrow.training import deterministic
from edgegrow.versions import versions

_LEAST_EPOCHS, _LEAST_STEPS = 20, 6000
"""Training where ``train.epochs`` is not given: small data sets need more passes for as many steps."""


class _Journal:
    """Keeps a growth's events in its run folder, and shows them to a listener."""

    def __init__(self, folder: RunFolder, listener: Listener) -> None:
        self.folder, self.listener = folder, listener
        self.accuracy = ""

    def record(self, event: str, values: Mapping[str, Any]) -> None:
        self.folder.record(event, values)
        if event == "epoch":
            self.accuracy = f", last validation {100 * values['validation_accuracy']:.2f} %"
            self.listener.detail(
                f"{values['stage']}: {values['steps']} steps, loss {values['train_loss']:.4f}{self.accuracy}"
            )
        elif event == "growth":
            widths = " ".join(map(str, values["widths"].values()))
            self.listener.say(
                f"growth step {values['step']}: {sum(values['splits'].values())} splits, step size "
                f"{values['step_size']}, loss {values['loss_before']:.4f} -> {values['loss_after']:.4f} "
                f"(predicted change {values['predicted_loss_change']:+.4f}), widths {widths}"
            )

    def checkpoint(self, progress: Progress, trace: NetworkTrace, optimizer: torch.optim.Optimizer) -> None:
        self.folder.save_checkpoint(progress, trace, optimizer)

    def step(self, stage: str, step: int, steps: int, loss: float) -> None:
        self.listener.step(stage, step, steps, f"loss {loss:.4f}{self.accuracy}")

    def warn(self, line: str) -> None:
        self.listener.warn(line)


def grow(config: RunConfig, out: Path | None = None, listener: Listener | None = None) -> Run:
    """Grow a network under a budget, write its artifacts, and measure them.

    The artifacts are within the budget if `Run.check_budget` has nothing to raise.

    Parameters
    ----------
    config : RunConfig
        What is wanted; see `edgegrow.config.resolve_config`.
    out : Path, optional
        The run folder; by default a new one under ``runs/``.
    listener : Listener, optional
        Is shown the progress.

    Raises
    ------
    InputError
        If something that was asked for cannot be; nothing has been trained then.
    """
    listener = listener or Silent()
    setting = _Setting(config, listener)
    config = config.model_copy(update={"train": setting.train_config})
    out = out or new_folder(config)
    folder = RunFolder.create(out, config, versions())
    listener.say(f"run folder: {out}")
    folder.record("start", {"data": setting.data.origin, "fingerprint": setting.data.fingerprint})
    return setting.complete(folder, config)


def new_folder(config: RunConfig) -> Path:
    """Name a run folder after the data, the net and the time: ``runs/digits-dscnn-20261122-101500``."""
    name = re.sub(r"\W+", "-", f"{Path(config.data.name).name}-{config.net.name}")
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def resume(path: Path, listener: Listener | None = None) -> Run:
    """Continue an interrupted run from its newest checkpoint; it ends as if it had never stopped.

    A run that has finished is read back.

    Raises
    ------
    InputError
        If the folder is no run, its newest checkpoint is damaged, or its data has changed.
    """
    folder = RunFolder.open(path)
    if any(folder.history("done")):
        return open_run(path)
    config = folder.config()
    setting = _Setting(config, listener or Silent())
    setting.check_data(folder)
    return setting.complete(folder, config)


def export(
    path: Path,
    formats: Sequence[str] = FORMATS,
    out: Path | None = None,
    listener: Listener | None = None,
    kernels: str = "edgegrow",
) -> Delivery:
    """Write a run's artifacts again, from its newest checkpoint.

    Parameters
    ----------
    path : Path
        A run folder.
    formats : sequence of str
        Of `edgegrow.delivery.EXPORTED`.
    out : Path, optional
        Where they go; by default into the run folder.
    kernels : str
        What the C package calls, as `edgegrow.deploy.c_cmsis.find_kernels` reads it.

    Raises
    ------
    InputError
        If the folder holds no run with a checkpoint, ``out`` cannot be written, or the kernels are not there.
    """
    if kernels != "edgegrow" and "c" not in formats:
        raise InputError(f"--kernels {kernels}: only C packages have them: add --format c")
    library = find_kernels(kernels)
    folder = RunFolder.open(path)
    config = folder.config()
    listener = listener or Silent()
    setting = _Setting(config, listener)
    setting.check_data(folder)
    checkpoint = folder.load_checkpoint()
    if checkpoint is None:
        raise InputError(f"{path}: it has no checkpoint yet: continue it with --resume {path}")
    if not any(folder.history("done")):
        listener.warn(f"{path} has not finished: this is the network of its newest checkpoint")
    checkpoint.restore(setting.trace)
    destination = out or path
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{destination}: cannot make the folder: {error.strerror}") from error
    return setting.deliver(destination, formats, config, library)


def measure_artifact(
    path: Path,
    target: str = "host",
    threads: int = 1,
    iterations: int = 50,
    seconds: float = 1.0,
    listener: Listener | None = None,
) -> Profile:
    """Measure an artifact on a target.

    Parameters
    ----------
    path : Path
        A ``.tflite`` or ``.onnx`` file.
    target : str
        Name or file of a target; measured here is the host alone.
    threads : int
        Threads the runtime may use.
    iterations, seconds
        At least so many timed inferences, and so long, in seconds.

    Raises
    ------
    InputError
        If the artifact cannot be opened, or the target cannot be measured from here.
    """
    listener = listener or Silent()
    found = load_target(target)
    _require_host(found)
    return measure_host(
        path,
        target=found.reference,
        threads=threads,
        min_iterations=iterations,
        min_seconds=seconds,
        progress=listener.detail,
        warn=listener.warn,
    )


def open_run(path: Path) -> Run:
    """Read a finished run back.

    Raises
    ------
    InputError
        If the folder is no run, or the run has not finished.
    """
    folder = RunFolder.open(path)
    config = folder.config()
    if not any(folder.history("done")):
        raise InputError(f"{path}: the run has not finished: continue it with --resume {path}")
    profiles = {item: Profile.read(profile_file(folder, item)) for item in FORMATS}
    run = Run(folder, config, profiles)
    missing = set(config.budget.limits) - set(run.delivered())
    if missing:
        file = profile_file(folder, FORMATS[0])
        raise InputError(f"{file}: it has no figure for {', '.join(sorted(missing))}: put the file back")
    return run


class _Setting:
    """Everything that a run stands on, found and checked before anything is trained."""

    def __init__(self, config: RunConfig, listener: Listener) -> None:
        self.listener = listener
        self.target: Target = load_target(config.target)
        _require_host(self.target)
        self.limits = config.budget.limits
        check_predicted(self.limits, self.target.name)
        net = load_net(config.net.name)
        self.data: Dataset = load_dataset(
            config.data.name, Path(config.data.dir) if config.data.dir else None
        )
        deterministic(config.train.threads)
        shape, classes = self.data.input_shape, self.data.classes
        # As the net comes, to learn its file's structure; what cannot be deployed is named now.
        example = build_network(net, shape, classes, config.net.widths, config.seed)
        self.costs = LayerCosts(self.limits, flash_model(example, self.data))
        self.trace = plant_seed(
            net,
            shape,
            classes,
            self.costs,
            self.limits,
            config.grow.seed_fraction,
            config.seed,
            config.net.widths,
        )
        self.train_config = config.train
        if config.train.epochs is None:
            steps = max(1, len(self.data.train) // config.train.batch_size)
            epochs = float(max(_LEAST_EPOCHS, -(-_LEAST_STEPS // steps)))
            self.train_config = config.train.model_copy(update={"epochs": epochs})

    def check_data(self, folder: RunFolder) -> None:
        """Refuse to go on with other samples than those that the run began with."""
        for start in folder.history("start"):
            if start["fingerprint"] != self.data.fingerprint:
                raise InputError(
                    f"{folder.path}: data {self.data.name} is not what the run began with: "
                    "put the samples back, or grow anew"
                )

    def complete(self, folder: RunFolder, config: RunConfig) -> Run:
        """Grow from wherever the folder's newest checkpoint stands, then deliver and measure."""
        journal = _Journal(folder, self.listener)
        grower = Grower(
            self.trace,
            self.data,
            self.costs,
            self.limits,
            self.train_config,
            config.grow,
            config.seed,
            journal,
        )
        progress = Progress()
        checkpoint = folder.load_checkpoint()
        if checkpoint is not None:
            checkpoint.restore(self.trace, grower.optimizer)
            folder.rewind(checkpoint)
            progress = checkpoint.progress
        grower.run(progress)
        delivery = self.deliver(folder.path, FORMATS, config)
        profiles = profile_delivery(
            delivery, self.data, self.target, config.measure, config.train.threads, self.listener
        )
        for item, profile in profiles.items():
            profile.write(profile_file(folder, item))
        run = Run(folder, config, profiles)
        costs, spent = run.costs(), progress.macs_trained
        epochs = spent / grower.epoch_macs
        folder.record("done", {"costs": costs, "macs_trained": spent, "epochs_of_final_network": epochs})
        return run

    def deliver(
        self,
        folder: Path,
        formats: Sequence[str],
        config: RunConfig,
        library: CmsisKernels | None = None,
    ) -> Delivery:
        samples = config.quantize.calibration_samples
        return deliver(self.trace, self.data, folder, formats, self.target, samples, library)


def _require_host(target: Target) -> None:
    if target.name != "host":
        raise InputError(f"target {target.name}: it cannot be measured from here yet: use --target host")
