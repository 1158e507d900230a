"""The Python API: what the command line does, as functions. It and `edgegrow.delivery` tie the rooms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edgegrow.config import RunConfig
from edgegrow.delivery import Delivery, formats_of
from edgegrow.deploy.c_cmsis import find_kernels
from edgegrow.errors import InputError
from edgegrow.listener import Listener, Silent
from edgegrow.result import Run, read_profiles
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.versions import versions


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
    setting = Setting(config, listener)
    config = config.model_copy(update={"train": setting.train_config})
    assert setting.seed  # planted now: an impossible budget leaves no folder
    out = out or new_folder(config)
    folder = RunFolder.create(out, config, versions())
    listener.say(f"run folder: {out}")
    folder.record("start", {"data": setting.data.origin, "fingerprint": setting.data.fingerprint})
    return setting.complete(folder)


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
    setting = Setting(config, listener or Silent())
    setting.check_data(folder)
    return setting.complete(folder)


def export(
    path: Path,
    formats: Sequence[str] | None = None,
    out: Path | None = None,
    listener: Listener | None = None,
    kernels: str = "edgegrow",
) -> Delivery:
    """Write a run's artifacts again, from its newest checkpoint.

    Parameters
    ----------
    path : Path
        A run folder.
    formats : sequence of str, optional
        Of `edgegrow.delivery.EXPORTED`; by default those that the run has written.
    out : Path, optional
        Where they go; by default into the run folder.
    kernels : str
        What the C package calls, as `edgegrow.deploy.c_cmsis.find_kernels` reads it.

    Raises
    ------
    InputError
        If the folder holds no run with a checkpoint, ``out`` cannot be written, or the kernels are not there.
    """
    library = find_kernels(kernels)
    folder = RunFolder.open(path)
    config = folder.config()
    listener = listener or Silent()
    setting = Setting(config, listener)
    chosen = formats or formats_of(setting.target)
    if library is not None and "c" not in chosen:
        raise InputError(f"--kernels {kernels}: only C packages have them: add --format c")
    setting.check_data(folder)
    checkpoint = folder.load_checkpoint()
    if checkpoint is None:
        raise InputError(f"{path}: it has no checkpoint yet: continue it with --resume {path}")
    if not any(folder.history("done")):
        listener.warn(f"{path} has not finished: this is the network of its newest checkpoint")
    trace = checkpoint.build(setting.fresh())
    destination = out or path
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{destination}: cannot make the folder: {error.strerror}") from error
    return setting.deliver(setting.finisher(trace, checkpoint), destination, chosen, library)


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
    run = Run(folder, config, read_profiles(folder))
    missing = set(config.budget.limits) - set(run.delivered())
    if missing:
        what = ", ".join(sorted(missing))
        raise InputError(f"{path}: its profile.json has no figure for {what}: put the file back")
    return run
