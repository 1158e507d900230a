"""Working memory of a deployed network: where its tensors lie in one arena.

The planner is greedy by size, as that of TensorFlow Lite for Microcontrollers (TFLM): the largest tensor
first, each at the lowest offset that is free while it lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgegrow.deploy.graph import Graph

ALIGNMENT = 16
"""Bytes; every tensor starts at a multiple of it."""


@dataclass(frozen=True)
class ArenaPlan:
    """Offsets of the activations in the arena.

    Attributes
    ----------
    offsets : dict
        Tensor name to bytes from the arena's start.
    peak_bytes : int
        Size of the arena: TFLM's "head". What else TFLM keeps (structures, kernels' scratch) is not in it.
    """

    offsets: dict[str, int]
    peak_bytes: int


@dataclass(frozen=True)
class _Life:
    """A tensor's size and the steps, both inclusive, at which it must keep its place."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: _Life) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan_arena(graph: Graph) -> ArenaPlan:
    """Place every activation, input and output too.

    Parameters
    ----------
    graph : Graph
        Its operators run in order; operator ``i`` reads and writes at step ``i``.

    Returns
    -------
    ArenaPlan
    """
    placed: list[tuple[int, _Life]] = []
    for life in sorted(_lives(graph), key=lambda life: -life.size):
        offset = 0
        for start, other in sorted((p for p in placed if p[1].meets(life)), key=lambda p: p[0]):
            if offset + life.size <= start:
                break
            offset = max(offset, start + other.size)
        placed.append((offset, life))
    return ArenaPlan(
        {life.name: offset for offset, life in placed}, max(offset + life.size for offset, life in placed)
    )


def _lives(graph: Graph) -> list[_Life]:
    """List the last tensor first: so TFLM takes those of equal size, which stable sorting keeps."""
    first = {graph.input.name: 0} | {op.output.name: step for step, op in enumerate(graph.operators)}
    last = dict(first)
    for step, op in enumerate(graph.operators):
        last.update((tensor.name, step) for tensor in op.inputs)
    last[graph.output.name] = len(graph.operators)  # read after the last operator
    sizes = {tensor.name: -(-prod(tensor.shape) // ALIGNMENT) * ALIGNMENT for tensor in graph.tensors}
    return [_Life(name, sizes[name], first[name], last[name]) for name in reversed(first)]
