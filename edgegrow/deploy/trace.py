"""Trace a network, and find out what each node does, whether a module, a function or a method."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from edgegrow.errors import InputError, UnsupportedError, reason
from edgegrow.tracer import check_hooks, layer_base, layer_class, symbolic_trace

Kind = Literal[
    "conv",
    "linear",
    "norm",
    "relu",
    "relu6",
    "sigmoid",
    "tanh",
    "silu",
    "hard_sigmoid",
    "hard_swish",
    "add",
    "mul",
    "cat",
    "pad",
    "average",
    "max",
    "global",
    "mean",
    "upsample",
    "reshape",
    "expand",
    "keep",
]


BATCH = 2
"""Samples traced at once: not 1, so that a view which mixes samples shows."""


@dataclass(frozen=True)
class Pooling:
    """Options of a pooling call, as PyTorch has them: an int, or one an axis."""

    size: Any
    stride: Any
    padding: Any
    dilation: Any = 1
    padding_counts: bool = False


@dataclass(frozen=True)
class Call:
    """One step of the network.

    Attributes
    ----------
    kind : str
        What it does; ``keep`` does nothing in evaluation.
    inputs : tuple of fx.Node
        Where its tensors come from.
    options : object
        The module of a ``conv``, ``linear`` or ``norm``; a `Pooling` of ``average`` and ``max``; the zeros
        around, in PyTorch's order, of ``pad``; the axes of ``mean``, the axis of ``cat``; the output size of
        ``global``; the scale factor of ``upsample``.
    in_place : bool
        It changes its first input.
    """

    kind: Kind
    inputs: tuple[Any, ...]
    options: Any = None
    in_place: bool = False


def trace(module: nn.Module, input_shape: Sequence[int]) -> fx.GraphModule:
    """Trace a copy of a network in evaluation mode; every node knows the shape it yields for `BATCH` samples.

    Raises
    ------
    UnsupportedError
        If torch.fx cannot trace it, it has not one input, or a hook.
    InputError
        If it does not take samples of this shape.
    """
    if len(input_shape) not in (1, 2, 3):
        raise InputError(f"network: samples of shape {tuple(input_shape)} are no images, signals or features")
    check_hooks(module)
    module = copy.deepcopy(module).eval().cpu().float()
    if layer_class(module):
        module = nn.Sequential(module)  # otherwise the tracer would go inside
    # A graph remembers from which of the user's modules its nodes came, which tracing it anew would forget.
    traced = module if isinstance(module, fx.GraphModule) else symbolic_trace(module)
    for node in traced.graph.nodes:
        called = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        call = read_call(node, called) if node.op.startswith("call") and not node.users else None
        if call is not None and call.in_place:
            raise UnsupportedError(
                f"layer {describe(node, called)}: it changes a tensor in place, and no one reads what it "
                "yields: use its result"
            )
    traced.graph.eliminate_dead_code()
    if sum(node.op == "placeholder" for node in traced.graph.nodes) != 1:
        raise UnsupportedError("network: it has several inputs: give it one")
    sample = torch.zeros(BATCH, *input_shape)
    with torch.no_grad():
        try:
            traced.forward(sample)  # called, it would print a traceback of its own
        except Exception as error:  # and with these samples
            raise InputError(
                f"network: it refuses samples of shape {tuple(input_shape)}: {reason(error)}: "
                "check the data's shape"
            ) from error
        ShapeProp(traced).propagate(sample)
    return traced


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Traced shape, with the batch; None where the node yields no tensor."""
    found = getattr(node.meta.get("tensor_meta"), "shape", None)
    return None if found is None else tuple(found)


def read_call(node: fx.Node, module: nn.Module | None) -> Call | None:
    """Find out what a node does.

    Parameters
    ----------
    node : fx.Node
        A node that calls something.
    module : nn.Module or None
        The module it calls, where it calls one.

    Returns
    -------
    Call or None
        ``None`` for anything edgegrow does not know.
    """
    if module is not None:
        return _read_module(module, node.args[0]) if node.args else None
    adapter = _METHODS.get(node.target) if node.op == "call_method" else _FUNCTIONS.get(node.target)
    try:
        return None if adapter is None else adapter(*node.args, **node.kwargs)
    except TypeError:  # arguments that the adapter does not take
        return None


def _read_module(module: nn.Module, x: Any) -> Call | None:
    if kind := _ACTIVATIONS.get(layer_class(module)):
        return Call(kind, (x,), in_place=getattr(module, "inplace", False))
    match module:
        case nn.Conv1d() | nn.Conv2d():
            return Call("conv", (x,), module)
        case nn.Linear():
            return Call("linear", (x,), module)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return Call("norm", (x,), module)
        case nn.Identity() | nn.Dropout() | nn.Dropout1d() | nn.Dropout2d():
            return Call("keep", (x,))
        case nn.Flatten() | nn.Unflatten():
            return Call("reshape", (x,))
        case nn.Upsample():
            return _upsample(x, module.size, module.scale_factor, module.mode)
        case nn.ConstantPad1d() | nn.ConstantPad2d() if module.value == 0:  # ZeroPad is a ConstantPad
            return Call("pad", (x,), tuple(module.padding))
        case nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d():
            return Call("global", (x,), module.output_size)
        case nn.AvgPool1d() | nn.AvgPool2d() if getattr(module, "divisor_override", None) is None:
            return _average(
                x, module.kernel_size, module.stride, module.padding, False, module.count_include_pad
            )
        case nn.MaxPool1d() | nn.MaxPool2d():
            return _max(x, module.kernel_size, module.stride, module.padding, module.dilation)
    return None


