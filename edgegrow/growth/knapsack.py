"""The knapsack of growth: levels of several groups under several limits whose costs are no sums.

An upper bound comes with the solution. It assumes that a channel costs no less where other groups are wider,
as it does in multiply-accumulates and parameters exactly, and in latency, energy and flash nearly: then the
costs of single groups, counted from the present widths upwards and from the widest downwards, add up to no
more than that of the whole. Peaks of memory only never shrink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from edgegrow.growth.menu import Menu

Levels = dict[str, int]
Price = Callable[[Mapping[str, int]], Mapping[str, float]]
"""Every metric of the network whose groups have gained some channels, ``{group: channels}``."""

PEAKS = ("ram_bytes",)
"""Metrics that are a maximum over a network's operators, and never a sum."""

_MOST_LEVELS = 64
"""Levels of a group that the programme tells apart; the others are reached when the choice is mended."""

_ROUNDS = 4
"""Times that costs are made linear anew."""

_NODES, _PRECISION = 300, 2e-3
"""Bounds of the branch and bound: nodes (its time would not repeat), and the gap at which it ends."""


class Knapsack:
    """Levels that promise most within every limit.

    Parameters
    ----------
    menus : mapping
        ``{group: Menu}``.
    price : callable
        Prices whole networks.
    limits : mapping
        ``{metric: upper bound}``.
    """

    def __init__(self, menus: Mapping[str, Menu], price: Price, limits: Mapping[str, float]) -> None:
        self.menus, self.limits, self._price = menus, limits, price
        self._known: dict[tuple[int, ...], Mapping[str, float]] = {}

    def price(self, levels: Mapping[str, int]) -> Mapping[str, float]:
        """Price a whole network, once."""
        key = tuple(levels[name] for name in self.menus)
        if key not in self._known:
            self._known[key] = self._price(levels)
        return self._known[key]

    def fits(self, levels: Mapping[str, int]) -> bool:
        """Whether every limit is kept."""
        price = self.price(levels)
        return all(price[metric] <= limit for metric, limit in self.limits.items())

    def promise(self, levels: Mapping[str, int]) -> float:
        """Sum of what the groups promise."""
        return sum(self.menus[name].promises[level] for name, level in levels.items())

    def solve(self) -> tuple[Levels, float]:
        """Return the levels, and what no levels within the limits can promise more than."""
        nothing = dict.fromkeys(self.menus, 0)
        if not self.fits(nothing):
            return nothing, 0.0
        most = {name: self._most(name, nothing) for name in self.menus}
        offered = {name: _thinned(menu.levels, most[name]) for name, menu in self.menus.items()}
        start, bound = self._programme(offered, [nothing, most])
        best = self._mended(start, nothing)
        anchor = best
        for _ in range(_ROUNDS):
            found, _ = self._programme(offered, [anchor])
            mended = self._mended(found, anchor)
            if self.promise(mended) <= self.promise(best):
                break
            best = anchor = mended
        return best, max(bound, self.promise(best))

    def _most(self, name: str, nothing: Levels) -> int:
        """Greatest level of a group that fits while no other grows; costs never shrink with it."""
        levels = self.menus[name].levels
        low, high = 0, len(levels)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.fits({**nothing, name: levels[middle]}) else (low, middle)
        return levels[low]

    def _programme(
        self, offered: Mapping[str, Sequence[int]], anchors: Sequence[Levels]
    ) -> tuple[Levels, float]:
        """Solve with costs that are exact where at most one group leaves an anchor: levels, and a bound."""
        variables = [(name, place) for name, levels in offered.items() for place in range(len(levels))]
        promises = [self._up_to_next(name, offered[name], place) for name, place in variables]
        rows, tops = [], []
        for anchor in anchors:
            base = self.price(anchor)
            prices = [self.price({**anchor, name: offered[name][place]}) for name, place in variables]
            for metric, limit in self.limits.items():
                if metric not in PEAKS:
                    rows.append([(price[metric] - base[metric]) / limit for price in prices])
                    tops.append(1 - base[metric] / limit)
        one_each = [[float(name == group) for name, _ in variables] for group in offered]
        constraints = [LinearConstraint(np.array(one_each), 1, 1)]
        if rows:
            constraints.append(LinearConstraint(np.array(rows), -np.inf, np.array(tops)))
        scale = max(promises, default=0.0) or 1.0
        solved = milp(
            -np.array(promises) / scale,
            integrality=np.ones(len(variables)),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"node_limit": _NODES, "mip_rel_gap": _PRECISION},
        )
        dual = solved.mip_dual_bound
        bound = sum(max(self.menus[name].promises.values()) for name in offered)
        if dual is not None and np.isfinite(dual):
            bound = min(bound, -dual * scale)
        if solved.x is None:  # no solution was found within the nodes, or rounding has left none
            return dict(anchors[0]), bound
        taken = [variables[i] for i in np.flatnonzero(solved.x > 0.5)]
        return {name: offered[name][place] for name, place in taken}, bound

    def _up_to_next(self, name: str, levels: Sequence[int], place: int) -> float:
        """Most that a level promises or one that is left out before the next, at its own, lower cost."""
        end = levels[place + 1] if place + 1 < len(levels) else levels[place] + 1
        return max(v for level, v in self.menus[name].promises.items() if levels[place] <= level < end)

    def _mended(self, levels: Mapping[str, int], within: Mapping[str, int]) -> Levels:
        """Lower levels until all limits are kept, where that loses least; then fill what is left."""
        mended = {name: levels[name] for name in self.menus}
        while not self.fits(mended):
            lower = [name for name in mended if mended[name] > 0]
            if not lower:
                return self._filled(dict(within))
            rates = {}
            for name in lower:
                option = {**mended, name: self.menus[name].previous(mended[name])}
                rates[name] = self._loss_rate(mended, option)
            name = min(rates, key=rates.__getitem__)
            mended[name] = self.menus[name].previous(mended[name])
        return self._filled(mended)

    def _excess(self, levels: Mapping[str, int]) -> float:
        price = self.price(levels)
        return sum(max(0.0, price[metric] / limit - 1) for metric, limit in self.limits.items())

    def _loss_rate(self, levels: Levels, option: Levels) -> tuple[float, float]:
        """Tell what is lost for each part of the excess that goes."""
        saved = self._excess(levels) - self._excess(option)
        lost = self.promise(levels) - self.promise(option)
        return (lost / saved, lost) if saved > 0 else (np.inf, lost)

    def _filled(self, levels: Levels) -> Levels:
        """Raise levels one by one, by what they promise for their price, until no one fits.

        Then two together are tried: a file keeps equal vectors once, so that groups of equal width can fit
        where neither does alone.
        """
        while True:
            best = self._best_rise(levels, 1) or self._best_rise(levels, 2)
            if best is None:
                return levels
            levels = best

    def _best_rise(self, levels: Levels, together: int) -> Levels | None:
        """Raise so many groups by one level each, those that promise most for their price; None if no fit."""
        nexts = {name: menu.next(levels[name]) for name, menu in self.menus.items()}
        rises = {name: level for name, level in nexts.items() if level is not None}
        now = self.price(levels)
        best: tuple[tuple[bool, float], Levels] | None = None
        for names in combinations(rises, together):
            wider = {**levels, **{name: rises[name] for name in names}}
            if not self.fits(wider):
                continue
            then = self.price(wider)
            price = max((then[metric] - now[metric]) / limit for metric, limit in self.limits.items())
            gain = self.promise(wider) - self.promise(levels)
            worth = (True, gain / max(price, 1e-12)) if gain > 0 else (False, -price)
            if best is None or worth > best[0]:
                best = worth, wider
        return None if best is None else best[1]


def _thinned(levels: Sequence[int], most: int) -> list[int]:
    """Levels up to the greatest one, evenly thinned where there are many."""
    kept = [level for level in levels if level <= most]
    if len(kept) <= _MOST_LEVELS:
        return kept
    return [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, _MOST_LEVELS).round().astype(int))]
