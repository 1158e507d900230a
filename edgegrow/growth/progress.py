"""How far a growth has come, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn

from edgegrow.growth.groups import NetworkTrace

Others = Mapping[str, tuple[nn.Module, torch.optim.Optimizer]]
"""Networks beside the grown one, and their optimisers, by a prefix of their own."""


@dataclass
class Progress:
    """How far a growth has come: with the weights and the optimiser's state, all that resuming needs.

    Attributes
    ----------
    growth_steps : int
        Growth steps taken.
    waited : int
        Optimiser steps that the seed network has been trained for.
    grown : bool
        Whether growth has ended.
    fresh : bool
        Whether the network's weights are fresh ones, trained at its present size alone.
    insertions : list of dict
        Blocks that the network has beside the seed's own, and that its kernels were narrowed; see
        `edgegrow.growth.architecture`.
    proportions : dict
        ``{group name: channels}``, what growing in proportion keeps to.
    probes : dict
        Options of the present growth step that have been tried: their ``network``, and as ``figures``
        `edgegrow.growth.probe.Figures` as JSON, or None of a try that diverged.
    vetted : dict
        Blocks that were ahead and had a hard look taken at them, by place and form: the growth ``step``,
        whether the block ``holds``, and `edgegrow.growth.vetting.Look` as JSON ``without`` and ``with`` it,
        or None of a look that diverged.
    anneal_steps, anneal_total : int
        Optimiser steps taken at the final size, and how many there will be (0: not yet decided).
    macs_trained : float
        Multiply-accumulates spent on training, scoring and line searches so far.
    qat_epochs : int
        Epochs of quantization-aware training taken, after the growth.
    filter_norms : dict
        Norm of fresh filters of each layer, which grown ones are rescaled to.
    learnt : dict
        What checks on the target have taught the cost model.
    """

    growth_steps: int = 0
    waited: int = 0
    grown: bool = False
    fresh: bool = False
    insertions: list[dict[str, str]] = field(default_factory=list)
    proportions: dict[str, int] = field(default_factory=dict)
    probes: dict[str, dict[str, Any]] = field(default_factory=dict)
    vetted: dict[str, dict[str, Any]] = field(default_factory=dict)
    anneal_steps: int = 0
    anneal_total: int = 0
    macs_trained: float = 0.0
    qat_epochs: int = 0
    filter_norms: dict[str, float] = field(default_factory=dict)
    learnt: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, which ``Progress(**values)`` reads back."""
        return asdict(self)


class Journal(Protocol):
    """Who is told of a growth's progress, and keeps it."""

    def record(self, event: str, values: Mapping[str, Any]) -> None:
        """Keep an event: an epoch, a growth step."""
        ...

    def checkpoint(
        self,
        progress: Progress,
        trace: NetworkTrace,
        optimizer: torch.optim.Optimizer,
        others: Others = MappingProxyType({}),
    ) -> None:
        """Keep everything that `Grower.run` needs to go on from here."""
        ...

    def step(self, stage: str, step: int, steps: int, loss: float) -> None:
        """Show that an optimiser step of a stage is done."""
        ...

    def warn(self, line: str) -> None:
        """Show what makes the result doubtful."""
        ...


class Unheard:
    """A journal that keeps nothing: of what it has been told before, or of what nobody asks for."""

    def record(self, event: str, values: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def checkpoint(self, *state: object) -> None:
        """Keep nothing."""

    def step(self, stage: str, step: int, steps: int, loss: float) -> None:
        """Show nothing."""

    def warn(self, line: str) -> None:
        """Show nothing."""
