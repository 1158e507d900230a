"""Wide kernels of a traced network, and how they are narrowed to three taps an axis.

The centre taps are kept, and the padding shrinks by what the outer ones saw beyond: every output stays where
it was, and is the same if the outer taps are zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.groups import retrace
from edgegrow.growth.moves.insertion import PREFIX, Insertion, input_shapes
from edgegrow.growth.surgery import Momenta, take_entries
from edgegrow.growth.tracing.operations import argument

TAPS = 3
"""Of a narrowed kernel, along each axis."""

_PADS = (nn.ConstantPad1d, nn.ConstantPad2d)  # ZeroPad is a ConstantPad


@dataclass(frozen=True)
class WideKernel:
    """A convolution that can be narrowed.

    Attributes
    ----------
    node : fx.Node
        Its first call.
    conv : nn.Conv1d or nn.Conv2d
    outer : tuple of int
        Taps to be dropped at each end, by axis of the kernel; 0 where it stays as it is.
    ahead : tuple of bool
        By axis, whether the padding to be taken off is that of a pad in front, not the convolution's own.
    """

    node: fx.Node
    conv: nn.Conv1d | nn.Conv2d
    outer: tuple[int, ...]
    ahead: tuple[bool, ...]

    def kept(self, axis: int) -> torch.Tensor:
        """Places of the taps that are kept along an axis of the kernel."""
        taps, outer = self.conv.weight.shape[2 + axis], self.outer[axis]
        return torch.arange(outer, taps - outer)

    def centre(self, tensor: torch.Tensor) -> torch.Tensor:
        """Entries of a tensor shaped like the weight that belong to the kept taps."""
        for axis in range(len(self.outer)):
            tensor = tensor.index_select(2 + axis, self.kept(axis))
        return tensor


def find_wide(network: NetworkTrace) -> list[WideKernel]:
    """Find the convolutions that can be narrowed, in the order of execution; not those of inserted blocks.

    A kernel is narrowed along an axis on which it has an odd number of taps above three, and zeros that can
    be taken off: its own, or those of a pad right in front that nothing else reads. Where taking them off
    would change the output's size, or a weight is another layer's too, all stays as it is.
    """
    nodes = list(network.graph.graph.nodes)
    calls = Counter(str(node.target) for node in nodes if node.op in ("call_module", "get_attr"))
    owners = Counter(id(p) for m in network.graph.modules() for p in m._parameters.values() if p is not None)
    found: dict[str, WideKernel] = {}
    for node in nodes:
        name = str(node.target)
        conv = network.module(name) if node.op == "call_module" else None
        if not isinstance(conv, (nn.Conv1d, nn.Conv2d)) or name in found or name.startswith(PREFIX):
            continue
        weight = conv._parameters.get("weight")
        if weight is None or owners[id(weight)] > 1 or calls[f"{name}.weight"]:
            continue
        pads = _pads_ahead(network, node, calls) if calls[name] == 1 else ()
        axes = [_narrowed(conv, axis, pads) for axis in range(weight.ndim - 2)]
        if any(outer for outer, _ in axes):
            found[name] = WideKernel(node, conv, tuple(n for n, _ in axes), tuple(a for _, a in axes))
    return list(found.values())


def find_trim(network: NetworkTrace) -> list[Insertion]:
    """Record of narrowing a network's kernels, named by the first; none where there are none to narrow."""
    return [Insertion(wide.node.name, "trim") for wide in find_wide(network)[:1]]


@torch.no_grad()
def narrow_kernels(
    network: NetworkTrace,
    state: Momenta | None = None,
    directions: dict[nn.Parameter, torch.Tensor] | None = None,
) -> NetworkTrace:
    """Narrow every kernel that can be to its centre taps; the function changes by what the others did.

    Parameters
    ----------
    network : NetworkTrace
        The network; changed in place.
    state : mapping, optional
        The optimiser's ``state``.
    directions : dict, optional
        Tensors shaped like the weights, by weight; they are narrowed alike.

    Returns
    -------
    NetworkTrace
        The network as it is now. All names, widths and shapes of outputs stay.
    """
    state = {} if state is None else state
    directions = {} if directions is None else directions
    for wide in find_wide(network):
        conv, weight = wide.conv, cast("nn.Parameter", wide.conv.weight)
        if weight in directions:
            directions[weight] = wide.centre(directions[weight])
        for axis, outer in enumerate(wide.outer):
            take_entries(weight, wide.kept(axis), 2 + axis, state)
            less = outer * conv.dilation[axis]
            if wide.ahead[axis]:
                _shrink_ahead(network, wide, axis, less)
            elif not isinstance(conv.padding, str):
                conv.padding = tuple(n - less * (a == axis) for a, n in enumerate(conv.padding))
        conv.kernel_size = tuple(weight.shape[2:])
    network.graph.graph.lint()
    network.graph.recompile()
    return retrace(network.graph, input_shapes(network))


def _narrowed(conv: nn.Conv1d | nn.Conv2d, axis: int, pads: Sequence[int]) -> tuple[int, bool]:
    """Taps to drop at each end of an axis, and whether the padding to take off is the one in front."""
    taps = conv.weight.shape[2 + axis]
    if taps <= TAPS or taps % 2 == 0 or conv.padding_mode != "zeros":
        return 0, False
    outer = (taps - TAPS) // 2
    less = outer * conv.dilation[axis]
    if conv.padding == "same" or (conv.padding != "valid" and int(conv.padding[axis]) >= less):
        return outer, False
    first = _place(conv, axis)
    if len(pads) > first + 1 and min(pads[first : first + 2]) >= less:
        return outer, True
    return 0, False


def _place(conv: nn.Module, axis: int) -> int:
    """Place of an axis's first entry in PyTorch's list of paddings, which begins with the last axis."""
    return 2 * (len(conv.weight.shape) - 3 - axis)  # type: ignore[arg-type]


def _pads_ahead(network: NetworkTrace, node: fx.Node, calls: Counter[str]) -> Sequence[int]:
    """Read what a pad right in front of a node adds, if it is constant and only the node reads it."""
    pad = node.all_input_nodes[0]
    if len(pad.users) > 1:
        return ()
    if pad.op == "call_module":
        module, once = network.module(str(pad.target)), calls[str(pad.target)] == 1
        return module.padding if isinstance(module, _PADS) and once else ()
    if pad.target is not F.pad or argument(pad, 2, "mode", "constant") != "constant":
        return ()
    pads = argument(pad, 1, "pad")
    return pads if isinstance(pads, (list, tuple)) and all(isinstance(n, int) for n in pads) else ()


def _shrink_ahead(network: NetworkTrace, wide: WideKernel, axis: int, less: int) -> None:
    """Take padding off both ends of an axis, of the pad in front."""
    pad, first = wide.node.all_input_nodes[0], _place(wide.conv, axis)
    module = network.module(str(pad.target)) if pad.op == "call_module" else None
    before: Sequence[int] = argument(pad, 1, "pad") if module is None else module.padding  # type: ignore[assignment]
    after = tuple(n - less * (first <= place <= first + 1) for place, n in enumerate(before))
    if module is not None:
        module.padding = after  # type: ignore[assignment]
    elif "pad" in pad.kwargs:
        pad.update_kwarg("pad", after)
    else:
        pad.update_arg(1, after)
