"""Lower what joins branches, changes shapes, and bends: everything that has no weights and no window."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from edgegrow.deploy.graph import (
    Activation,
    Add,
    Concatenation,
    DepthwiseConv2D,
    HardSwish,
    Logistic,
    Mul,
    Relu,
    Tanh,
    UpsampleNearest2D,
    Weighted,
)
from edgegrow.deploy.layout import axis_pair, nhwc_shape
from edgegrow.deploy.lowering import Lowering, Value, channelwise
from edgegrow.deploy.trace import BATCH, Call, shape_of

_CLAMPS: tuple[Activation, ...] = "none", "relu", "relu6", "unit"
"""Each clamps to a part of what the one before leaves: of two, the later one in this order holds."""

_AXES = {2: {1: 1}, 3: {1: 3, 2: 2}, 4: {1: 3, 2: 1, 3: 2}}
"""By the rank in PyTorch: the graph's axis for PyTorch's."""


class Branches(Lowering):
    """Handlers of joins, shapes and activations."""

    def do_keep(self, call: Call, x: Value) -> Value:
        """Do nothing."""
        return self.value(x.tensor, x.private, x.pads, x.repeated)

    def do_relu(self, call: Call, x: Value) -> Value:
        """Clamp to 0 and above."""
        return self.clamp(x, "relu")

    def do_relu6(self, call: Call, x: Value) -> Value:
        """Clamp to 0 to 6."""
        return self.clamp(x, "relu6")

    def clamp(self, x: Value, activation: Activation) -> Value:
        """Clamp in the operators before, if nothing else reads what they yield."""
        names = self.clampable(x)
        if names is None:
            return self.emit(Relu, x, activation=activation)
        for name in names:
            op = self.makers[name]
            assert isinstance(op, Weighted | Add | Mul)
            stronger = max(op.activation, activation, key=_CLAMPS.index)
            self.makers[name] = replace(op, activation=stronger)
        return self.value(x.tensor, True)

    def clampable(self, x: Value) -> list[str] | None:
        """Names of the outputs to clamp instead of this one; None where that would change another's input."""
        if not x.private:
            return None
        name = x.tensor.name
        if name in self.clamped_before:
            found = [self.clampable(source) for source in self.clamped_before[name]]
            return None if None in found else [name for names in found if names for name in names]
        return [name] if isinstance(self.makers.get(name), Weighted | Add | Mul) else None

    def do_sigmoid(self, call: Call, x: Value) -> Value:
        """Sigmoid."""
        return self.emit(Logistic, x)

    def do_tanh(self, call: Call, x: Value) -> Value:
        """Hyperbolic tangent."""
        return self.emit(Tanh, x)

    def do_silu(self, call: Call, x: Value) -> Value:
        """``x * sigmoid(x)``."""
        return self.emit(Mul, x, self.emit(Logistic, x, part="gate"))

    def do_hard_swish(self, call: Call, x: Value) -> Value:
        """``x * relu6(x + 3) / 6``."""
        return self.emit(HardSwish, x)

    def do_hard_sigmoid(self, call: Call, x: Value) -> Value:
        """``relu6(x + 3) / 6``: a factor and a shift, clamped by the limits of int8."""
        return self.scale(x, np.array([1 / 6]), np.array([0.5]), call.kind, "unit")

    def do_add(self, call: Call, x: Value, y: Value) -> Value:
        """Add tensors of one shape."""
        x, y = self.of_one_rank(x, y)
        if x.tensor.shape != y.tensor.shape:
            self.refuse(f"it adds shapes {x.tensor.shape[1:]} and {y.tensor.shape[1:]}", "add equal shapes")
        return self.emit(Add, x, y)

    def do_mul(self, call: Call, x: Value, y: Value) -> Value:
        """Multiply tensors of one shape, or such that one is repeated along some axes."""
        same_rank = x.rank == y.rank
        x, y = self.of_one_rank(x, y)
        sizes = list(zip(x.tensor.shape, y.tensor.shape, strict=True))
        product = tuple(map(max, sizes))
        wanted = product if x.rank == 2 and x.tensor.shape == y.tensor.shape else self.shape()
        if not same_rank or product != wanted or any(a != b and 1 not in (a, b) for a, b in sizes):
            self.refuse(
                f"it multiplies shapes {x.tensor.shape[1:]} and {y.tensor.shape[1:]}",
                "multiply equal shapes, or a map by a gate (n, c, 1, 1)",
            )
        return self.emit(Mul, x, y)

    def of_one_rank(self, x: Value, y: Value) -> tuple[Value, Value]:
        """Make maps of both where one is a map in the graph and the other is not."""
        if len(x.tensor.shape) == len(y.tensor.shape):
            return x, y
        return self.as_map(x, "first"), self.as_map(y, "second")

    def do_cat(self, call: Call, *inputs: Value) -> Value:
        """Put tensors one after the other."""
        rank = inputs[0].rank
        dim = call.options % rank
        if len(inputs) == 1:
            return self.do_keep(call, inputs[0])
        if dim == 0:
            self.refuse("it concatenates samples", "concatenate along channels, dim=1")
        if rank == 2 and any(prod(x.tensor.shape[1:-1]) > 1 for x in inputs):
            self.refuse("it reads flattened maps", "concatenate before flattening, or pool to 1x1")
        if len({len(x.tensor.shape) for x in inputs}) > 1:
            inputs = tuple(self.as_map(x, f"{i}") for i, x in enumerate(inputs))
        axis = len(inputs[0].tensor.shape) - 1 if rank == 2 else _AXES[rank][dim]
        if len({self.fixed(x.tensor.name) for x in inputs}) > 1:
            inputs = tuple(self.freed(x, f"copy{i}") for i, x in enumerate(inputs))
        value = self.emit(Concatenation, *inputs, axis=axis)
        self.clamped_before[value.tensor.name] = inputs
        return value

    def fixed(self, name: str) -> tuple[float, int] | None:
        """Scale and zero point that a tensor must have because of what made it."""
        op = self.makers.get(name)
        if op is None:
            return None
        if op.keeps_quantization or isinstance(op, Relu):
            return self.fixed(op.inputs[0].name)
        return op.fixed_quantization

    def freed(self, x: Value, part: str) -> Value:
        """Copy a tensor whose scale and zero point are fixed, so that they may be another's."""
        if self.fixed(x.tensor.name) is None:
            return x
        x = self.as_map(x, f"{part}.map")
        return self.emit(DepthwiseConv2D, x, part=part, **channelwise(x, np.array([1.0]), np.array([0.0])))

    def do_upsample(self, call: Call, x: Value) -> Value:
        """Repeat every element as often."""
        after = self.shape()
        (_, height, width, _), given = x.tensor.shape, call.options
        factors = (after[1] // height, after[2] // width)
        whole = (factors[0] * height, factors[1] * width) == after[1:3]
        if not whole or (given is not None and axis_pair(given, x.rank, 1) != factors):
            self.refuse(f"it resizes {(height, width)} to {after[1:3]}", "resize by a whole factor")
        if factors == (1, 1):
            return self.value(x.tensor, x.private)
        value = self.emit(UpsampleNearest2D, x, factor=factors)
        self.clamped_before[value.tensor.name] = (x,)
        return value

    def do_reshape(self, call: Call, x: Value) -> Value:
        """Flatten samples, or make maps of one position of features and the other way round."""
        shape = shape_of(self.node) or ()
        count = prod(x.tensor.shape)
        if shape == (BATCH, count):
            return self.value(x.tensor, x.private)
        if 2 < len(shape) <= 4 and shape[0] == BATCH:
            wanted = nhwc_shape(shape)
            if x.tensor.shape == wanted:
                return self.value(x.tensor, x.private)
            if wanted == (1, 1, 1, count) and prod(x.tensor.shape[1:-1]) == 1:
                return self.value(self.as_map(x).tensor, True)
        return self.refuse(f"it makes {shape} of {BATCH} samples", "flatten each sample wholly")

    def do_expand(self, call: Call, x: Value) -> Value:
        """Repeat a tensor along axes of size 1, which a product does by itself."""
        wanted = self.shape()
        if len(shape_of(self.node) or ()) != x.rank:
            self.refuse("it puts in axes", "unsqueeze or view before")
        return self.value(x.tensor, x.private, repeated=wanted != x.tensor.shape)
