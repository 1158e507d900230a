"""The smallest uniform network that reaches an accuracy: what growing towards a goal is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from edgegrow.baselines.problem import Problem, macs_of
from edgegrow.baselines.scratch import Trained, train_from_scratch
from edgegrow.baselines.widths import uniform_widths
from edgegrow.errors import InputError
from edgegrow.growth.seed import NARROWEST

RESOLUTION = 1.1
"""Ratio of the smallest network that reaches the goal to the largest that does not, where bisection ends."""


@dataclass(frozen=True)
class Probe:
    """One network of a search.

    Attributes
    ----------
    macs : int
        Multiply-accumulates of one inference.
    validation_accuracy : float
        Reached from scratch, 0 to 1.
    """

    macs: int
    validation_accuracy: float


@dataclass(frozen=True)
class Bisection:
    """What a search found, and took.

    Attributes
    ----------
    smallest : Trained
        The smallest network that reached the goal.
    probes : tuple of Probe
        All that were trained, in order.
    macs_trained : float
        Multiply-accumulates of all their training.
    """

    smallest: Trained
    probes: tuple[Probe, ...]
    macs_trained: float


def bisect_uniform(problem: Problem, goal_accuracy: float, resolution: float = RESOLUTION) -> Bisection:
    """Find the smallest uniform network that reaches a validation accuracy from scratch.

    The network that fills the problem's budget is trained first; then the multiply-accumulates between it
    and the narrowest one are bisected geometrically. Accuracy is taken to rise with size.

    Parameters
    ----------
    problem : Problem
        Its limits bound the search from above; each probe is trained for all of its epochs.
    goal_accuracy : float
        From 0 to 1, on the validation split.
    resolution : float
        Above 1; see `RESOLUTION`.

    Raises
    ------
    InputError
        If the network that fills the budget does not reach the goal.
    """
    smallest = train_from_scratch(problem)
    probes = [Probe(macs_of(smallest.trace), smallest.validation_accuracy)]
    spent = smallest.macs_trained
    if smallest.validation_accuracy < goal_accuracy:
        raise InputError(
            f"goal accuracy={100 * goal_accuracy:.2f}%: the largest uniform network within the budget "
            f"reaches {100 * smallest.validation_accuracy:.2f} %: raise the budget, or lower the goal"
        )
    narrowest = problem.example.shapes(dict.fromkeys(problem.example.widths(), NARROWEST))
    low, high = sum(layer.macs for layer in narrowest), macs_of(smallest.trace)
    while high > resolution * low:
        below = problem.within_macs(sqrt(low * high))
        trace = below.network(uniform_widths(below))
        if not low < macs_of(trace) < high:
            break  # a channel more or less is all that lies between
        trained = train_from_scratch(below, trace)
        probes.append(Probe(macs_of(trace), trained.validation_accuracy))
        spent += trained.macs_trained
        if trained.validation_accuracy >= goal_accuracy:
            smallest, high = trained, macs_of(trace)
        else:
            low = macs_of(trace)
    return Bisection(smallest, tuple(probes), spent)
