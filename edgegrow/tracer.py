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

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
"""Kinds of arguments that inputs can be."""

_EMPTY: dict[Any, type] = {inspect.Parameter.VAR_POSITIONAL: tuple, inspect.Parameter.VAR_KEYWORD: dict}
"""Makes what ``*args`` and ``**kwargs`` are where nothing is given."""

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

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Take arguments behind the inputs as nothing but their defaults; torch.fx makes inputs of all."""
        function, made = super().create_args_for_root(root_fn, is_module, concrete_args)
        parameters = inspect.signature(inspect.unwrap(root_fn)).parameters
        inputs = 0
        for place, one in enumerate(made):
            if not isinstance(one, fx.Proxy):
                continue
            parameter = parameters[str(one.node.target).lstrip("*")]
            if parameter.kind in _NAMED and inputs < self._inputs:
                inputs += 1
                continue
            empty = _EMPTY.get(parameter.kind)
            default = parameter.default if empty is None else empty()
            if default is not inspect.Parameter.empty:  # what has none says so when the network is run
                made[place] = default
                self.graph.erase_node(one.node)
        if inputs < self._inputs:
            raise TypeError(f"its forward names {inputs} of {self._inputs} inputs: name them all")
        return function, made

    def create_proxy(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *more: Any, **others: Any
    ) -> fx.Proxy:
        """Call layers and functions of torch by place where their input is given by its name."""
        known = kind == "call_module" or (kind == "call_function" and is_torch_function(target))
        if known and not args and "input" in kwargs:
            args = (kwargs["input"],)
            kwargs = {name: value for name, value in kwargs.items() if name != "input"}
        return super().create_proxy(kind, target, args, kwargs, *more, **others)


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
