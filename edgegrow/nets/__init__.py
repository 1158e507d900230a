"""Seed networks: where growth starts.

Each is a plain ``nn.Module`` built from ``(input_shape, classes, widths)``; nothing in it knows of growth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

from edgegrow.errors import InputError, reason
from edgegrow.plugins import import_function

if TYPE_CHECKING:
    from torch import nn

NETS = {
    "mlp": "edgegrow.nets.mlp:MLP",
    "conv1d": "edgegrow.nets.conv1d:Conv1dNet",
    "dscnn": "edgegrow.nets.separable:dscnn",
    "mobilenet": "edgegrow.nets.separable:mobilenet",
    "resnet8": "edgegrow.nets.resnet:ResNet8",
}
"""Built-in networks: name -> ``module:function``, imported when asked for."""

_DIMENSIONS = {"conv1d": 2, "dscnn": 3, "mobilenet": 3, "resnet8": 3}


@dataclass(frozen=True)
class SeedNetwork:
    """A network that can be built at several widths.

    Attributes
    ----------
    name : str
        A name of `NETS`, or ``module:function``.
    builder : callable
        ``(input_shape, classes)``, and ``widths`` where it takes them, to a module.
    widths : tuple of int or None
        The builder's default widths: the proportions a seed keeps. ``None`` where it takes no ``widths``; it
        then has one size only, at which growth starts.
    """

    name: str
    builder: Callable[..., nn.Module]
    widths: tuple[int, ...] | None

    def build(
        self, input_shape: Sequence[int], classes: int, widths: Sequence[int] | None = None
    ) -> nn.Module:
        """Build the module for ``(c, h, w)``, ``(c, length)`` or ``(features,)`` samples.

        Raises
        ------
        InputError
            Where the data's shape does not suit the network, or a user's function fails.
        """
        needed = _DIMENSIONS.get(self.name)
        if needed is not None and len(input_shape) != needed:
            wants = "(c, h, w) images" if needed == 3 else "(c, length) signals"
            raise InputError(
                f"net {self.name}: it takes {wants}, the data has shape {tuple(input_shape)}: "
                "choose another --net (mlp takes any shape)"
            )
        options = {} if self.widths is None else {"widths": tuple(widths or self.widths)}
        try:
            module = self.builder(tuple(input_shape), classes, **options)
        except (Exception, SystemExit) as error:  # a user's function may fail in any way
            if self.name in NETS and widths is None:
                raise
            raise InputError(f"net {self.name}: building it failed: {reason(error)}") from error
        from torch import nn

        if not isinstance(module, nn.Module):
            raise InputError(f"net {self.name}: it returned {type(module).__name__}, not an nn.Module")
        return module


def load_net(name: str) -> SeedNetwork:
    """Find a network by the name of `NETS` or as ``module:function`` on the Python path.

    Raises
    ------
    InputError
        If there is no such network.
    """
    function = import_function(
        NETS.get(name, name), f"net {name}", f"choose {', '.join(NETS)} or module:function"
    )
    widths = signature(function).parameters.get("widths")
    if widths is None or widths.default is widths.empty:
        return SeedNetwork(name, function, None)
    default = widths.default
    whole = isinstance(default, tuple | list) and all(type(n) is int and n > 0 for n in default)
    if not whole or not default:
        raise InputError(f"net {name}: its widths are {default!r} by default: make them a tuple of numbers")
    return SeedNetwork(name, function, tuple(default))
