"""How torch.fx traces a network: down to the layers of torch.nn, and to classes that inherit one."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from edgegrow.errors import UnsupportedError, reason

_EMPTY: dict[Any, Any] = {inspect.Parameter.VAR_POSITIONAL: (), inspect.Parameter.VAR_KEYWORD: {}}
"""What ``*args`` and ``**kwargs`` are where nothing is given."""

_COMPUTING = ("forward", "_conv_forward", "__call__")

_PARAMETRIZATIONS = ("weight_norm", "spectral_norm")
"""Set a weight by a hook where they are of torch.nn.utils, and by none where of its ``parametrizations``."""


def layer_base(kind: type[nn.Module]) -> type[nn.Module] | None:
    """Find the layer of torch.nn that a class is or extends; None where it extends none, or a container."""
    bases = (base for base in kind.__mro__ if issubclass(base, nn.Module))
    base = next(base for base in bases if base.__module__.startswith("torch.nn.modules."))
    container = base.forward is nn.Module.forward or issubclass(base, nn.Sequential)
    return None if container else base


def layer_class(module: nn.Module) -> type[nn.Module] | None:
    """Find the layer of torch.nn that a module computes; None where it computes something of its own."""
    kind, base = type(module), layer_base(type(module))
    inherits = all(getattr(kind, name, None) is getattr(base, name, None) for name in _COMPUTING)
    return base if inherits and "forward" not in vars(module) else None


def is_torch_function(target: Any) -> bool:
    """Whether what a node calls is a function of PyTorch, or an operator of Python."""
    name = getattr(target, "__name__", str(target))
    return any(getattr(place, name, None) is target for place in (torch, F, operator))


def symbolic_trace(module: nn.Module, inputs: int = 1) -> fx.GraphModule:
    """Trace a network, in the mode that it is in, to a graph that holds its own layers.

    Parameters
    ----------
    module : nn.Module
    inputs : int
        Arguments of its forward that are inputs; those behind them have their defaults.

    Raises
    ------
    UnsupportedError
        If torch.fx cannot trace it.
    """
    name = type(module).__name__
    try:
        return fx.GraphModule(module, _Tracer(inputs).trace(module), name)
    except Exception as error:  # whatever the user's forward does when it is traced
        raise UnsupportedError(
            f"network {name}: torch.fx cannot trace it ({reason(error)}): "
            "keep forward free of branches and loops that depend on its input or on its input's shape"
        ) from error


class _Tracer(fx.Tracer):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self._inputs = inputs

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return layer_class(m) is not None

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        """Take arguments behind the inputs as nothing but their defaults; torch.fx makes inputs of all."""
        root, _, *_ = args
        function, made = super().create_args_for_root(*args, **kwargs)
        parameters = inspect.signature(root).parameters
        proxies = [place for place, one in enumerate(made) if isinstance(one, fx.Proxy)]
        for number, place in enumerate(proxies):
            node = made[place].node
            parameter = parameters[str(node.target).lstrip("*")]
            default = _EMPTY.get(parameter.kind, parameter.default)
            if number < self._inputs:
                if parameter.kind in _EMPTY:
                    raise TypeError(f"its forward takes its input as {node.target}: name it")
            elif default is not inspect.Parameter.empty:  # what has none says so when the network is run
                made[place] = default
                self.graph.erase_node(node)
        return function, made


def check_hooks(module: nn.Module) -> None:
    """Refuse hooks of the network and of its layers, which tracing leaves out; those of containers it keeps.

    Raises
    ------
    UnsupportedError
        At the first one; names it and its place.
    """
    for path, owner in module.named_modules():
        if any(map(is_lazy, owner.parameters(recurse=False))):
            continue  # its own hook goes with its first input
        kind = type(owner).__name__
        place = f"layer {path} ({kind})" if path else f"network {kind}"
        for hook in (*owner._forward_pre_hooks.values(), *owner._forward_hooks.values()):
            name = getattr(hook, "__name__", type(hook).__name__)
            _, _, source = getattr(hook, "__module__", "").rpartition("torch.nn.utils.")
            if source in _PARAMETRIZATIONS:
                raise UnsupportedError(
                    f"{place}: torch.nn.utils.{source} sets its weight by a hook, which cannot be grown or "
                    f"deployed: use torch.nn.utils.parametrizations.{source}"
                )
            if not path or layer_class(owner):
                raise UnsupportedError(
                    f"{place}: it has a forward hook ({name}), which would not be deployed: do in the "
                    "network's forward what it does, or remove it"
                )
