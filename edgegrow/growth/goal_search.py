"""Which size to train next, to find the smallest network that reaches a goal with few whole trainings.

Errors of trained networks fall with their size nearly along a line, both on a logarithmic scale. Short
trainings tell how steep the line is, whole ones where it lies: a small network is trained first, as it costs
little, and from there the size that the goal is predicted at, until one that reaches the goal and one a
little smaller that does not enclose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

CLOSE = 1.15
"""Ratio of the smallest network that reaches the goal to the largest that does not, where the search ends."""

_STEP = 0.99 * CLOSE
"""The ratio that is aimed at: networks come in whole channels."""

_FARTHEST = 4.0
"""Ratio to the largest network so far that a prediction is followed to: overshooting is what costs."""

_EDGE = 1.1
"""Ratio to the largest or smallest network there can be, within which that one is trained instead."""

_SLOPE, _FLATTEST, _STEEPEST = -0.3, -0.1, -0.8
"""Slope of the line where short trainings do not tell it, and its bounds."""

_EARLY = 0.7
"""Slope of whole trainings in units of that of short ones: small networks also learn more slowly."""

_PRIOR = (0.03 / 0.15) ** 2
"""Variance of the logarithm of an error between seeds, over that of a slope around what short trainings
say."""

_WIDE = CLOSE**3
"""Ratio of a bracket's ends from which on a prediction outside it is not followed to the nearer end."""

_ASTRAY = 3
"""Trainings in a row on one side of the goal after which the line misleads, and the bracket is halved."""

_LEAP = 1.5
"""Ratio to the largest network so far, where the line misleads and none has reached the goal: where accuracy
hardly rises with size it predicts the next size again and again, and each takes a whole training."""

_LEAST_ERROR = 1e-4
"""What no error is taken to be below: its logarithm would say too much."""


@dataclass(frozen=True)
class Trained:
    """A network and what it reached.

    Attributes
    ----------
    macs : int
        Multiply-accumulates of one inference.
    accuracy : float
        On validation samples, 0 to 1.
    """

    macs: int
    accuracy: float


@dataclass(frozen=True)
class Bracket:
    """Between what the smallest network lies that reaches the goal.

    Attributes
    ----------
    reached : int or None
        Multiply-accumulates of the smallest that does.
    missed : int or None
        Of the largest below it that does not.
    """

    reached: int | None
    missed: int | None

    @classmethod
    def of(cls, tries: Sequence[Trained], goal: float) -> Bracket:
        """Find it among whole trainings."""
        reached = min((one.macs for one in tries if one.accuracy >= goal), default=None)
        below = (one.macs for one in tries if one.accuracy < goal and (reached is None or one.macs < reached))
        return cls(reached, max(below, default=None))

    def encloses(self, macs: float) -> bool:
        """Whether training a network of this size can tell anything new."""
        return (self.missed or 0) < macs and (self.reached is None or macs < self.reached)

    def closed(self, smallest: int) -> bool:
        """Whether nothing is left to search, where nothing is smaller than that."""
        if self.reached is None:
            return False
        return self.reached <= (smallest if self.missed is None else CLOSE * self.missed)


def next_size(
    tries: Sequence[Trained], short: Sequence[Trained], goal: float, smallest: int, largest: int | None
) -> float | None:
    """Choose the size of the next network to train.

    Parameters
    ----------
    tries : sequence of Trained
        Whole trainings so far.
    short : sequence of Trained
        Short trainings, of networks of ascending sizes; at least one, with which whole trainings begin.
    goal : float
        Accuracy, above 0 and at most 1.
    smallest : int
        Multiply-accumulates of the smallest network that can be tried.
    largest : int or None
        The same of the largest; None where that is not known yet.

    Returns
    -------
    float or None
        Multiply-accumulates; None where the search has ended: `Bracket.closed`, or the largest has missed.
    """
    if not tries:
        return short[0].macs
    bracket = Bracket.of(tries, goal)
    if bracket.closed(smallest) or (bracket.reached is None and bracket.missed == largest):
        return None
    predicted = _predicted(tries, _slope(short), goal)
    astray = len(tries) >= _ASTRAY and len({one.accuracy >= goal for one in tries[-_ASTRAY:]}) == 1
    if bracket.reached is None:
        assert bracket.missed is not None
        least = bracket.missed * (_LEAP if astray else _STEP)
        size = min(max(predicted, least), bracket.missed * _FARTHEST)
        return largest if largest is not None and size * _EDGE >= largest else size
    below = bracket.reached / _STEP
    if bracket.missed is not None:
        outside = not bracket.missed < predicted < bracket.reached
        if astray or (outside and bracket.reached > _WIDE * bracket.missed):
            predicted = sqrt(bracket.missed * bracket.reached)
        return min(max(predicted, bracket.missed * _STEP), below)
    size = min(max(predicted, bracket.reached / _FARTHEST), below)
    return smallest if size <= smallest * _EDGE else size


def _slope(short: Sequence[Trained]) -> float:
    """Slope of the line that whole trainings are expected along, as short ones suggest."""
    if len(short) < 3:
        return _SLOPE
    points = [_point(one) for one in short]
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((px - x) ** 2 for px, _ in points)
    if spread == 0:
        return _SLOPE
    slope = sum((px - x) * (py - y) for px, py in points) / spread
    return min(_FLATTEST, max(_STEEPEST, _EARLY * slope))


def _predicted(tries: Sequence[Trained], slope: float, goal: float) -> float:
    """Size at which a line through whole trainings reaches the goal.

    A least-squares line, its slope drawn to the given one as by one more observation; trainings of sizes far
    from that of the nearest accuracy weigh less, for the line is none over decades.
    """
    target = log(max(1 - goal, _LEAST_ERROR))
    points = [_point(one) for one in tries]
    nearest = min(points, key=lambda point: abs(point[1] - target))[0]
    weights = [1 / (1 + (x - nearest) ** 2) for x, _ in points]
    total = sum(weights)
    x = sum(w * px for w, (px, _) in zip(weights, points, strict=True)) / total
    y = sum(w * py for w, (_, py) in zip(weights, points, strict=True)) / total
    spread = sum(w * (px - x) ** 2 for w, (px, _) in zip(weights, points, strict=True))
    product = sum(w * (px - x) * (py - y) for w, (px, py) in zip(weights, points, strict=True))
    fitted = (product + _PRIOR * slope) / (spread + _PRIOR)
    fitted = min(_FLATTEST, max(-1.0, fitted))
    return exp(x + min(50.0, (target - y) / fitted))


def _point(one: Trained) -> tuple[float, float]:
    return log(one.macs), log(max(1 - one.accuracy, _LEAST_ERROR))
