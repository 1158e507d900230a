"""Flash: the bytes that a network's ``.tflite`` file will take, before there is one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgegrow.deploy.calibrate import shared_quantization
from edgegrow.deploy.graph import FloatGraph, Graph, Reshape, Weighted
from edgegrow.deploy.tflite import tflite_bytes

_VECTOR = 4  # a flatbuffer vector's length field
_BUFFER_TABLE = 4  # its place among the buffers
_ZERO_POINT = 16  # a vector of one, aligned
_RESHAPE_OPTIONS = 20  # the table, beside its vector

SLACK_BYTES = 96
"""What files of one structure were seen to differ by beside `sized_bytes`: scales that happen to be equal are
written once, as are sizes and places that happen to be, and alignment pads."""


def sized_bytes(graph: FloatGraph | Graph) -> int:
    """Bytes of a ``.tflite`` file that depend on its sizes, as `edgegrow.deploy.tflite` writes it.

    Weights and biases lie in buffers of 16-byte alignment behind a 12-byte header; a convolution has a scale
    for each channel of both, a linear layer one. What is equal is written once: zero points, tensor shapes,
    scales, and buffers. Of a float graph it is only known which operators have the same weights, and so their
    scales (`edgegrow.deploy.operators.Weighted.stored_as`).
    """
    weighted = [op for op in graph.operators if isinstance(op, Weighted)]
    shapes = {tensor.shape for tensor in graph.tensors}
    shapes |= {op.weight.shape for op in weighted} | {op.bias.shape for op in weighted}
    reshaped = {op.output.shape for op in graph.operators if isinstance(op, Reshape)}
    return (
        sum(_buffer(size) for size in dict(_buffers(graph)).values())
        + sum(_VECTOR + 4 * count for count in dict(_scales(graph)).values())
        + sum(2 * _VECTOR + 8 * count for count in {_scale_count(op) for op in weighted})
        + sum(_VECTOR + 4 * len(shape) for shape in shapes)
        + sum(_buffer(4 * len(shape)) + _VECTOR + 4 * len(shape) + _RESHAPE_OPTIONS for shape in reshaped)
        + _ZERO_POINT * _zero_points(graph)
    )


def _scale_count(op: Weighted) -> int:
    return op.bias.size if len(op.weight.shape) == 4 else 1


def _scales(graph: FloatGraph | Graph) -> Iterator[tuple[object, int]]:
    """Count of the scales of every weight and bias, by what makes them equal to another's."""
    known = isinstance(graph, Graph)
    for place, op in enumerate(graph.operators):
        if isinstance(op, Weighted):
            bias_scales = np.float32(op.inputs[0].scale) * op.weight_scales
            yield op.weight_scales.tobytes() if known else op.stored_as, _scale_count(op)
            yield bias_scales.tobytes() if known else place, _scale_count(op)


def _buffers(graph: FloatGraph | Graph) -> Iterator[tuple[object, int]]:
    """Bytes of every buffer, by what makes it equal to another."""
    known = isinstance(graph, Graph)
    for place, op in enumerate(graph.operators):
        if isinstance(op, Weighted):
            yield op.weight.tobytes() if known else op.stored_as, op.weight.size
            yield op.bias.tobytes() if known else place, 4 * op.bias.size


def _buffer(size: int) -> int:
    return -(-(size + 12) // 16) * 16 + _BUFFER_TABLE


def _zero_points(graph: FloatGraph | Graph) -> int:
    """How many zero points of activations there are; of a float graph, at most."""
    if isinstance(graph, Graph):
        return len({tensor.zero_point for tensor in graph.tensors})
    free = {graph.input.name} | {
        op.output.name
        for op in graph.operators
        if op.fixed_quantization is None and getattr(op, "activation", "none") == "none"
    }
    firsts = set(shared_quantization(graph).values())
    return len(firsts & free) + 1


class FlashModel:
    """Bytes of the ``.tflite`` file of a network that is grown: an upper estimate, close above the file.

    Operators, options and tables stay the same however wide a network is; one file of any widths tells what
    they take, and `sized_bytes` tells the rest.

    Parameters
    ----------
    example : Graph
        The network at some widths.
    """

    def __init__(self, example: Graph) -> None:
        self.structure_bytes = len(tflite_bytes(example)) - sized_bytes(example)

    def __call__(self, graph: FloatGraph) -> int:
        """Predict the file's bytes at a graph's widths, those of the same network."""
        return self.structure_bytes + sized_bytes(graph) + SLACK_BYTES
