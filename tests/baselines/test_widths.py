"""Uniform widths: budgets kept and filled, the net's own proportions, staircases and the target respected."""

from dataclasses import replace
from itertools import permutations
from math import ceil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgegrow.baselines.widths import share_used, uniform_widths
from edgegrow.cost.layers import count_macs
from edgegrow.errors import InputError
from edgegrow.growth.seed import NARROWEST

from .problems import costs, problem


def scaled(example, scale):
    return {name: max(NARROWEST, round(scale * width)) for name, width in example.widths().items()}


def roundings(widths):
    """Scales at which some width is rounded to one channel more."""
    return ((k + 0.5) / width * (1 + 1e-9) for width in set(widths.values()) for k in range(8 * width))


@pytest.mark.parametrize("net", ["mlp", "conv1d", "dscnn", "mobilenet", "resnet8"])
def test_uniform_widths_keep_and_fill_any_budget_in_proportion(digits, net):
    own = problem(digits, net, {"macs": 1.0}).example
    whole = costs(own.shapes(own.widths()))

    @settings(max_examples=8, deadline=None)
    @given(st.floats(0.1, 8.0), st.floats(0.3, 3.0))
    def check(scale, ratio):
        limits = {"macs": scale * whole["macs"], "params": ratio * scale * whole["params"]}
        narrowest = costs(own.shapes(dict.fromkeys(own.widths(), NARROWEST)))
        assume(all(narrowest[metric] <= limit for metric, limit in limits.items()))
        one = problem(digits, net, limits)
        widths = uniform_widths(one)
        priced = costs(one.example.shapes(widths))
        assert all(priced[metric] <= limit for metric, limit in limits.items())
        for name in widths:
            assert share_used(one, {**widths, name: widths[name] + 1}) > 1
        if scale > 0.5 and min(widths.values()) > 8:
            assert share_used(one, widths) >= 0.95
        fitting = [scale for scale in roundings(own.widths()) if share_used(one, scaled(own, scale)) <= 1]
        proper = scaled(own, max(fitting, default=0.0))
        assert all(widths[name] >= width for name, width in proper.items())
        for behind, ahead in permutations(widths, 2):  # proportions say which channel comes next
            next_behind = (widths[behind] + 0.5) / own.widths()[behind]
            last_ahead = (widths[ahead] - 0.5) / own.widths()[ahead]
            if next_behind < last_ahead and widths[ahead] > proper[ahead]:
                swapped = {**widths, behind: widths[behind] + 1, ahead: widths[ahead] - 1}
                assert share_used(one, swapped) > 1

    check()


def test_wider_is_taken_where_it_is_cheaper(digits):
    """Widths that are no multiple of eight cost the double: the widest fit is one that all groups share."""

    def staircase(layers):
        return {"macs": float(sum(layer.macs * (1 if layer.cout % 8 == 0 else 2) for layer in layers[:-1]))}

    one = replace(problem(digits, "mlp", {}), costs=staircase)
    eights = {"body.1": 64, "body.4": 48}
    one = one.within({"macs": staircase(one.example.shapes(eights))["macs"]})
    assert uniform_widths(one) == eights


class Dearer:
    """Multiply-accumulates, of which checks find a tenth more; learns it."""

    def __init__(self):
        self.factor, self.checked = 1.0, []

    def __call__(self, layers):
        return {"macs": self.factor * count_macs(layers)}

    def check(self, layers):
        self.factor = 1.1
        self.checked.append(self(layers)["macs"])
        return self(layers)

    def learnt(self):
        return {"factor": self.factor}

    def recall(self, learnt):
        self.factor = learnt["factor"]


def test_the_target_has_the_last_word(digits):
    dearer = Dearer()
    one = replace(problem(digits, "dscnn", {"macs": 60e3}), costs=dearer)
    widths = uniform_widths(one)
    assert dearer.checked[0] > 60e3
    assert 0.95 * 60e3 <= 1.1 * count_macs(one.example.shapes(widths)) <= 60e3


def test_a_target_that_never_agrees_ends_in_one_line(digits):
    class Worse(Dearer):
        def check(self, layers):
            return {"macs": ceil(2e5)}

    with pytest.raises(InputError, match="none of 1 network"):
        uniform_widths(replace(problem(digits, "dscnn", {"macs": 60e3}), costs=Worse()))


def test_an_impossible_budget_says_what_is_needed(digits):
    with pytest.raises(InputError, match=r"budget params: impossible.*needs 166, .*raise the budget"):
        uniform_widths(problem(digits, "mlp", {"macs": 1e6, "params": 100}))
