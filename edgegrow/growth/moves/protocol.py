r"""What every kind of move has in common: a predicted gain, on one scale, and a step along which it is made.

At a growth step a *kind of move* looks at the network once and offers candidates. A choice of them is applied
at step zero, which leaves the function as it is (but for what ``trim`` cuts off), and the network is then
moved along one direction by a relative step ``eps`` that a line search finds.

*One scale for all kinds.* A step ``eps`` moves the parameters of each move by ``eps`` in relative
coordinates, in which every parameter tensor concerned is measured in units of its natural norm: a filter in
units of its own norm, the outgoing weights of a new channel in units of the mean norm of those that the
consumer's present channels have, the scales of a batch norm in units of all ones. The loss then changes by

.. math:: \Delta L = \epsilon \cdot slope + \tfrac{\epsilon^2}{2} \cdot curvature,

where a split has a curvature alone (its parametric terms cancel) and what starts from nothing has a slope.
The changes of moves applied together add up, at first order for slopes and at second for curvatures of
splits; that of a slope's own curvature is not predicted, which is why a line search follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch

from edgegrow.cost.layers import count_macs
from edgegrow.growth.channels import Layer, NetworkTrace
from edgegrow.growth.eigenpairs import SplittingIndex, lanczos
from edgegrow.growth.splitting import SplittingOperator, cross_entropy_sum

REFERENCE_STEP = 0.1
"""Relative step at which gains are compared: amid those that the line search tries."""

Batch = tuple[Any, torch.Tensor]
"""Samples ``(n, *input_shape)``, or a tuple of them for a network of several inputs, and labels ``(n,)``."""


class Move(Protocol):
    """One proposed change of the network."""

    @property
    def kind(self) -> str:
        """Name of the kind, as in `edgegrow.growth.moves.KINDS`."""
        ...

    @property
    def group(self) -> str:
        """Name of the group that gains channels; of a block, the node of its `Insertion`."""
        ...

    @property
    def channels(self) -> Mapping[str, int]:
        """Channels added, ``{group name: n}``."""
        ...

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers added, at the group's present width."""
        ...

    @property
    def gain(self) -> float:
        """Predicted decrease of the loss at `REFERENCE_STEP`; zero or less where it promises none."""
        ...

    def predicted(self, step: float) -> float:
        """Predicted change of the loss at a relative step."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Proposal:
    """A move with its Taylor coefficients.

    Attributes
    ----------
    kind, group : str
        See `Move`.
    slope, curvature : float
        First and second derivative of the loss with respect to the relative step, at zero.
    """

    kind: str
    group: str
    slope: float = 0.0
    curvature: float = 0.0

    @property
    def channels(self) -> Mapping[str, int]:
        """See `Move`; none here."""
        return {}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """See `Move`; none here."""
        return ()

    @property
    def gain(self) -> float:
        """See `Move`."""
        return 0.0 - self.predicted(REFERENCE_STEP)

    def predicted(self, step: float) -> float:
        """See `Move`."""
        return step * self.slope + 0.5 * step**2 * self.curvature


@dataclass
class Context:
    """What kinds of moves look at; they share what is dear.

    Attributes
    ----------
    trace : NetworkTrace
        The network; looking leaves it as it is.
    batches : sequence of Batch
        Samples and labels that expectations are taken over.
    generator : torch.Generator
        For everything random, in the order in which kinds are asked.
    products : int
        Lanczos products for the eigenpairs.
    loss_sum : callable
        From the network's output and labels to the loss, summed over samples.
    macs : float
        Multiply-accumulates that looking has taken so far.
    """

    trace: NetworkTrace
    batches: Sequence[Batch]
    generator: torch.Generator
    products: int
    loss_sum: Callable[[Any, torch.Tensor], torch.Tensor] = cross_entropy_sum
    macs: float = field(default=0.0, init=False)

    @cached_property
    def indices(self) -> dict[str, SplittingIndex]:
        """Extreme eigenpairs of every channel, ``{group name: index}``; found when first asked for."""
        operator = SplittingOperator(self.trace, self.batches, self.loss_sum)
        found = lanczos(operator, self.products, self.generator)
        self.macs += operator.passes * count_macs(self.trace.shapes(self.trace.widths()))
        return {index.block.group.name: index for index in found}

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(len(y) for _, y in self.batches)

    def mean_loss(self, output: Any, y: torch.Tensor) -> torch.Tensor:
        """Return what a batch's outputs add to the mean loss over all samples."""
        return self.loss_sum(output, y) / self.samples


def outputs(graph: Callable[..., Any], x: Any) -> Any:
    """Run a network on a batch's samples, of one input or of several."""
    return graph(*x) if isinstance(x, tuple) else graph(x)
