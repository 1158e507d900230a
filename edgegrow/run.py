"""The run folder: configuration, history, checkpoints; all that resuming and trusting a growth needs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from edgegrow.config import RunConfig, dump_config, resolve_config
from edgegrow.errors import InputError
from edgegrow.files import locked, read_regular, write_atomic
from edgegrow.growth.architecture import Architecture
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.progress import Others, Progress

_SCHEMA = 2
"""Of checkpoints."""

_KEPT = 2
"""Checkpoints kept: the newest, and the one before in case the newest is damaged."""


_NUMBER = (int, float)
_EVENTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "start": {"fingerprint": str},
    "epoch": {
        "stage": str, "steps": int, "lr": _NUMBER,
        "train_loss": _NUMBER, "validation_loss": _NUMBER, "validation_accuracy": _NUMBER,
    },
    "growth": {
        "step": int, "allocation": str, "channels": dict, "blocks": list, "widths": dict, "options": list,
        "step_size": _NUMBER, "predicted_loss_change": _NUMBER, "realised_loss_change": _NUMBER,
        "won_back": _NUMBER, "fresh": bool,
    },
    "lost": {"step": int, "allocation": str},
    "rung": {"name": str, "widths": dict, "macs": int, "epoch_macs": _NUMBER, "macs_trained": _NUMBER},
    "snapshot": {
        "step": int, "widths": dict, "insertions": list, "macs": int, "validation_loss": _NUMBER,
        "validation_accuracy": _NUMBER,
    },
    "try": {
        "name": str, "snapshot": int, "macs": int, "validation_accuracy": _NUMBER, "reached": bool,
        "macs_trained": _NUMBER, "collapsed": bool,
    },
    "goal": {"accuracy": _NUMBER, "reached": bool, "try": str},
    "qat": {"epochs": int, "validation_loss": _NUMBER, "validation_accuracy": _NUMBER},
    "budget": {"used": _NUMBER},
    "done": {"macs_trained": _NUMBER, "epochs_of_final_network": _NUMBER},
}  # fmt: skip
"""Kinds of events -> what those who read the history rely on."""

_OPTION: dict[str, type | tuple[type, ...]] = {
    "allocation": str, "validation_loss": _NUMBER, "gain": _NUMBER, "won_back": _NUMBER,
    "predicted_loss_change": _NUMBER, "realised_loss_change": _NUMBER,
}  # fmt: skip
"""The same of an option of a growth step."""


def _check(values: Mapping[str, Any], forms: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raise a KeyError or a TypeError where a value is missing or of another form."""
    for key, form in forms.items():
        if not isinstance(values[key], form):
            raise TypeError(key)


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a growth, read back.

    Attributes
    ----------
    progress : Progress
        How far it had come.
    widths : dict
        ``{group name: channels}``.
    tensors : dict
        ``model.NAME``: the network's state; ``momentum.NAME``: the optimiser's; the same behind ``qat_`` of
        quantization-aware training, once it has begun.
    history_bytes : int
        Length of the history at that moment.
    """

    progress: Progress
    widths: dict[str, int]
    tensors: dict[str, torch.Tensor]
    history_bytes: int

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return Architecture(self.widths, self.progress.insertions)

    def build(self, seed: NetworkTrace) -> NetworkTrace:
        """Give a freshly built seed network the checkpoint's architecture and weights, in place.

        Raises
        ------
        InputError
            If the network is not the one that the checkpoint was taken of.
        """
        trace = self.architecture.build(seed)
        self._restore("", trace.graph, None)
        return trace

    def restore_optimizer(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give the optimiser of a network that `build` has made the checkpoint's state."""
        self._restore("", network, optimizer)

    def restore_other(
        self, prefix: str, module: nn.Module, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Give a network beside the grown one, and its optimiser, the state of its prefix.

        Raises
        ------
        InputError
            If the network is not the one that the checkpoint was taken of.
        """
        self._restore(prefix, module, optimizer)

    def _restore(self, of: str, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        prefix = f"{of}model."
        state = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise InputError(f"checkpoint: it does not fit the network: {first}") from error
        if optimizer is not None:
            for name, parameter in module.named_parameters():
                if (momentum := self.tensors.get(f"{of}momentum.{name}")) is not None:
                    optimizer.state[parameter]["momentum_buffer"] = momentum.clone()


class RunFolder:
    """A folder with everything about one growth.

    Attributes
    ----------
    path : Path
        The folder; see the README for its files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: RunConfig, versions: Mapping[str, str]) -> RunFolder:
        """Make a new run folder and write its configuration.

        Raises
        ------
        InputError
            If the folder holds a run already, or cannot be written.
        """
        run = cls(path)
        try:
            if run.config_file.exists() and run.checkpoints.is_dir():
                raise InputError(f"{path}: it holds a run: go on with --resume {path}, or give another --out")
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise InputError(f"{path}: the folder is not empty: give a new --out")
        except OSError as error:
            raise InputError(
                f"{path}: cannot make the run folder: {error.strerror}: give another --out"
            ) from error
        write_atomic(run.config_file, dump_config(config, versions))
        run.checkpoints.mkdir()
        return run

    @contextmanager
    def inner(self, name: Path, config: RunConfig, versions: Mapping[str, str]) -> Iterator[RunFolder]:
        """Make a run folder inside this one, begun on the same data, all of which appears at once.

        It is filled under another name, and has its own after the block; what an interruption has left
        half-made is made anew.

        Parameters
        ----------
        name : Path
            Where in this folder.
        config, versions
            As of `create`.
        """
        place = self.path / name
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        run = RunFolder.create(partial, config, versions)
        trunk = Path(*[".."] * len(name.parts))
        run.record("start", {**next(self.history("start")), "trunk": str(trunk)})
        yield run
        partial.rename(place)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises
        ------
        InputError
            If it is none.
        """
        run = cls(path)
        try:
            found = run.config_file.is_file()
        except OSError:  # a name that no path can have
            found = False
        if not found:
            raise InputError(f"{path}: not a run folder (it has no config.toml): give the --out of a grow")
        return run

    def kept(self) -> AbstractContextManager[None]:
        """Keep the run to this process while it goes on: two would take each other's checkpoints.

        Raises
        ------
        InputError
            On entering, if another process has it.
        """
        message = f"{self.path}: another process goes on with this run: wait for its end, or stop it"
        return locked(self.history_file, message)

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def history_file(self) -> Path:
        """One JSON object an event, in order."""
        return self.path / "history.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def config(self) -> RunConfig:
        """Read the configuration back."""
        return resolve_config(self.config_file)

    def record(self, event: str, values: Mapping[str, Any]) -> None:
        """Append an event to the history, and make sure that it is on the disk."""
        line = json.dumps({"event": event, **values}, allow_nan=False) + "\n"
        try:
            with self.history_file.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"{self.history_file}: cannot write it: {error.strerror}") from error

    def history(self, event: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the events so far, or those of one kind; a last line cut by a crash is passed over.

        Raises
        ------
        InputError
            If any other line is not one of ours, or lacks what every event of its kind has.
        """
        if not self.history_file.exists():
            return
        lines = read_regular(self.history_file).splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                kind = entry["event"]
                _check(entry, _EVENTS[kind])
                for option in entry["options"] if kind == "growth" else ():
                    _check(option, _OPTION)
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines) and not line.endswith(b"\n"):
                    return
                raise InputError(
                    f"{self.history_file}: line {number} is damaged: put the file back, or grow anew"
                ) from error
            if event in (None, kind):
                yield entry

    def save_checkpoint(
        self,
        progress: Progress,
        trace: NetworkTrace,
        optimizer: torch.optim.Optimizer,
        others: Others = MappingProxyType({}),
    ) -> None:
        """Write a checkpoint: the weights first, then the JSON that vouches for them.

        Others are networks in training beside the grown one, with their optimisers.
        """
        tensors = _tensors("", trace.graph, optimizer)
        for prefix, (network, own) in others.items():
            tensors |= _tensors(prefix, network, own)
        self.checkpoints.mkdir(exist_ok=True)
        number = 1 + max((int(file.stem) for file in self._checkpoint_files()), default=0)
        content = save(_unshared(tensors))
        write_atomic(self.checkpoints / f"{number:04}.safetensors", content)
        description = {
            "schema": _SCHEMA,
            "sha256": hashlib.sha256(content).hexdigest(),
            "progress": progress.to_json(),
            "widths": trace.widths(),
            "history_bytes": self.history_file.stat().st_size if self.history_file.exists() else 0,
        }
        description["own_sha256"] = _digest(description)
        write_atomic(self.checkpoints / f"{number:04}.json", json.dumps(description, indent=1))
        for file in self._checkpoint_files()[:-_KEPT]:
            file.unlink()
            file.with_suffix(".safetensors").unlink(missing_ok=True)

    def load_checkpoint(self) -> Checkpoint | None:
        """Read the newest checkpoint; ``None`` where there is none yet.

        Raises
        ------
        InputError
            If it is damaged.
        """
        files = self._checkpoint_files()
        if not files:
            return None
        file = files[-1]
        remedy = f"delete {file.name} and {file.stem}.safetensors to go on from the one before"
        try:
            description = json.loads(read_regular(file))
            if description.pop("own_sha256") != _digest(description):
                raise ValueError("checksum")
            if description["schema"] != _SCHEMA:
                remedy = "another version of edgegrow made it: go on with that, or grow anew"
                raise ValueError("schema")
            content = read_regular(file.with_suffix(".safetensors"))
            if hashlib.sha256(content).hexdigest() != description["sha256"]:
                raise ValueError("checksum")
            return Checkpoint(
                Progress(**description["progress"]),
                {str(name): int(width) for name, width in description["widths"].items()},
                load(content),
                int(description["history_bytes"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            what = "not readable" if str(error) == "schema" else "damaged"
            raise InputError(f"checkpoint {file}: {what}: {remedy}") from error

    def rewind(self, checkpoint: Checkpoint) -> None:
        """Cut the history back to a checkpoint: what came after it will happen again."""
        if self.history_file.exists():
            os.truncate(self.history_file, min(checkpoint.history_bytes, self.history_file.stat().st_size))

    def _checkpoint_files(self) -> list[Path]:
        files = self.checkpoints.glob("[0-9][0-9][0-9][0-9]*.json")
        return sorted((file for file in files if file.stem.isdecimal()), key=lambda file: int(file.stem))


def _tensors(of: str, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State of a module, and of the optimiser where it is over the module's parameters."""
    tensors = {f"{of}model.{k}": v.contiguous() for k, v in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"{of}momentum.{name}"] = momentum.contiguous()
    return tensors


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy what has been there under another name: safetensors takes no two tensors of one memory."""
    kept: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        kept[name] = tensor.clone() if tensor.data_ptr() in places else tensor
        places.add(tensor.data_ptr())
    return kept


def _digest(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
