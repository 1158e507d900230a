"""Widths in given proportions that fill a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Widths = dict[str, int]

_BISECTIONS, _WIDEST = 40, 64.0
"""Halvings of the scale's interval, and its upper end."""

_STAIRCASE = 1.3
"""Scales above the bisected one that are tried too: where costs are staircases, wider can be cheaper."""


def proportional_widths(
    own: Mapping[str, int],
    least: Mapping[str, int],
    share_used: Callable[[Mapping[str, int]], float],
    most: Mapping[str, int] | None = None,
) -> Widths | None:
    """Find the widest network of some proportions that keeps every limit.

    The scale is the largest whose costs keep the limits; what is left is filled by single channels, each
    given to the group that a larger scale would round up next.

    Parameters
    ----------
    own : mapping
        ``{group name: channels}``: the proportions.
    least : mapping
        Least channels of each group.
    share_used : callable
        The largest share of any limit that a network of some widths takes: 1 at a limit.
    most : mapping, optional
        Most channels of each group.

    Returns
    -------
    dict or None
        ``{group name: channels}``; None where even the narrowest network is above a limit.
    """

    def scaled(scale: float) -> Widths:
        wide = {name: max(least[name], round(scale * width)) for name, width in own.items()}
        return wide if most is None else {name: min(width, most[name]) for name, width in wide.items()}

    if share_used(least) > 1:
        return None
    low, high = 0.0, _WIDEST
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if share_used(scaled(middle)) <= 1 else (low, middle)
    for scale in _roundings(own, low, _STAIRCASE * low):
        if share_used(scaled(scale)) <= 1:
            low = scale
    widths = scaled(low)
    while True:
        for name in sorted(own, key=lambda name: (widths[name] + 0.5) / own[name]):
            wider = {**widths, name: widths[name] + 1}
            if (most is None or wider[name] <= most[name]) and share_used(wider) <= 1:
                widths = wider
                break
        else:
            return widths


def _roundings(own: Mapping[str, int], low: float, high: float) -> list[float]:
    """Scales between two at which some group's width is rounded to one channel more."""
    found = (
        (channels + 0.5) / width * (1 + 1e-9)
        for width in own.values()
        for channels in range(int(low * width), int(high * width) + 1)
    )
    return sorted({scale for scale in found if low < scale <= high})
