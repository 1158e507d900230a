"""The walk over a traced network that `edgegrow.deploy.lower` takes, and what its handlers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from torch import fx, nn

from edgegrow.deploy.graph import (
    Activation,
    Array,
    DepthwiseConv2D,
    FloatGraph,
    Operator,
    Pads,
    Reshape,
    Tensor,
    Weighted,
    Window,
)
from edgegrow.deploy.layout import NO_PADS, nhwc_shape, scale_outputs
from edgegrow.deploy.trace import describe, extended_layer, read_call, shape_of
from edgegrow.errors import UnsupportedError

_SPATIAL = {"conv", "pad", "average", "max", "global", "mean", "upsample"}
"""What has no meaning for flattened samples."""

_POINT = Window((1, 1), (1, 1), "VALID")


@dataclass(frozen=True)
class Value:
    """What a node yields: a tensor of the graph, perhaps with something still to be done to it."""

    tensor: Tensor
    rank: int
    """Of the PyTorch tensor; 2 where it is flattened, whatever the shape in the graph."""
    private: bool
    """Only one operator reads the tensor."""
    pads: Pads = NO_PADS
    """Zeros still to be put around it."""
    repeated: bool = False
    """It stands for a larger tensor, of whose axes some are repeated."""


class Lowering:
    """One walk over a traced network; ``do_*`` of the subclasses handle the kinds of `Call`."""

    def __init__(self, traced: fx.GraphModule, input_shape: Sequence[int]) -> None:
        self.traced = traced
        self.input_shape = input_shape
        self.values: dict[fx.Node, Value] = {}
        self.makers: dict[str, Operator] = {}  # by the name of their output, in order
        # What is read by operators that clamping commutes with, by the names of their outputs.
        self.clamped_before: dict[str, tuple[Value, ...]] = {}

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

    def step(self) -> Value:
        """Lower the current node."""
        call = read_call(self.node, self.module())
        if call is None or not all(node in self.values for node in call.inputs):
            todo = (
                "use convolutions, linear layers, batch norm, ReLU, ReLU6, SiLU, Hardswish, Hardsigmoid, "
                "Sigmoid, Tanh, pooling, nearest upsampling, additions, products and concatenations"
            )
            if "softmax" in describe(self.node, self.module()).lower():
                todo = "end the network at its logits"
            if self.node.op == "get_attr":
                todo = "read parameters through modules of torch.nn"
            if base := extended_layer(self.node):
                todo = f"leave its forward to nn.{base.__name__}, and do the rest in the network's"
            self.refuse("it cannot be deployed", todo)
        inputs = [self.values[node] for node in call.inputs]
        if call.kind not in ("conv", "pad", "keep") and any(x.pads != NO_PADS for x in inputs):
            self.refuse("it reads a padded map", "pad only before a convolution")
        if call.kind not in ("mul", "expand", "keep") and any(x.repeated for x in inputs):
            self.refuse("it reads an expanded tensor", "expand only what is multiplied")
        if call.kind in _SPATIAL and inputs[0].rank == 2:
            self.refuse("it reads flattened samples", "give it a map or a signal")
        if call.in_place and self.is_read_later(inputs[0].tensor):
            self.refuse("it changes a tensor that others still read", "do not use it in place")
        handler: Callable[..., Value] = getattr(self, f"do_{call.kind}")
        return handler(call, *inputs)

    def module(self) -> nn.Module | None:
        """Get the module that the current node calls."""
        return self.traced.get_submodule(str(self.node.target)) if self.node.op == "call_module" else None

    def shape(self) -> tuple[int, ...]:
        """Shape in the graph of what the current node yields, unless it is a flattened map."""
        return nhwc_shape(shape_of(self.node) or ())

    def refuse(self, what: str, todo: str) -> NoReturn:
        """End, with what is wrong with the current node and what to do."""
        raise UnsupportedError(f"layer {describe(self.node, self.module())}: {what}: {todo}")

    def result(self) -> Tensor:
        """Check and return what the network returns."""
        outcome = self.node.args[0]
        value = self.values.get(outcome) if isinstance(outcome, fx.Node) else None
        if value is None or not self.makers or value.pads != NO_PADS or value.repeated:
            self.refuse("the network does not return one computed tensor", "return the logits alone")
        if value.rank != 2 or any(n > 1 for n in value.tensor.shape[1:-1]):
            self.refuse("the network does not return (n, classes)", "return the logits")
        return value.tensor

    def value(self, tensor: Tensor, private: bool, pads: Pads = NO_PADS, repeated: bool = False) -> Value:
        """Yield of the current node."""
        only = sum(_reads(user) for user in self.node.users) == 1
        return Value(tensor, len(shape_of(self.node) or ()), private and only, pads, repeated)

    def is_read_later(self, tensor: Tensor) -> bool:
        """Whether a node after the current one reads a tensor, by whatever name."""
        names = [node for node, value in self.values.items() if value.tensor == tensor]
        users = {user for node in names for user in node.users if _reads(user)}
        return any(user not in self.values and user is not self.node for user in users)

    def emit(self, make: Callable[..., Operator], *inputs: Value, part: str = "", **fields: Any) -> Value:
        """Append an operator; `part` names one that yields not yet what the current node does."""
        place = self.node.target if self.node.op == "call_module" else self.node.name
        name = f"{self.node.name}.{part}" if part else self.node.name  # nodes have no dots in their names
        op = make(str(place), tuple(x.tensor for x in inputs), Tensor(name, ()), **fields)
        op = replace(op, output=Tensor(name, op.output_shape()))
        self.makers[name] = op
        if part:
            return Value(op.output, inputs[0].rank, True)
        traced = shape_of(self.node) or ()
        if len(traced) > 2 and nhwc_shape(traced) != op.output.shape:
            self.refuse(f"its map is {traced[2:]}, not {op.output.shape[1:-1]}", "leave ceil_mode out")
        return self.value(op.output, True)

    def reshape(self, x: Value, shape: tuple[int, ...], part: str) -> Value:
        """Give a tensor another shape, with an operator where it has not got it already."""
        if x.tensor.shape == shape:
            return x
        return self.emit(_reshape_to(shape), x, part=part)

    def as_map(self, x: Value, part: str = "map") -> Value:
        """Make a map ``(1, 1, 1, c)`` of features ``(1, c)``; maps stay."""
        return x if len(x.tensor.shape) == 4 else self.reshape(x, (1, 1, 1, x.tensor.shape[1]), part)

    def scale(
        self, x: Value, factor: Array, shift: Array, source: str, activation: Activation = "none"
    ) -> Value:
        """Multiply channels and add to them: in the operator before, or by a depthwise convolution.

        `source` names what the factors come from; of equal names they are equal.
        """
        op = self.makers.get(x.tensor.name)
        if isinstance(op, Weighted) and op.activation == "none" and x.private:
            scaled = scale_outputs(op, factor, shift, source)
            self.makers[x.tensor.name] = replace(scaled, activation=activation)
            return self.value(x.tensor, True)
        return self.emit(DepthwiseConv2D, self.as_map(x), **channelwise(x, factor, shift, activation))


def channelwise(
    x: Value,
    factor: Array,
    shift: Array,
    activation: Activation = "none",
    window: Window = _POINT,
) -> dict[str, Any]:
    """Fields of a depthwise convolution that multiplies channels, sums windows, and adds to that."""
    channels = x.tensor.shape[-1]
    return {
        "weight": np.broadcast_to(factor, (1, *window.size, channels)).astype(np.float32),
        "bias": np.broadcast_to(shift, channels).astype(np.float32),
        "activation": activation,
        "window": window,
    }


def _reshape_to(shape: tuple[int, ...]) -> Callable[..., Operator]:
    return lambda name, inputs, output: Reshape(name, inputs, replace(output, shape=shape))


def _reads(node: fx.Node) -> bool:
    """Whether a node reads the elements of its inputs, not only their shapes."""
    return node.op == "output" or shape_of(node) is not None
