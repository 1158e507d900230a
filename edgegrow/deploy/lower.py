"""From a trained PyTorch module to the float graph.

The module is traced by torch.fx in evaluation mode and walked once, in order. Batch norm, ReLU and zero
padding become part of a neighbouring operator; flattening becomes a permutation of the next linear layer's
columns; so nothing is left that would transpose, reshape or pad on the device. Whatever does not fit is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NoReturn

import numpy as np
from torch import fx, nn

from edgegrow.deploy.graph import (
    Activation,
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FloatGraph,
    FullyConnected,
    MaxPool2D,
    Operator,
    Pads,
    Tensor,
    Weighted,
    Window,
)
from edgegrow.deploy.layout import (
    NO_PADS,
    axis_pair,
    columns_nhwc,
    fold_norm,
    nhwc_shape,
    padded_size,
    sum_pads,
)
from edgegrow.deploy.trace import BATCH, Call, Pooling, describe, read_call, shape_of, trace
from edgegrow.errors import UnsupportedError


def lower(module: nn.Module, input_shape: Sequence[int]) -> FloatGraph:
    """Trace a network and fold it into the operators that devices run.

    Parameters
    ----------
    module : nn.Module
        A trained network with one input and logits ``(n, classes)``; it is not changed.
    input_shape : sequence of int
        ``(c, h, w)``, ``(c, length)`` or ``(features,)`` of one sample.

    Returns
    -------
    FloatGraph
        It computes what the module computes in evaluation mode.

    Raises
    ------
    UnsupportedError
        At the first operator that cannot be deployed; names it, its place and what to do.
    InputError
        If the module does not take samples of this shape.
    """
    return _Lowering(trace(module, input_shape), input_shape).graph()


@dataclass(frozen=True)
class _Value:
    """What a node yields: a tensor of the graph, perhaps with zeros still to be put around it."""

    tensor: Tensor
    rank: int
    """Of the PyTorch tensor; 2 where it is flattened, whatever the shape in the graph."""
    private: bool
    """Only one operator reads the tensor."""
    pads: Pads = NO_PADS


class _Lowering:
    """One walk over a traced network; ``do_*`` handle the kinds of `Call`."""

    def __init__(self, traced: fx.GraphModule, input_shape: Sequence[int]) -> None:
        self.traced = traced
        self.input_shape = input_shape
        self.values: dict[fx.Node, _Value] = {}
        self.makers: dict[str, Operator] = {}  # by the name of their output, in order
        self.pooled: dict[str, _Value] = {}  # what a max pool reads, by the name of its output

    def graph(self) -> FloatGraph:
        """Walk, and put the operators together."""
        for node in self.traced.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                network_input = Tensor("input", nhwc_shape((1, *self.input_shape)))
                self.values[node] = self.value(network_input, True)
            elif node.op == "output":
                break
            elif shape_of(node) is not None:
                self.values[node] = self.step()
            # Anything else computes a size for a view, whose outcome the traced shapes show.
        return FloatGraph(network_input, self.result(), tuple(self.makers.values()))

    def step(self) -> _Value:
        call = read_call(self.node, self.module())
        if call is None or not all(node in self.values for node in call.inputs):
            todo = "use convolutions, linear layers, batch norm, ReLU, additions and pooling"
            if "softmax" in describe(self.node, self.module()).lower():
                todo = "end the network at its logits"
            if self.node.op == "get_attr":
                todo = "read parameters through modules of torch.nn"
            self.refuse("it cannot be deployed", todo)
        inputs = [self.values[node] for node in call.inputs]
        if call.kind not in ("conv", "pad", "keep") and any(x.pads != NO_PADS for x in inputs):
            self.refuse("it reads a padded map", "pad only before a convolution")
        if call.kind in ("conv", "pad", "average", "max", "global", "mean") and inputs[0].rank == 2:
            self.refuse("it reads flattened samples", "give it a map or a signal")
        handler: Callable[..., _Value] = getattr(self, f"do_{call.kind}")
        return handler(call, *inputs)

    def module(self) -> nn.Module | None:
        """Get the module that the current node calls."""
        return self.traced.get_submodule(str(self.node.target)) if self.node.op == "call_module" else None

    def refuse(self, what: str, todo: str) -> NoReturn:
        raise UnsupportedError(f"layer {describe(self.node, self.module())}: {what}: {todo}")

    def result(self) -> Tensor:
        outcome = self.node.args[0]
        value = self.values.get(outcome) if isinstance(outcome, fx.Node) else None
        if value is None or not self.makers or value.pads != NO_PADS:
            self.refuse("the network does not return one computed tensor", "return the logits alone")
        if value.rank != 2 or any(n > 1 for n in value.tensor.shape[1:-1]):
            self.refuse("the network does not return (n, classes)", "return the logits")
        return value.tensor

    def value(self, tensor: Tensor, private: bool, pads: Pads = NO_PADS) -> _Value:
        """Yield of the current node."""
        return _Value(tensor, len(shape_of(self.node) or ()), private and len(self.node.users) == 1, pads)

    def emit(self, make: Callable[..., Operator], *inputs: _Value, **fields: Any) -> _Value:
        """Append an operator."""
        place = self.node.target if self.node.op == "call_module" else self.node.name
        op = make(str(place), tuple(x.tensor for x in inputs), Tensor(self.node.name, ()), **fields)
        op = replace(op, output=Tensor(self.node.name, op.output_shape()))
        traced = shape_of(self.node) or ()
        if len(traced) > 2 and nhwc_shape(traced) != op.output.shape:
            self.refuse(f"its map is {traced[2:]}, not {op.output.shape[1:-1]}", "leave ceil_mode out")
        self.makers[op.output.name] = op
        return self.value(op.output, True)

    def do_keep(self, call: Call, x: _Value) -> _Value:
        return self.value(x.tensor, x.private, x.pads)

    def do_flatten(self, call: Call, x: _Value) -> _Value:
        shape = shape_of(self.node)
        if shape != (BATCH, prod(x.tensor.shape)):
            self.refuse(f"it makes {shape} of {BATCH} samples", "flatten each sample wholly")
        return self.value(x.tensor, x.private)

    def do_pad(self, call: Call, x: _Value) -> _Value:
        # PyTorch lists the last axis first.
        axes = [(int(a), int(b)) for a, b in zip(call.options[::2], call.options[1::2], strict=True)]
        axes += [(0, 0)] * (2 - len(axes))
        if any(axis != (0, 0) for axis in axes[x.rank - 2 :]) or min(map(min, axes)) < 0:
            self.refuse(f"it pads by {call.options}", "pad height and width with zeros, nothing else")
        return self.value(x.tensor, x.private, sum_pads(x.pads, (axes[1], axes[0])))

    def do_conv(self, call: Call, x: _Value) -> _Value:
        conv: nn.Conv2d = call.options
        if conv.padding_mode != "zeros" or any(d != 1 for d in conv.dilation):
            self.refuse(
                "only zero padding and no dilation can be deployed", "use padding_mode='zeros', dilation=1"
            )
        weight = conv.weight.detach().numpy()
        weight = weight[:, :, None] if weight.ndim == 3 else weight
        bias = np.zeros(len(weight), np.float32) if conv.bias is None else conv.bias.detach().numpy()
        size, stride = axis_pair(conv.kernel_size, x.rank, 1), axis_pair(conv.stride, x.rank, 1)
        if isinstance(conv.padding, str):  # "same" allows only stride 1, where it is TensorFlow's
            same = Window(size, stride, "SAME").pads(padded_size(x.tensor.shape, x.pads))
            own = same if conv.padding == "same" else NO_PADS
        else:
            high, wide = axis_pair(conv.padding, x.rank, 0)
            own = ((high, high), (wide, wide))
        window = self.window(x, size, stride, sum_pads(x.pads, own), zeros=True)
        if conv.groups == 1:
            return self.emit(Conv2D, x, weight=weight.transpose(0, 2, 3, 1), bias=bias, window=window)
        if conv.groups == x.tensor.shape[3]:
            return self.emit(
                DepthwiseConv2D, x, weight=weight.transpose(1, 2, 3, 0), bias=bias, window=window
            )
        return self.refuse(
            f"{conv.groups} groups of {x.tensor.shape[3]} channels are neither plain nor depthwise",
            "use one group, or one a channel",
        )

    def window(
        self, x: _Value, size: tuple[int, int], stride: tuple[int, int], pads: Pads, zeros: bool
    ) -> Window:
        """Express padding, with zeros or with nothing, by one of TensorFlow's two words."""
        same = Window(size, stride, "SAME")
        if pads == NO_PADS:
            return Window(size, stride, "VALID")
        wanted = same.pads(x.tensor.shape[1:3])
        if pads == wanted:
            return same
        (top, bottom), (left, right) = wanted
        before = f"ConstantPad1d({left, right}, 0.0)"
        if x.rank == 4:
            before = f"ZeroPad2d({left, right, top, bottom})"
        todo = f"use padding=0 after nn.{before}" if zeros else "use padding=0"
        return self.refuse(f"padding {pads} is neither none nor SAME, {wanted}", todo)

    def do_linear(self, call: Call, x: _Value) -> _Value:
        linear: nn.Linear = call.options
        if x.rank != 2:
            self.refuse("it reads a map", "flatten before it")
        weight = columns_nhwc(linear.weight.detach().numpy(), x.tensor.shape)
        bias = np.zeros(len(weight), np.float32) if linear.bias is None else linear.bias.detach().numpy()
        return self.emit(FullyConnected, x, weight=weight, bias=bias)

    def do_norm(self, call: Call, x: _Value) -> _Value:
        norm: nn.BatchNorm2d = call.options
        op = self.makers.get(x.tensor.name)
        if (
            not (isinstance(op, Weighted) and op.activation == "none" and x.private)
            or norm.running_mean is None
            or norm.running_var is None
            or norm.num_features != op.bias.size
        ):
            self.refuse(
                "it must have running statistics and be the only reader of a convolution or linear layer",
                "put it directly after one",
            )
        self.makers[x.tensor.name] = fold_norm(op, norm)
        return self.value(x.tensor, True)

    def do_relu(self, call: Call, x: _Value) -> _Value:
        return self.activate(x, "relu")

    def do_relu6(self, call: Call, x: _Value) -> _Value:
        return self.activate(x, "relu6")

    def activate(self, x: _Value, activation: Activation) -> _Value:
        source = x
        while source.private and source.tensor.name in self.pooled:  # the maximum commutes with ReLU
            source = self.pooled[source.tensor.name]
        op = self.makers.get(source.tensor.name)
        if not (isinstance(op, Weighted | Add) and op.activation in ("none", activation) and source.private):
            self.refuse(
                "it must be the only reader of a convolution, linear layer or addition",
                "put it directly after one",
            )
        self.makers[source.tensor.name] = replace(op, activation=activation)
        return self.value(x.tensor, True)

    def do_add(self, call: Call, x: _Value, y: _Value) -> _Value:
        if x.tensor.shape != y.tensor.shape:
            self.refuse(f"it adds shapes {x.tensor.shape[1:]} and {y.tensor.shape[1:]}", "add equal shapes")
        return self.emit(Add, x, y)

    def do_average(self, call: Call, x: _Value) -> _Value:
        return self.pool(AveragePool2D, x, call.options)

    def do_max(self, call: Call, x: _Value) -> _Value:
        value = self.pool(MaxPool2D, x, call.options)
        self.pooled[value.tensor.name] = x
        return value

    def pool(self, make: type[AveragePool2D | MaxPool2D], x: _Value, options: Pooling) -> _Value:
        high, wide = axis_pair(options.padding, x.rank, 0)
        if axis_pair(options.dilation, x.rank, 1) != (1, 1) or (
            options.padding_counts and (high, wide) != (0, 0)
        ):
            self.refuse("dilation, or zeros that count", "use dilation=1, count_include_pad=False")
        size, stride = axis_pair(options.size, x.rank, 1), axis_pair(options.stride, x.rank, 1)
        pads = ((high, high), (wide, wide))
        return self.emit(make, x, window=self.window(x, size, stride, pads, zeros=False))

    def do_global(self, call: Call, x: _Value) -> _Value:
        if axis_pair(call.options, x.rank, 1) != (1, 1):
            self.refuse(f"it pools to {call.options}", "pool to 1, or by a fixed window")
        return self.pool_map(x)

    def do_mean(self, call: Call, x: _Value) -> _Value:
        axes = call.options if isinstance(call.options, tuple | list) else [call.options]
        if {axis % x.rank for axis in axes} != set(range(2, x.rank)):
            self.refuse(f"it averages over {call.options}", "average over all of height and width")
        return self.pool_map(x)

    def pool_map(self, x: _Value) -> _Value:
        size = (x.tensor.shape[1], x.tensor.shape[2])
        if size == (1, 1):
            return self.value(x.tensor, x.private)
        return self.emit(AveragePool2D, x, window=Window(size, size, "VALID"))
