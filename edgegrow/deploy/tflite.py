"""Write the quantized graph as a TensorFlow Lite file.

The file is small because nothing is written twice: equal vectors, quantization parameters, options and
buffers are shared. Biases keep their quantization parameters, without which XNNPACK refuses the graph. It
takes all operators but average pooling, which costs it less than a microsecond; MEAN, which it would take,
rounds otherwise than the pooling kernels of microcontrollers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import tflite

from edgegrow.deploy.graph import (
    Array,
    Graph,
    Mean,
    Operator,
    Pad,
    Reshape,
    Tensor,
    UpsampleNearest2D,
    Weighted,
)
from edgegrow.deploy.tflite_options import code_and_version, write_options
from edgegrow.files import write_atomic

_ALIGNMENT = 16  # of weights, which kernels read in vectors


def write_tflite(graph: Graph, path: Path | str) -> None:
    """Write the file as `tflite_bytes` gives it; a reader sees the old file or the whole new one."""
    write_atomic(Path(path), tflite_bytes(graph))


def tflite_bytes(graph: Graph, description: str = "edgegrow") -> bytes:
    """Serialize a graph, with int8 input and output; equal graphs give equal bytes.

    Parameters
    ----------
    graph : Graph
    description : str
        Text of the model's description.

    Returns
    -------
    bytes
    """
    return _Writer().model(graph, description)


class _Writer:
    """One flatbuffer. Flatbuffers grow from the end: what a table refers to is written before it."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)
        self.vectors: dict[tuple[str, bytes], int] = {}
        self.buffers: dict[bytes, int] = {b"": 0}  # buffer 0 is the empty one, by convention
        self.quantizations: dict[tuple[int, int, int], int] = {}
        self.option_tables: dict[tuple[object, ...], tuple[int, int]] = {}
        self.tensors: list[int] = []

    def model(self, graph: Graph, description: str) -> bytes:
        b = self.builder
        codes = list(dict.fromkeys(code_and_version(op) for op in graph.operators))
        indices: dict[str, int] = {graph.input.name: self.activation(graph.input, graph.input.name)}
        operators = []
        for op in graph.operators:
            inputs = [indices[tensor.name] for tensor in op.inputs]
            if isinstance(op, Weighted):
                inputs += self.parameters(op)
            inputs += self.settings(op)
            name = op.output.name if op.output == graph.output else None
            indices[op.output.name] = self.activation(op.output, name)
            code = codes.index(code_and_version(op))
            operators.append(self.operator(op, code, inputs, [indices[op.output.name]]))
        ends = self.integers([indices[graph.input.name]]), self.integers([indices[graph.output.name]])
        tensor_vector, operator_vector = self.offsets(self.tensors), self.offsets(operators)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensor_vector)
        tflite.SubGraphAddInputs(b, ends[0])
        tflite.SubGraphAddOutputs(b, ends[1])
        tflite.SubGraphAddOperators(b, operator_vector)
        subgraphs = self.offsets([tflite.SubGraphEnd(b)])
        code_vector = self.offsets([self.code(*code) for code in codes])
        text = b.CreateString(description)
        buffers = self.offsets([self.buffer(data) for data in self.buffers])
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, code_vector)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddDescription(b, text)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def code(self, code: int, version: int) -> int:
        tflite.OperatorCodeStart(self.builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self.builder, code)
        tflite.OperatorCodeAddBuiltinCode(self.builder, code)
        tflite.OperatorCodeAddVersion(self.builder, version)
        return tflite.OperatorCodeEnd(self.builder)

    def operator(self, op: Operator, code: int, inputs: list[int], outputs: list[int]) -> int:
        input_vector, output_vector = self.integers(inputs), self.integers(outputs)
        shape = op.output.shape if isinstance(op, Reshape) else None
        options = "window", "activation", "multiplier", "beta", "axis", "keep_dims"
        key = type(op), shape, *(getattr(op, name, None) for name in options)
        if key not in self.option_tables:
            self.option_tables[key] = write_options(self.builder, op)
        options_type, options_table = self.option_tables[key]
        tflite.OperatorStart(self.builder)
        tflite.OperatorAddOpcodeIndex(self.builder, code)
        tflite.OperatorAddInputs(self.builder, input_vector)
        tflite.OperatorAddOutputs(self.builder, output_vector)
        if options_type:
            tflite.OperatorAddBuiltinOptionsType(self.builder, options_type)
            tflite.OperatorAddBuiltinOptions(self.builder, options_table)
        return tflite.OperatorEnd(self.builder)

    def activation(self, tensor: Tensor, name: str | None = None) -> int:
        scales, zero_points = np.array([tensor.scale], np.float32), np.array([tensor.zero_point])
        quantization = self.quantization(scales, zero_points, 0)
        return self.tensor(tensor.shape, tflite.TensorType.INT8, b"", quantization, name)

    def parameters(self, op: Weighted) -> list[int]:
        """Write the tensors of the weights and the bias."""
        scales = op.weight_scales.astype(np.float32)
        zeros = np.zeros(len(scales), np.int64)
        # The runtimes compare this with the product of both scales, rounded to float32.
        bias_scales = np.float32(op.inputs[0].scale) * scales
        weight = self.quantization(scales, zeros, op.channel_axis)
        bias = self.quantization(bias_scales, zeros, 0)
        return [
            self.tensor(op.weight.shape, tflite.TensorType.INT8, op.weight.tobytes(), weight),
            self.tensor(op.bias.shape, tflite.TensorType.INT32, op.bias.astype("<i4").tobytes(), bias),
        ]

    def settings(self, op: Operator) -> list[int]:
        """Write the tensors of options that TensorFlow Lite takes as inputs."""
        match op:
            case Reshape():
                values = np.array(op.output.shape)
            case Pad(pads=pads):
                values = np.array(pads)
            case UpsampleNearest2D():
                values = np.array(op.output.shape[1:3])
            case Mean():
                values = np.array([1, 2])
            case _:
                return []
        data = values.astype("<i4").tobytes()
        return [self.tensor(values.shape, tflite.TensorType.INT32, data, quantization=0)]

    def tensor(
        self, shape: Sequence[int], kind: int, data: bytes, quantization: int, name: str | None = None
    ) -> int:
        """Write a tensor and return its index; only the ends of the graph need a name."""
        b = self.builder
        text = b.CreateString(name) if name else 0
        sizes = self.integers(shape)
        buffer = self.buffers.setdefault(data, len(self.buffers))
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, sizes)
        tflite.TensorAddType(b, kind)
        tflite.TensorAddBuffer(b, buffer)
        if name:
            tflite.TensorAddName(b, text)
        tflite.TensorAddQuantization(b, quantization)
        self.tensors.append(tflite.TensorEnd(b))
        return len(self.tensors) - 1

    def quantization(self, scales: Array, zero_points: Array, axis: int) -> int:
        key = self.vector(scales, "<f4"), self.vector(zero_points, "<i8"), axis
        if key not in self.quantizations:
            tflite.QuantizationParametersStart(self.builder)
            tflite.QuantizationParametersAddScale(self.builder, key[0])
            tflite.QuantizationParametersAddZeroPoint(self.builder, key[1])
            tflite.QuantizationParametersAddQuantizedDimension(self.builder, axis)
            self.quantizations[key] = tflite.QuantizationParametersEnd(self.builder)
        return self.quantizations[key]

    def buffer(self, data: bytes) -> int:
        offset = self.aligned(data) if data else 0
        tflite.BufferStart(self.builder)
        if data:
            tflite.BufferAddData(self.builder, offset)
        return tflite.BufferEnd(self.builder)

    def aligned(self, data: bytes) -> int:
        # Python's flatbuffers ignores the schema's force_align. Once the vector's end is padded, its start is
        # aligned, and CreateNumpyVector adds nothing.
        self.builder.Prep(_ALIGNMENT, len(data))
        return self.builder.CreateNumpyVector(np.frombuffer(data, np.uint8))

    def integers(self, values: Sequence[int]) -> int:
        return self.vector(np.array(values), "<i4")

    def vector(self, values: Array, kind: str) -> int:
        """Write a vector of numbers, or return the equal one that exists."""
        data = values.astype(kind)
        key = kind, data.tobytes()
        if key not in self.vectors:
            self.vectors[key] = self.builder.CreateNumpyVector(data)
        return self.vectors[key]

    def offsets(self, tables: Sequence[int]) -> int:
        self.builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self.builder.PrependUOffsetTRelative(table)
        return self.builder.EndVector()
