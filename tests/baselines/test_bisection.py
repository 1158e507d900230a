"""The search that a goal is compared with: the smallest network is bracketed, all training counted."""

import pytest

from edgegrow.baselines.bisection import bisect_uniform
from edgegrow.baselines.problem import macs_of
from edgegrow.errors import InputError

from .problems import problem


def test_the_smallest_network_is_bracketed_and_all_probes_are_paid_for(digits):
    one = problem(digits, "mlp", {"macs": 8e3}, epochs=3)
    found = bisect_uniform(one, 0.9, resolution=1.15)
    smallest = macs_of(found.smallest.trace)
    assert found.smallest.validation_accuracy >= 0.9
    reached = [probe.macs for probe in found.probes if probe.validation_accuracy >= 0.9]
    missed = [probe.macs for probe in found.probes if probe.validation_accuracy < 0.9]
    assert smallest == min(reached)
    assert len(found.probes) > 3
    assert max(missed) < smallest <= 1.15 * max(missed)
    assert found.macs_trained == sum(3 * 64 * 16 * 3 * probe.macs for probe in found.probes)
    again = bisect_uniform(one, 0.9, resolution=1.15)
    assert again.probes == found.probes


def test_a_goal_out_of_reach_says_what_the_budget_allows(digits):
    with pytest.raises(InputError, match=r"goal accuracy=99.90%: .* reaches \d\d\.\d\d %: raise the budget"):
        bisect_uniform(problem(digits, "mlp", {"macs": 2e3}, epochs=0.5), 0.999)
