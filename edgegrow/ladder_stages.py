"""What growth keeps on its way to each rung of a ladder, and in what strides it goes there.

Two targets may rank networks differently, and growth takes nothing back: a network that a later target has no
room for would leave none to deliver there. So on its way to a target's rung growth keeps the limits of that
target and of all that come after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, log, nan
from typing import Any

from edgegrow.budget import FILLED
from edgegrow.cost.layers import count_macs
from edgegrow.errors import InputError
from edgegrow.growth.allocations import Pricing
from edgegrow.growth.architecture import Records
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.joint import join_costs, joined
from edgegrow.growth.select import share
from edgegrow.ladder_targets import largest_macs
from edgegrow.setting import Setting

_STRIDE = 2.0
"""Ratio of costs that one growth step takes at most: rungs further apart are grown to in several. What each
step takes is missing from the rungs' own training."""


@dataclass(frozen=True)
class Stage:
    """What the growth to one rung keeps.

    Attributes
    ----------
    limits : dict
        ``{metric: upper bound}``.
    pricing : Pricing
        Prices networks in these metrics.
    """

    limits: dict[str, float]
    pricing: Pricing

    @classmethod
    def of(cls, settings: Mapping[str, Setting]) -> Stage:
        """Join what several targets allow, that of the rung first, ``{name of the rung: setting}``."""
        return cls(
            joined({name: setting.limits for name, setting in settings.items()}),
            lambda records: join_costs({name: one.pricing(records) for name, one in settings.items()}),
        )

    def way_from(self, trace: NetworkTrace, insertions: Records) -> dict[str, object]:
        """Tell what a network takes of these limits, as ``costs``, and by what ``ratio`` it is to grow.

        That is the size of the largest network of its proportions by its own: costs of several metrics have
        no common ratio, and some hardly depend on widths.
        """
        costs, widths = self.pricing(insertions), trace.widths()
        layers = trace.shapes(widths)
        ratio = largest_macs(trace, widths, costs, self.limits) / count_macs(layers)
        return {"costs": dict(costs(layers)), "ratio": max(1.0, ratio)}


def read_way(event: Mapping[str, Any], limits: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Read back what `Stage.way_from` has told of a rung that growth has passed.

    Parameters
    ----------
    event : mapping
        The rung's, as the history of the ladder has it.
    limits : mapping
        Of the stage that follows.

    Returns
    -------
    costs, ratio
        Where growth to these limits starts, and how far it is.

    Raises
    ------
    InputError
        If that is missing or damaged.
    """
    try:
        way = event["onward"]
        costs, ratio = {metric: float(way["costs"][metric]) for metric in limits}, float(way["ratio"])
    except (KeyError, TypeError, ValueError):
        costs, ratio = {}, nan
    if not (1 <= ratio < inf and all(0 < cost < inf for cost in costs.values())):
        raise InputError(f"rung {event['name']}: its event does not tell how growth goes on: grow anew")
    return costs, ratio


def strides(start: Mapping[str, float], limits: Mapping[str, float], ratio: float) -> list[dict[str, float]]:
    """Lay limits out evenly from what the rung below takes, or may take, to those of a rung.

    Parameters
    ----------
    start, limits : mapping
        ``{metric: value}``.
    ratio : float
        Of the costs at the two ends.

    Returns
    -------
    list of dict
        The last are those of the rung.
    """
    count = ceil(log(ratio) / log(_STRIDE) - 1e-9)
    parts = [step / count for step in range(1, count)]
    between = [{m: start[m] ** (1 - part) * limits[m] ** part for m in limits} for part in parts]
    return [*between, dict(limits)]


def held_back(settings: Mapping[str, Setting], trace: NetworkTrace, insertions: Records) -> str:
    """Tell in words which later target leaves the first one's limits unfilled; nothing where none does.

    Parameters
    ----------
    settings : mapping
        ``{name of the rung: setting}`` of the rung that growth has come to, and of those after it.
    trace : NetworkTrace
        As grown.
    insertions : Records
        Blocks that it has.
    """
    layers = trace.shapes(trace.widths())
    used = {name: share(one.pricing(insertions)(layers), one.limits) for name, one in settings.items()}
    name, tightest = next(iter(used)), max(used, key=lambda name: used[name])
    if used[name] >= FILLED or tightest == name:
        return ""
    return (
        f"{100 * used[name]:.1f} % of its limits is used, as {tightest}, whose network grows out of this "
        f"one, is at {100 * used[tightest]:.1f} % of its own: a growth for {name} alone fills them"
    )
