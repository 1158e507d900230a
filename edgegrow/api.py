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
from edgegrow.family import Family
from edgegrow.goal import GoalSearch
from edgegrow.ladder import RUNGS, LadderGrowth
from edgegrow.ladder_targets import settle
from edgegrow.listener import Listener, Silent
from edgegrow.measuring import prepare_target
from edgegrow.result import Run, open_run
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.targets import Target
from edgegrow.versions import versions


def grow(config: RunConfig, out: Path | None = None, listener: Listener | None = None) -> Run:
    """Grow a network under a budget, write its artifacts, and measure them.

    The artifacts are within the budget, and the network reaches the goal where there is one, if `Run.check`
    has nothing to raise.

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
    DeviceError
        If the target's device cannot be reached, or fails: `resume` goes on, once something has been trained.
    """
    if config.ladder is not None:
        raise InputError("ladder: it is no single run: use grow_ladder")
    listener = listener or Silent()
    setting = Setting(config, listener)
    assert setting.seed  # planted now: an impossible budget leaves no folder
    folder = _new_run(config, setting, [setting.target], out)
    with folder.kept():
        return _complete(setting, folder)


def grow_ladder(config: RunConfig, out: Path | None = None, listener: Listener | None = None) -> Family:
    """Grow once through all rungs of a ladder; train, write and measure a network for each.

    Every rung's run is in ``rungs`` of the run folder. All budgets are kept if `Family.check` has
    nothing to raise.

    Parameters
    ----------
    config : RunConfig
        What is wanted; its ``ladder`` is there.
    out, listener
        As of `grow`.

    Raises
    ------
    InputError
        If something that was asked for cannot be; nothing has been trained then.
    """
    if config.ladder is None:
        raise InputError("ladder: none given: use grow for a single network")
    listener = listener or Silent()
    setting = Setting(list(config.rungs().values())[-1], listener)
    config = config.model_copy(update={"train": setting.train_config})
    ladder = LadderGrowth(settle(config, setting), setting)
    ladder.check_possible()
    folder = _new_run(ladder.config, setting, ladder.targets, out)
    with folder.kept():
        return ladder.complete(folder)


def _new_run(config: RunConfig, setting: Setting, targets: Sequence[Target], out: Path | None) -> RunFolder:
    for target in targets:
        prepare_target(target, setting.listener)
    config = config.model_copy(update={"train": setting.train_config})
    out = out or new_folder(config)
    folder = RunFolder.create(out, config, versions())
    setting.listener.say(f"run folder: {out}")
    folder.record("start", {"data": setting.data.origin, "fingerprint": setting.data.fingerprint})
    return folder


def _complete(setting: Setting, folder: RunFolder) -> Run:
    return setting.complete(folder) if setting.config.goal is None else GoalSearch(setting).complete(folder)


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
        If the folder is no run, another process goes on with it, its newest checkpoint is damaged, or its
        data has changed.
    """
    folder = RunFolder.open(path)
    if any(folder.history("done")):
        return open_run(path)
    config = _single(folder)
    for start in folder.history("start"):
        whole = path / start.get("trunk", ".")
        if whole != path and (whole / "config.toml").exists():
            raise InputError(f"{path}: it is part of a larger run: go on with --resume {whole.resolve()}")
    with folder.kept():
        setting = Setting(config, listener or Silent())
        setting.check_data(folder)
        prepare_target(setting.target, setting.listener)
        return _complete(setting, folder)


def resume_ladder(path: Path, listener: Listener | None = None) -> Family:
    """Continue an interrupted ladder; it ends as if it had never stopped.

    A ladder that has finished is read back.

    Raises
    ------
    InputError
        If the folder is no ladder's, another process goes on with it, a newest checkpoint is damaged, or the
        data has changed.
    """
    folder = RunFolder.open(path)
    if any(folder.history("done")):
        return open_ladder(path)
    config = _laddered(folder)
    with folder.kept():
        setting = Setting(list(config.rungs().values())[-1], listener or Silent())
        setting.check_data(folder)
        ladder = LadderGrowth(config, setting)
        for target in ladder.targets:
            prepare_target(target, setting.listener)
        return ladder.complete(folder)


def open_ladder(path: Path) -> Family:
    """Read a finished ladder back.

    Raises
    ------
    InputError
        If the folder is no ladder's, or it has not finished.
    """
    folder = RunFolder.open(path)
    config = _laddered(folder)
    if not any(folder.history("done")):
        raise InputError(f"{path}: the ladder has not finished: continue it with --resume {path}")
    return Family(folder, config, {name: open_run(path / RUNGS / name) for name in config.rungs()})


def is_ladder(path: Path) -> bool:
    """Tell whether a run folder is a ladder's.

    Raises
    ------
    InputError
        If it is no run folder.
    """
    return RunFolder.open(path).config().ladder is not None


def _single(folder: RunFolder) -> RunConfig:
    config = folder.config()
    if config.ladder is not None:
        rung = folder.path / RUNGS / next(iter(config.rungs()))
        raise InputError(f"{folder.path}: it is a ladder, of several runs: name one of them, e.g. {rung}")
    return config


def _laddered(folder: RunFolder) -> RunConfig:
    config = folder.config()
    if config.ladder is None:
        raise InputError(f"{folder.path}: it is a single run, no ladder")
    return config


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
    config = _single(folder)
    listener = listener or Silent()
    setting = Setting(config, listener)
    chosen = formats or formats_of(setting.target)
    if library is not None and "c" not in chosen:
        raise InputError(f"--kernels {kernels}: only C packages have them: add --format c")
    setting.check_data(folder)
    checkpoint, done = folder.load_checkpoint(), any(folder.history("done"))
    if checkpoint is None:
        todo = "its checkpoints are gone: grow anew" if done else f"continue it with --resume {path}"
        raise InputError(f"{path}: it has no checkpoint: {todo}")
    if not done:
        listener.warn(f"{path} has not finished: this is the network of its newest checkpoint")
    trace = checkpoint.build(setting.fresh())
    destination = out or path
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{destination}: cannot make the folder: {error.strerror}") from error
    return setting.deliver(setting.finisher(trace, checkpoint), destination, chosen, library)
