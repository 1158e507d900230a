"""Working memory of a deployed network: where its tensors lie in one arena.

The planner is greedy by size, as that of TensorFlow Lite for Microcontrollers (TFLM): the largest tensor
first, each at the lowest offset that is free while it lives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from edgegrow.deploy.graph import FloatGraph, Graph

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
    scratch : dict
        Name of an operator's output to the offset of its scratch memory, of those that asked for some.
    """

    offsets: dict[str, int]
    peak_bytes: int
    scratch: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Life:
    """A tensor's size and the steps, both inclusive, at which it must keep its place."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: _Life) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan_arena(
    graph: Graph | FloatGraph, scratch: Mapping[str, int] | None = None, in_place: Collection[str] = ()
) -> ArenaPlan:
    """Place every activation, input and output too, and then kernels' scratch into what is left free.

    Parameters
    ----------
    graph : Graph
        Its operators run in order; operator ``i`` reads and writes at step ``i``.
    scratch : mapping, optional
        Bytes of working memory that operators need while they run, by the names of their outputs.
    in_place : collection of str, optional
        Outputs, by name, that may take the place of an input that no one reads later, and is as large. The
        graph's own input and output keep their places.

    Returns
    -------
    ArenaPlan
    """
    placed: list[tuple[int, _Life]] = []
    lives = _lives(graph)
    hosts = _hosts(graph, {life.name: life for life in lives}, in_place)
    for life in sorted(_merged(lives, hosts), key=lambda life: -life.size):
        placed.append((_lowest_offset(life, placed), life))
    offsets = {life.name: offset for offset, life in placed}
    offsets |= {guest: offsets[host] for guest, host in hosts.items()}
    peak = max(offset + life.size for offset, life in placed)
    scratch_offsets = {}
    for step, op in enumerate(graph.operators):
        if size := (scratch or {}).get(op.output.name, 0):
            life = _Life(op.output.name, size, step, step)
            scratch_offsets[life.name] = _lowest_offset(life, placed)
            peak = max(peak, scratch_offsets[life.name] + _aligned(size))
    return ArenaPlan(offsets, peak, scratch_offsets)


def _hosts(
    graph: Graph | FloatGraph, lives: Mapping[str, _Life], in_place: Collection[str]
) -> dict[str, str]:
    """For each output that takes an input's place, the first tensor that had this place."""
    hosts: dict[str, str] = {}
    for step, op in enumerate(graph.operators):
        guest = lives[op.output.name]
        if guest.name not in in_place or guest.name == graph.output.name:
            continue
        for tensor in op.inputs:
            host = lives[tensor.name]
            if (
                host.last == step
                and host.size >= guest.size
                and graph.input.name != host.name != graph.output.name
            ):
                hosts[guest.name] = hosts.get(host.name, host.name)
                break
    return hosts


def _merged(lives: list[_Life], hosts: Mapping[str, str]) -> list[_Life]:
    """Lives of the places: that of a host lasts as long as its last guest."""
    last = {life.name: life.last for life in lives}
    for guest, host in hosts.items():
        last[host] = max(last[host], last[guest])
    return [replace(life, last=last[life.name]) for life in lives if life.name not in hosts]


def _lowest_offset(life: _Life, placed: list[tuple[int, _Life]]) -> int:
    """Find the first place that is free as long as something lives."""
    offset = 0
    for start, other in sorted((p for p in placed if p[1].meets(life)), key=lambda p: p[0]):
        if offset + life.size <= start:
            break
        offset = max(offset, start + other.size)
    return offset


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _lives(graph: Graph | FloatGraph) -> list[_Life]:
    """List the last tensor first: so TFLM takes those of equal size, which stable sorting keeps."""
    first = {graph.input.name: 0} | {op.output.name: step for step, op in enumerate(graph.operators)}
    last = dict(first)
    for step, op in enumerate(graph.operators):
        last.update((tensor.name, step) for tensor in op.inputs)
    last[graph.output.name] = len(graph.operators)  # read after the last operator
    sizes = {tensor.name: _aligned(prod(tensor.shape)) for tensor in graph.tensors}
    return [_Life(name, sizes[name], first[name], last[name]) for name in reversed(first)]
