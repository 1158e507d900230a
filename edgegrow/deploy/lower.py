"""From a trained PyTorch module to the float graph.

The module is traced by torch.fx in evaluation mode and walked once, in order (`edgegrow.deploy.lowering`).
Batch norm, ReLU and zero padding become part of a neighbouring operator where one can take them; flattening
becomes a permutation of the next linear layer's columns; so nothing is left that would transpose or pad on
the device. Whatever does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from torch import nn

from edgegrow.deploy.graph import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FloatGraph,
    FullyConnected,
    MaxPool2D,
    Pads,
    Window,
)
from edgegrow.deploy.layout import (
    NO_PADS,
    axis_pair,
    columns_nhwc,
    norm_factors,
    padded_size,
    sum_pads,
)
from edgegrow.deploy.lower_branches import Branches
from edgegrow.deploy.lowering import Value, channelwise
from edgegrow.deploy.trace import Call, Pooling, trace


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


class _Lowering(Branches):
    """Handlers of layers and pools."""

    def do_pad(self, call: Call, x: Value) -> Value:
        # PyTorch lists the last axis first.
        axes = [(int(a), int(b)) for a, b in zip(call.options[::2], call.options[1::2], strict=True)]
        axes += [(0, 0)] * (2 - len(axes))
        if any(axis != (0, 0) for axis in axes[x.rank - 2 :]) or min(map(min, axes)) < 0:
            self.refuse(f"it pads by {call.options}", "pad height and width with zeros, nothing else")
        return self.value(x.tensor, x.private, sum_pads(x.pads, (axes[1], axes[0])))

    def do_conv(self, call: Call, x: Value) -> Value:
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
        self, x: Value, size: tuple[int, int], stride: tuple[int, int], pads: Pads, zeros: bool
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
        todo = f"use padding=0 after nn.{before}, whose windows lie elsewhere" if zeros else "use padding=0"
        return self.refuse(f"padding {pads} is neither none nor SAME, {wanted}", todo)

    def do_linear(self, call: Call, x: Value) -> Value:
        linear: nn.Linear = call.options
        if x.rank != 2:
            self.refuse("it reads a map", "flatten before it")
        weight = columns_nhwc(linear.weight.detach().numpy(), x.tensor.shape)
        bias = np.zeros(len(weight), np.float32) if linear.bias is None else linear.bias.detach().numpy()
        return self.emit(FullyConnected, x, weight=weight, bias=bias)

    def do_norm(self, call: Call, x: Value) -> Value:
        norm: nn.BatchNorm2d = call.options
        if norm.running_mean is None or norm.running_var is None:
            self.refuse("it has no running statistics", "use track_running_stats=True")
        if norm.num_features != x.tensor.shape[-1]:
            self.refuse("it reads a flattened map", "normalize before flattening, or pool to 1x1")
        return self.scale(x, *norm_factors(norm), source=str(self.node.target))

    def do_average(self, call: Call, x: Value) -> Value:
        return self.pool(AveragePool2D, x, call.options)

    def do_max(self, call: Call, x: Value) -> Value:
        value = self.pool(MaxPool2D, x, call.options)
        self.clamped_before[value.tensor.name] = (x,)
        return value

    def pool(self, make: type[AveragePool2D | MaxPool2D], x: Value, options: Pooling) -> Value:
        high, wide = axis_pair(options.padding, x.rank, 0)
        if axis_pair(options.dilation, x.rank, 1) != (1, 1):
            self.refuse("it is dilated", "use dilation=1")
        size, stride = axis_pair(options.size, x.rank, 1), axis_pair(options.stride, x.rank, 1)
        window = self.window(x, size, stride, ((high, high), (wide, wide)), zeros=False)
        if options.padding_counts and (high, wide) != (0, 0):
            # Zeros that count make it a sum of equal shares; averages on devices leave them out.
            shares = channelwise(x, np.array([1 / prod(size)]), np.array([0.0]), window=window)
            return self.emit(DepthwiseConv2D, x, **shares)
        return self.emit(make, x, window=window)

    def do_global(self, call: Call, x: Value) -> Value:
        if axis_pair(call.options, x.rank, 1) != (1, 1):
            self.refuse(f"it pools to {call.options}", "pool to 1, or by a fixed window")
        return self.pool_map(x)

    def do_mean(self, call: Call, x: Value) -> Value:
        axes = call.options if isinstance(call.options, tuple | list) else [call.options]
        if {axis % x.rank for axis in axes} != set(range(2, x.rank)):
            self.refuse(f"it averages over {call.options}", "average over all of height and width")
        return self.pool_map(x)

    def pool_map(self, x: Value) -> Value:
        size = (x.tensor.shape[1], x.tensor.shape[2])
        if size == (1, 1):
            return self.value(x.tensor, x.private)
        return self.emit(AveragePool2D, x, window=Window(size, size, "VALID"))
