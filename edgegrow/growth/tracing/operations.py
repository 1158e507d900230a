"""What a node of a traced network does, by one name whether it is a module, a function or a method."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn import functional as F

from edgegrow.tracer import is_torch_function, layer_class

CONVS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}

_ELEMENTWISE = (
    "relu relu6 silu gelu tanh sigmoid logsigmoid softplus softsign hardswish hardsigmoid hardtanh "
    "leaky_relu elu selu celu mish tanhshrink softshrink hardshrink clamp clip abs neg exp sqrt square pow "
    "identity contiguous clone float half double detach "
    "dropout dropout1d dropout2d alpha_dropout feature_alpha_dropout"
)
_BINARY = "add sub rsub mul multiply div divide truediv true_divide maximum minimum"
_SPATIAL = (
    "max_pool1d max_pool2d avg_pool1d avg_pool2d lp_pool1d lp_pool2d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_max_pool1d adaptive_max_pool2d "
    "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d constant_pad1d constant_pad2d "
    "zero_pad1d zero_pad2d circular_pad1d circular_pad2d "
    "upsample upsampling_nearest2d upsampling_bilinear2d interpolate "
)
_NAMED = (
    dict.fromkeys(_ELEMENTWISE.split(), "elementwise")
    | dict.fromkeys(_BINARY.split(), "binary")
    | dict.fromkeys(_SPATIAL.split(), "spatial")
    | dict.fromkeys(("cat", "concat", "concatenate"), "cat")
    | dict.fromkeys(("mean", "sum", "amax", "amin"), "reduce")
    | dict.fromkeys(("softmax", "log_softmax", "softmin"), "softmax")
    | dict.fromkeys(("transpose", "swapaxes", "swapdims", "permute"), "permute")
    | dict.fromkeys(("view", "reshape", "flatten", "unflatten"), "reshape")
    | dict.fromkeys(("chunk", "split", "tensor_split"), "chunk")
    | dict.fromkeys(("expand", "expand_as"), "expand")
    | {name: name for name in ("squeeze", "unsqueeze", "pad", "getitem", "stack")}
    | {name: name for name in ("channel_shuffle", "pixel_shuffle", "pixel_unshuffle")}
)

_KINDS = {name.replace("_", ""): kind for name, kind in _NAMED.items()}
_IN_PLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}


def name_of(node: fx.Node, module: nn.Module | None) -> str:
    """Name what a node calls, without underscores: ``maxpool2d`` for module, function and method alike.

    A function that is not PyTorch's own is named with a dot in front.
    """
    if module is not None:
        return (layer_class(module) or type(module)).__name__.lower()
    name = str(getattr(node.target, "__name__", node.target))
    own = node.op == "call_method" or is_torch_function(node.target)
    plain = name.replace("_", "").lower()
    return _IN_PLACE.get(plain, plain) if own else f".{name}"


def kind_of(node: fx.Node, module: nn.Module | None) -> str:
    """Class of operations that move channels alike; empty for one that is not known."""
    if module is not None:
        if isinstance(module, (*CONVS, nn.Linear)):
            return "layer"
        if isinstance(module, TRANSPOSED):
            return "transposed"
        if isinstance(module, (*NORMS, nn.GroupNorm, nn.PReLU)):
            return "norm"
        if isinstance(module, nn.LayerNorm):
            return "layernorm"
        if layer_class(module) is None:
            return ""
    return _KINDS.get(name_of(node, module), "")


def describe(node: fx.Node, module: nn.Module | None) -> str:
    """Name a node for a message: what it is, and its place in the network."""
    what = type(module).__name__ if module is not None else getattr(node.target, "__name__", node.target)
    return f"{what} ({node.target if module is not None else node.name})"


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """Argument of a call, however it was given; the tensor itself is at position 0."""
    if name in node.kwargs:
        return node.kwargs[name]
    return node.args[position] if len(node.args) > position else default
