"""Flash: the bytes that a network's ``.tflite`` file will take, before there is one."""

from __future__ import annotations

from collections.abc import Sequence

from edgegrow.cost.layers import LayerShape

_VECTOR = 4  # a flatbuffer vector's length field
_SHAPE_4D = _VECTOR + 4 * 4

SLACK_BYTES = 64
"""What files of one structure were seen to differ by beside `sized_bytes`: scales and zero points that happen
to be equal are written once, and alignment pads."""


def sized_bytes(layers: Sequence[LayerShape]) -> int:
    """Bytes of a ``.tflite`` file that depend on its layers' sizes, as `edgegrow.deploy.tflite` writes it.

    Weights and biases lie in buffers of 16-byte alignment behind a 12-byte header; a convolution has a scale
    for each channel of both, a linear layer one. Zero points and tensor shapes are written once where equal.
    """
    weights = biases = scales = 0
    zero_points, shapes = set[int](), set[tuple[object, ...]]()
    for layer in {layer.name: layer for layer in layers}.values():  # what runs twice is stored once
        scaled = 1 if layer.linear else layer.cout
        weights += _buffer(layer.weights)
        biases += _buffer(4 * layer.cout)
        scales += 2 * (_VECTOR + 4 * scaled)
        zero_points.add(scaled)
        shapes |= {
            ("weight", layer.cout, layer.taps, 1 if layer.depthwise else layer.cin),
            ("activation", layer.positions, layer.cout),
        }
    bias_shapes = len({layer.cout for layer in layers}) * (_VECTOR + 4)
    zeros = sum(2 * _VECTOR + 8 * count for count in zero_points)
    return weights + biases + scales + zeros + bias_shapes + len(shapes) * _SHAPE_4D


def _buffer(size: int) -> int:
    return -(-(size + 12) // 16) * 16


class FlashModel:
    """Bytes of the ``.tflite`` file of a network that is grown: an upper estimate, close above the file.

    Operators, options and tables stay the same however wide a network is; one file of any widths tells what
    they take, and `sized_bytes` tells the rest.

    Parameters
    ----------
    layers : sequence of LayerShape
        Of the network at some widths.
    file_bytes : int
        Of its file, no two buffers of which are equal.
    others : int
        Operators without weights. Their outputs' shapes may equal a layer's in this file and not in another.
    """

    def __init__(self, layers: Sequence[LayerShape], file_bytes: int, others: int) -> None:
        self.structure_bytes = file_bytes - sized_bytes(layers)
        self.slack_bytes = SLACK_BYTES + others * _SHAPE_4D

    def __call__(self, layers: Sequence[LayerShape]) -> int:
        """Predict the file's bytes at other widths."""
        return self.structure_bytes + sized_bytes(layers) + self.slack_bytes
