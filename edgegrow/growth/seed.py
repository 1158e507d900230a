"""The network that growth starts from: the seed network, scaled to a share of the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch

from edgegrow.errors import InputError
from edgegrow.growth.groups import NetworkTrace, trace
from edgegrow.growth.select import CostModel
from edgegrow.nets import SeedNetwork
from edgegrow.units import format_budget, format_quantity

FIXED_PART = ("latency_ms", "flash_bytes", "ram_bytes")
"""Metrics of which code and calls take a part, however narrow the network is; shares are of what is left."""

NARROWEST = 2
"""Least channels of a layer that a seed is scaled down to."""

_BISECTIONS = 12
"""Halvings of the scale's interval: widths of up to a thousand channels are then exact."""


def build_network(
    net: SeedNetwork, input_shape: tuple[int, ...], classes: int, widths: Sequence[int] | None, seed: int
) -> NetworkTrace:
    """Build and trace a network whose initial weights are the seed's.

    Parameters
    ----------
    net : SeedNetwork
        What to build.
    input_shape, classes
        Of the data: ``(c, h, w)``, ``(c, length)`` or ``(features,)``.
    widths : sequence of int or None
        The net's own, where ``None``.
    seed : int
        For the initial weights; the global random state is left alone.

    Raises
    ------
    InputError
        If the network takes no widths, cannot be built or traced, has parameters that are frozen or of
        another type than float32, or does not return a logit for each class.
    """
    if widths is not None and net.widths is None:
        raise InputError(f"net {net.name}: it takes no widths: leave net.widths out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = net.build(input_shape, classes, widths)
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    if frozen:
        raise InputError(f"net {net.name}: {frozen[0]} is frozen: growing trains all parameters")
    for name, parameter in module.named_parameters():
        kind, place = str(parameter.dtype).removeprefix("torch."), parameter.device.type
        if (kind, place) != ("float32", "cpu"):
            raise InputError(
                f"net {net.name}: {name} is {kind} on {place}: edgegrow trains float32 networks on the CPU: "
                "return module.float().cpu()"
            )
    traced = trace(module, input_shape)
    returned = tuple(traced.output_shape[1:])
    if returned != (classes,):
        raise InputError(
            f"net {net.name}: it returns {returned or 'one number'} for a sample, the data has {classes} "
            f"classes: return ({classes},) logits"
        )
    return traced


def plant_seed(
    net: SeedNetwork,
    input_shape: tuple[int, ...],
    classes: int,
    costs: CostModel,
    limits: Mapping[str, float],
    fraction: float,
    seed: int,
    widths: Sequence[int] | None = None,
) -> NetworkTrace:
    """Build the network that growth starts from.

    Its widths are the net's own, scaled alike to the widest that costs at most ``fraction`` of every limit,
    or the narrowest where that is still above. Of latency and memory, what the narrowest takes is left out of
    account.

    Parameters
    ----------
    net : SeedNetwork
        What to build.
    input_shape, classes
        Of the data: ``(c, h, w)``, ``(c, length)`` or ``(features,)``.
    costs, limits
        Price networks, and bound the grown one.
    fraction : float
        Of the limits.
    seed : int
        For the initial weights.
    widths : sequence of int, optional
        Instead of scaling.

    Raises
    ------
    InputError
        If even the smallest seed is above a limit: the message has the nearest budget that is not impossible.
    """

    def build(widths: Sequence[int] | None) -> NetworkTrace:
        return build_network(net, input_shape, classes, widths, seed)

    @cache  # scales close to each other round to the same widths
    def price(widths: tuple[int, ...]) -> Mapping[str, float]:
        traced = build(widths)
        return costs(traced.shapes(traced.widths()))

    def excess(widths: tuple[int, ...], fixed: Mapping[str, float]) -> float:
        """Largest cost relative to its limit's share."""
        priced = price(widths)
        shares = {
            m: fixed.get(m, 0.0) + fraction * (limit - fixed.get(m, 0.0)) for m, limit in limits.items()
        }
        return max(priced[metric] / bound for metric, bound in shares.items())

    def scaled(scale: float) -> tuple[int, ...]:
        assert net.widths is not None
        return tuple(max(NARROWEST, round(width * scale)) for width in net.widths)

    chosen = widths
    if widths is None and net.widths is not None:
        priced = price(scaled(0))
        fixed = {m: priced[m] for m in FIXED_PART if m in limits and priced[m] < limits[m]}
        low, high = 0.0, 1.0
        while excess(scaled(high), fixed) < 1 and high < 64:
            low, high = high, 2 * high
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            within = excess(scaled(middle), fixed) <= 1
            low, high = (middle, high) if within else (low, middle)
        chosen = scaled(low)
    planted = build(chosen)
    _check_possible(net, chosen, costs(planted.shapes(planted.widths())), limits)
    if not planted.growable:
        reasons = "; ".join(f"{group.name}: {group.fixed}" for group in planted.groups)
        raise InputError(f"net {net.name}: no channel group can grow ({reasons})")
    return planted


def _check_possible(
    net: SeedNetwork, widths: Sequence[int] | None, needed: Mapping[str, float], limits: Mapping[str, float]
) -> None:
    """Refuse a budget that the network growth would start from is above of already."""
    metric = max(limits, key=lambda metric: needed[metric] / limits[metric])
    if needed[metric] <= limits[metric]:
        return
    size = f"at widths {', '.join(map(str, widths))}" if widths else "as it is built"
    nearest = {metric: max(limit, needed[metric]) for metric, limit in limits.items()}
    takes, limit = (format_quantity(metric, value[metric]) for value in (needed, limits))
    raise InputError(
        f"budget {metric}: impossible: net {net.name} {size} needs {takes}, the limit is {limit}: raise "
        f"the budget to {format_budget(nearest)} at least, or choose a smaller --net or another --target"
    )