def _activation(kind: Kind, changes: bool = False) -> Callable[..., Call]:
    """Adapter of an activation's function or method."""

    def adapt(input: Any, inplace: bool = False) -> Call:
        return Call(kind, (input,), in_place=inplace or changes)

    return adapt


def _of_two(kind: Kind, changes: bool = False) -> Callable[..., Call | None]:
    """Adapter of an addition or a product, of two tensors alone."""

    def adapt(input: Any, other: Any) -> Call | None:
        tensors = isinstance(input, fx.Node) and isinstance(other, fx.Node)
        return Call(kind, (input, other), in_place=changes) if tensors else None

    return adapt


def _cat(tensors: Any, dim: int = 0) -> Call:
    return Call("cat", tuple(tensors), dim)


def _index(input: Any, index: Any) -> Call | None:
    """Only new axes may be put in: ``x[:, :, None, None]``."""
    indices = index if isinstance(index, tuple) else (index,)
    whole = all(item is None or item is Ellipsis or item == slice(None) for item in indices)
    return Call("reshape", (input,)) if whole else None


def _upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **others: Any
) -> Call | None:
    return Call("upsample", (input,), scale_factor) if mode.startswith("nearest") else None


def _pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Call | None:
    return Call("pad", (input,), tuple(pad)) if mode == "constant" and not value else None


# A ceil_mode that matters shows in the shape of the output, which `lower` compares.
def _average(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Call:
    pooling = Pooling(kernel_size, stride or kernel_size, padding, padding_counts=count_include_pad)
    return Call("average", (input,), pooling)


def _max(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Call | None:
    if return_indices:
        return None
    return Call("max", (input,), Pooling(kernel_size, stride or kernel_size, padding, dilation))


def _mean(input: Any, dim: Any, keepdim: bool = False) -> Call:
    return Call("mean", (input,), dim)


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Call:
    return Call("keep", (input,))


# What becomes of the shape is traced.
def _reshape(input: Any, *shape: Any, **dims: Any) -> Call:
    return Call("reshape", (input,))


def _expand(input: Any, *shape: Any) -> Call:
    return Call("expand", (input,))


_ACTIVATIONS: dict[type[nn.Module] | None, Kind] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardsigmoid: "hard_sigmoid",
    nn.Hardswish: "hard_swish",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
}
_FUNCTIONS: dict[Any, Callable[..., Call | None]] = {
    torch.relu: _activation("relu"),
    F.relu: _activation("relu"),
    F.relu6: _activation("relu6"),
    torch.sigmoid: _activation("sigmoid"),
    F.sigmoid: _activation("sigmoid"),
    torch.tanh: _activation("tanh"),
    F.tanh: _activation("tanh"),
    F.silu: _activation("silu"),
    F.hardsigmoid: _activation("hard_sigmoid"),
    F.hardswish: _activation("hard_swish"),
    operator.add: _of_two("add"),
    operator.iadd: _of_two("add", changes=True),
    torch.add: _of_two("add"),
    operator.mul: _of_two("mul"),
    operator.imul: _of_two("mul", changes=True),
    torch.mul: _of_two("mul"),
    torch.multiply: _of_two("mul"),
    torch.cat: _cat,
    torch.concat: _cat,
    torch.concatenate: _cat,
    operator.getitem: _index,
    torch.flatten: _reshape,
    torch.reshape: _reshape,
    torch.unsqueeze: _reshape,
    torch.squeeze: _reshape,
    torch.mean: _mean,
    F.dropout: _dropout,
    F.pad: _pad,
    F.interpolate: _upsample,
    F.avg_pool1d: _average,
    F.avg_pool2d: _average,
    F.max_pool1d: _max,
    F.max_pool2d: _max,
    F.adaptive_avg_pool1d: lambda input, output_size: Call("global", (input,), output_size),
    F.adaptive_avg_pool2d: lambda input, output_size: Call("global", (input,), output_size),
}
_METHODS: dict[Any, Callable[..., Call | None]] = {
    "relu": _activation("relu"),
    "relu_": _activation("relu", changes=True),
    "sigmoid": _activation("sigmoid"),
    "sigmoid_": _activation("sigmoid", changes=True),
    "tanh": _activation("tanh"),
    "tanh_": _activation("tanh", changes=True),
    "add": _of_two("add"),
    "add_": _of_two("add", changes=True),
    "mul": _of_two("mul"),
    "mul_": _of_two("mul", changes=True),
    "flatten": _reshape,
    "unflatten": _reshape,
    "view": _reshape,
    "reshape": _reshape,
    "unsqueeze": _reshape,
    "squeeze": _reshape,
    "expand": _expand,
    "expand_as": _expand,
    "contiguous": lambda input: Call("keep", (input,)),
    "mean": _mean,
}


def describe(node: fx.Node, module: nn.Module | None) -> str:
    """Name a node for a message: its place and what it is."""
    if module is not None:
        return f"{node.target} ({type(module).__name__})"
    path, owner = _place(node)
    if extended_layer(node):
        return f"{path} ({owner.__name__}, which has a forward of its own)"
    what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"{path + '.' if path else ''}{node.name} ({what})"


def extended_layer(node: fx.Node) -> type[nn.Module] | None:
    """Find the layer of torch.nn that the module extends in whose own forward a node is; None elsewhere."""
    return None if node.op == "call_module" else layer_base(_place(node)[1])


def _place(node: fx.Node) -> tuple[str, type[nn.Module]]:
    """Path and class of the module in whose forward a node is; the network has an empty path."""
    stack = node.meta.get("nn_module_stack") or {"": ("", nn.Module)}
    path, owner = next(reversed(stack.values()))
    return path, owner
