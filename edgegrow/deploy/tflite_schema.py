"""What edgegrow reads of a TensorFlow Lite file: the tables and fields of its schema, by their numbers.

Names and notes are read so that damage in them is found too, which other programs would stumble over.
"""
# ruff: noqa: RUF009 - the calls in the dataclasses only describe fields

from __future__ import annotations

from dataclasses import dataclass

from edgegrow.deploy.flatbuffer import TableAt, scalar, table, tables, text, vector
from edgegrow.deploy.operators import Array

IDENTIFIER = b"TFL3"


@dataclass(frozen=True, eq=False)
class OperatorCode:
    """A kind of operator that the file uses."""

    deprecated_code: int = scalar(0, "i1")
    custom: bytes = text(1)
    version: int = scalar(2, "<i4", 1)
    code: int = scalar(3, "<i4")


@dataclass(frozen=True, eq=False)
class Quantization:
    """Scales and zero points of a tensor: one, or one a channel along `axis`."""

    minimum: Array = vector(0, "<f4")
    maximum: Array = vector(1, "<f4")
    scale: Array = vector(2, "<f4")
    zero_point: Array = vector(3, "<i8")
    details_type: int = scalar(4, "u1")
    axis: int = scalar(6, "<i4")


@dataclass(frozen=True, eq=False)
class TensorTable:
    """A tensor: an activation, or a constant where its buffer has data."""

    shape: Array = vector(0, "<i4")
    type: int = scalar(1, "i1")
    buffer: int = scalar(2, "<u4")
    name: bytes = text(3)
    quantization: Quantization | None = table(4, Quantization)
    is_variable: bool = scalar(5, "?", False)
    sparsity: TableAt | None = table(6, TableAt)
    shape_signature: Array = vector(7, "<i4")


@dataclass(frozen=True, eq=False)
class OperatorTable:
    """An operator; its inputs may be -1 where they are left out."""

    code: int = scalar(0, "<u4")
    inputs: Array = vector(1, "<i4")
    outputs: Array = vector(2, "<i4")
    options_type: int = scalar(3, "u1")
    options: TableAt | None = table(4, TableAt)
    custom_options: Array = vector(5, "u1")
    mutated_inputs: Array = vector(7, "?")
    intermediates: Array = vector(8, "<i4")


@dataclass(frozen=True, eq=False)
class SubGraph:
    """A graph: the operators in the order they run, and tensors by their index."""

    tensors: tuple[TensorTable, ...] = tables(0, TensorTable)
    inputs: Array = vector(1, "<i4")
    outputs: Array = vector(2, "<i4")
    operators: tuple[OperatorTable, ...] = tables(3, OperatorTable)
    name: bytes = text(4)


@dataclass(frozen=True, eq=False)
class BufferTable:
    """Bytes of a constant; `offset` and `size` where they lie behind the flatbuffer."""

    data: Array = vector(0, "u1")
    offset: int = scalar(1, "<u8")
    size: int = scalar(2, "<u8")


@dataclass(frozen=True, eq=False)
class Note:
    """A name for a buffer of anything."""

    name: bytes = text(0)
    buffer: int = scalar(1, "<u4")


@dataclass(frozen=True, eq=False)
class NamedTensor:
    """A name for an input or an output."""

    name: bytes = text(0)
    tensor: int = scalar(1, "<u4")


@dataclass(frozen=True, eq=False)
class Signature:
    """Names for the ends of a graph."""

    inputs: tuple[NamedTensor, ...] = tables(0, NamedTensor)
    outputs: tuple[NamedTensor, ...] = tables(1, NamedTensor)
    key: bytes = text(2)


@dataclass(frozen=True, eq=False)
class Model:
    """The root of a file."""

    version: int = scalar(0, "<u4")
    operator_codes: tuple[OperatorCode, ...] = tables(1, OperatorCode)
    subgraphs: tuple[SubGraph, ...] = tables(2, SubGraph)
    description: bytes = text(3)
    buffers: tuple[BufferTable, ...] = tables(4, BufferTable)
    note_buffers: Array = vector(5, "<i4")
    notes: tuple[Note, ...] = tables(6, Note)
    signatures: tuple[Signature, ...] = tables(7, Signature)


@dataclass(frozen=True, eq=False)
class Conv2DOptions:
    """Of CONV_2D; activations and paddings are numbers of the schema's enumerations."""

    padding: int = scalar(0, "i1")
    stride_w: int = scalar(1, "<i4")
    stride_h: int = scalar(2, "<i4")
    activation: int = scalar(3, "i1")
    dilation_w: int = scalar(4, "<i4", 1)
    dilation_h: int = scalar(5, "<i4", 1)


@dataclass(frozen=True, eq=False)
class DepthwiseConv2DOptions:
    """Of DEPTHWISE_CONV_2D."""

    padding: int = scalar(0, "i1")
    stride_w: int = scalar(1, "<i4")
    stride_h: int = scalar(2, "<i4")
    multiplier: int = scalar(3, "<i4")
    activation: int = scalar(4, "i1")
    dilation_w: int = scalar(5, "<i4", 1)
    dilation_h: int = scalar(6, "<i4", 1)


@dataclass(frozen=True, eq=False)
class Pool2DOptions:
    """Of AVERAGE_POOL_2D and MAX_POOL_2D."""

    padding: int = scalar(0, "i1")
    stride_w: int = scalar(1, "<i4")
    stride_h: int = scalar(2, "<i4")
    width: int = scalar(3, "<i4")
    height: int = scalar(4, "<i4")
    activation: int = scalar(5, "i1")


@dataclass(frozen=True, eq=False)
class FullyConnectedOptions:
    """Of FULLY_CONNECTED."""

    activation: int = scalar(0, "i1")
    weights_format: int = scalar(1, "i1")
    keep_num_dims: bool = scalar(2, "?", False)


@dataclass(frozen=True, eq=False)
class ActivationOptions:
    """Of ADD and MUL."""

    activation: int = scalar(0, "i1")


@dataclass(frozen=True, eq=False)
class SoftmaxOptions:
    """Of SOFTMAX."""

    beta: float = scalar(0, "<f4")


@dataclass(frozen=True, eq=False)
class ReshapeOptions:
    """Of RESHAPE, where it has no second input."""

    shape: Array = vector(0, "<i4")


@dataclass(frozen=True, eq=False)
class ConcatenationOptions:
    """Of CONCATENATION."""

    axis: int = scalar(0, "<i4")
    activation: int = scalar(1, "i1")


@dataclass(frozen=True, eq=False)
class ResizeNearestNeighborOptions:
    """Of RESIZE_NEAREST_NEIGHBOR."""

    align_corners: bool = scalar(0, "?", False)
    half_pixel_centers: bool = scalar(1, "?", False)


@dataclass(frozen=True, eq=False)
class ReducerOptions:
    """Of MEAN."""

    keep_dims: bool = scalar(0, "?", False)
