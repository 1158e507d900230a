"""A network's deployed graph at other widths, before it has been grown to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from edgegrow.cost.layers import LayerShape
from edgegrow.deploy.graph import (
    Array,
    DepthwiseConv2D,
    FloatGraph,
    FullyConnected,
    Graph,
    Operator,
    Reshape,
    Weighted,
)
from edgegrow.deploy.quantize import quantize


def resize_graph(graph: FloatGraph | Graph, layers: Sequence[LayerShape]) -> FloatGraph:
    """Give a graph the widths of some layers; its weights are all 0, and take no memory.

    Parameters
    ----------
    graph : FloatGraph or Graph
        Of the same network at any widths.
    layers : sequence of LayerShape
        Its layers at the widths wanted, named as its operators with weights are. What has weights and is no
        layer, a batch norm of its own, is as wide as its input.
    """
    shapes = {layer.name: layer for layer in layers}
    tensors = {graph.input.name: graph.input}
    operators: list[Operator] = []
    for op in graph.operators:
        resized: dict[str, Any] = {"inputs": tuple(tensors[tensor.name] for tensor in op.inputs)}
        if isinstance(op, Weighted):
            shape = _weight_shape(op, resized["inputs"][0].shape[-1], shapes.get(op.name))
            resized |= {"weight": _zeros(shape), "bias": _zeros((shape[op.channel_axis],))}
        op = replace(op, **resized)
        op = replace(op, output=replace(op.output, shape=_output_shape(op)))
        tensors[op.output.name] = op.output
        operators.append(op)
    return FloatGraph(graph.input, tensors[graph.output.name], tuple(operators))


def _output_shape(op: Operator) -> tuple[int, ...]:
    if isinstance(op, Reshape):  # of one position or to features: the last axis is as wide as the input
        rest = op.output.shape[:-1]
        return (*rest, prod(op.inputs[0].shape) // prod(rest))
    return op.output_shape()


def _weight_shape(op: Weighted, read: int, layer: LayerShape | None) -> tuple[int, ...]:
    if layer is None:
        return (*op.weight.shape[:3], read)
    match op:
        case FullyConnected():
            return (layer.cout, layer.cin)
        case DepthwiseConv2D():
            return (*op.weight.shape[:3], layer.cout)
    return (layer.cout, *op.weight.shape[1:3], layer.cin)


@lru_cache(4096)  # growth asks for the same shapes again and again
def _zeros(shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.float32(0), shape)


def random_graph(graph: FloatGraph, samples: Array, seed: int) -> Graph:
    """Fill a graph with random weights, and quantize it: what a network of these widths takes on a device.

    Kernels take the same time whatever the weights are, but for choices made when the package is written.
    Calls of a layer that share its weights share them here too.

    Parameters
    ----------
    graph : FloatGraph
        Weights of any values.
    samples : ndarray
        To calibrate on, as `edgegrow.deploy.quantize.quantize` takes them.
    seed : int
        Of the weights.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[tuple[object, ...], tuple[Array, Array]] = {}
    operators: list[Operator] = []
    for op in graph.operators:
        if isinstance(op, Weighted):
            if op.stored_as not in drawn:
                drawn[op.stored_as] = _draw(op, rng)
            weight, bias = drawn[op.stored_as]
            op = replace(op, weight=weight, bias=bias)
        operators.append(op)
    return quantize(replace(graph, operators=tuple(operators)), samples)


def _draw(op: Weighted, rng: np.random.Generator) -> tuple[Array, Array]:
    fan_in = prod(op.weight.shape) // op.bias.size  # the inputs that each output sums
    weight = rng.normal(size=op.weight.shape) * fan_in**-0.5
    return weight.astype(np.float32), rng.normal(scale=0.1, size=op.bias.shape).astype(np.float32)
