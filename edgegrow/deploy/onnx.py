"""Write the quantized graph as an ONNX file of quantize-dequantize (QDQ) pairs.

ONNX Runtime fuses every pair with the operator between them into an integer kernel: on x86 only where
activations are uint8 (U8S8), on ARM best where they are int8 (S8S8). The two differ by 128 in every
activation and in nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgegrow.deploy.fixed_point import clamp_limits
from edgegrow.deploy.graph import (
    Activation,
    Add,
    Array,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    HardSwish,
    Logistic,
    MaxPool2D,
    Mul,
    Operator,
    Relu,
    Reshape,
    Tanh,
    Tensor,
    UpsampleNearest2D,
    Weighted,
    Window,
)
from edgegrow.errors import UnsupportedError, reason
from edgegrow.files import write_atomic

_OPSET = 13  # the first with per-channel scales; old runtimes read it too
_IR_VERSION = 8


def write_onnx(graph: Graph, path: Path | str, activations: Literal["uint8", "int8"]) -> None:
    """Write the file as `onnx_bytes` gives it; a reader sees the old file or the whole new one.

    Raises
    ------
    UnsupportedError
        If ONNX has no such operator, or its checker refuses the model.
    """
    try:
        content = onnx_bytes(graph, activations)
    except UnsupportedError as error:
        raise UnsupportedError(f"{path}: {error}") from error
    write_atomic(Path(path), content)


def onnx_bytes(graph: Graph, activations: Literal["uint8", "int8"]) -> bytes:
    """Serialize a graph; equal graphs give equal bytes.

    Input and output are quantized, ``(1, c, h, w)`` (a signal has ``h`` 1) or ``(1, features)``; their scales
    and zero points stand in the metadata under ``edgegrow.quantization``, as JSON.

    Parameters
    ----------
    graph : Graph
    activations : {"uint8", "int8"}
        ``uint8`` for x86, ``int8`` for ARM.

    Raises
    ------
    UnsupportedError
        If ONNX has no such operator, or its checker refuses the model.
    """
    model = _Writer(np.dtype(activations), {tensor.name for tensor in graph.tensors}).model(graph)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # it raises of several kinds
        raise UnsupportedError(
            f"ONNX's checker refuses the model ({reason(error)}): write a .tflite file"
        ) from error
    return model.SerializeToString(deterministic=True)


class _Writer:
    def __init__(self, kind: np.dtype[Any], taken: Set[str]) -> None:
        self.kind = kind
        self.taken = taken
        """Names of the graph's own tensors, which are the user's."""
        self.offset = 128 if kind == np.uint8 else 0
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}

    def model(self, graph: Graph) -> onnx.ModelProto:
        for op in graph.operators:
            self.operator(op)
        parameters = {
            end: {"name": tensor.name, "scale": tensor.scale, "zero_point": tensor.zero_point + self.offset}
            for end, tensor in (("input", graph.input), ("output", graph.output))
        }
        body = helper.make_graph(
            self.nodes,
            "edgegrow",
            [self.end(graph.input)],
            [self.end(graph.output)],
            list(self.constants.values()),
        )
        model = helper.make_model(
            body,
            producer_name="edgegrow",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET)],
        )
        helper.set_model_props(model, {"edgegrow.quantization": json.dumps(parameters, sort_keys=True)})
        return model

    def end(self, tensor: Tensor) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(self.kind)
        return helper.make_tensor_value_info(tensor.name, kind, _nchw(tensor.shape))

    def operator(self, op: Operator) -> None:
        low, high = clamp_limits(op)
        if isinstance(op, Relu) and op.output.scale == op.inputs[0].scale:
            self.clip(op.inputs[0].name, low, high, op.output.name)
            return
        # Every reader has its own DequantizeLinear: a shared one hinders fusion.
        inputs = [
            self.node("DequantizeLinear", self.read(op, tensor), *self.quantization(tensor))
            for tensor in op.inputs
        ]
        match op:
            case Conv2D() | DepthwiseConv2D():
                depthwise = isinstance(op, DepthwiseConv2D)
                weight = op.weight.transpose(3, 0, 1, 2) if depthwise else op.weight.transpose(0, 3, 1, 2)
                inputs += self.parameters(op, weight)
                groups = op.inputs[0].shape[3] if depthwise else 1
                result = self.node("Conv", *inputs, group=groups, **_geometry(op.window, op.inputs[0]))
            case FullyConnected():
                inputs += self.parameters(op, _columns_nchw(op))
                result = self.node("Gemm", *inputs, transB=1)
            case Add():
                result = self.node("Add", *inputs)
            case AveragePool2D(window=window) if window.size == op.inputs[0].shape[1:3]:
                result = self.node("GlobalAveragePool", *inputs)
            case AveragePool2D(window=window):
                result = self.node("AveragePool", *inputs, **_geometry(window, op.inputs[0]))
            case MaxPool2D(window=window):
                result = self.node("MaxPool", *inputs, **_geometry(window, op.inputs[0]))
            case Mul():
                result = self.node("Mul", *inputs)
            case Relu():
                (result,) = inputs
            case Logistic():
                result = self.node("Sigmoid", *inputs)
            case Tanh():
                result = self.node("Tanh", *inputs)
            case HardSwish():
                gate = self.node("HardSigmoid", *inputs, alpha=1 / 6, beta=0.5)
                result = self.node("Mul", *inputs, gate)
            case Concatenation(axis=axis):
                nchw = (0, 2, 3, 1)[axis] if len(op.output.shape) == 4 else axis
                result = self.node("Concat", *inputs, axis=nchw)
            case Reshape() if _is_row(op.inputs[0]) and _is_row(op.output):
                shape = self.constant(np.array(_nchw(op.output.shape), np.int64))
                result = self.node("Reshape", *inputs, shape)
            case UpsampleNearest2D(factor=factor):
                scales = self.constant(np.array([1, 1, *factor], np.float32))
                modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                result = self.node("Resize", *inputs, "", scales, mode="nearest", **modes)
            case _:
                raise UnsupportedError(
                    f"operator {op.name}: {type(op).__name__} cannot be written to ONNX: write a .tflite file"
                )
        quantization = self.quantization(op.output)
        if (low, high) == (-128, 127):
            result = self.activated(result, getattr(op, "activation", "none"))
            self.node("QuantizeLinear", result, *quantization, output=op.output.name)
        else:  # an activation that int8's own limits do not contain would hinder fusion
            self.clip(self.node("QuantizeLinear", result, *quantization), low, high, op.output.name)

    def clip(self, value: str, low: int, high: int, output: str) -> None:
        """Clamp a quantized tensor."""
        limits = (self.constant(np.array(limit + self.offset, self.kind)) for limit in (low, high))
        self.node("Clip", value, *limits, output=output)

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        output = output or self.free(f"{len(self.nodes)}")
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def activated(self, value: str, activation: Activation) -> str:
        if activation in ("none", "unit"):  # int8's own limits clamp to the unit
            return value
        if activation == "relu":
            return self.node("Relu", value)
        return self.node("Clip", value, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def read(self, op: Operator, tensor: Tensor) -> str:
        """Name of a quantized tensor as an operator reads it: flattened where that is linear."""
        if not isinstance(op, FullyConnected) or len(tensor.shape) == 2:
            return tensor.name
        return self.node("Flatten", tensor.name)

    def quantization(self, tensor: Tensor) -> tuple[str, str]:
        """Names of the scale and the zero point, both true scalars: vectors of one are not fused."""
        zero_point = np.array(tensor.zero_point + self.offset, self.kind)
        return self.constant(np.float32(tensor.scale)), self.constant(zero_point)

    def parameters(self, op: Weighted, weight: Array) -> list[str]:
        """Dequantize weights and bias; zero points are given, without which Gemm is not fused."""
        scales = op.weight_scales.astype(np.float32)
        names = []
        # Without VNNI, ONNX Runtime adds products of uint8 and int8 in saturating int16; those of equal types
        # it computes exactly, on x86 for uint8 and on ARM for int8.
        weight = (weight.astype(np.int16) + self.offset).astype(self.kind)
        for values, steps in (weight, scales), (op.bias, np.float32(op.inputs[0].scale) * scales):
            zeros = np.full(len(scales), self.offset if values is weight else 0, values.dtype)
            axis: dict[str, Any] = {"axis": 0}
            if isinstance(op, FullyConnected):
                steps, zeros, axis = steps[0], zeros[0], {}
            inputs = [self.constant(part) for part in (values, steps, zeros)]
            names.append(self.node("DequantizeLinear", *inputs, **axis))
        return names

    def constant(self, values: Array | np.generic) -> str:
        """Name of an initializer; equal ones are shared."""
        array = np.asarray(values, order="C")
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.constants:
            name = self.free(f"c{len(self.constants)}")
            self.constants[key] = numpy_helper.from_array(array, name)
        return self.constants[key].name

    def free(self, name: str) -> str:
        """Change a name of ours, whose last character is a digit, until no tensor of the graph has it."""
        while name in self.taken:
            name += "_"
        return name


def _nchw(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, shape[3], shape[1], shape[2]) if len(shape) == 4 else shape


def _is_row(tensor: Tensor) -> bool:
    """Whether only the last axis has more than one element: its order is the same in both layouts."""
    return all(n == 1 for n in tensor.shape[:-1])


def _columns_nchw(op: FullyConnected) -> Array:
    """Weights whose columns are in the order in which ONNX flattens."""
    shape = op.inputs[0].shape
    if len(shape) == 2:
        return op.weight
    by_axis = op.weight.reshape(-1, *shape[1:]).transpose(0, 3, 1, 2)
    return by_axis.reshape(op.weight.shape)


def _geometry(window: Window, tensor: Tensor) -> dict[str, Any]:
    (top, bottom), (left, right) = window.pads(tensor.shape[1:3])
    return {"kernel_shape": window.size, "strides": window.stride, "pads": (top, left, bottom, right)}
