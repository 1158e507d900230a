"""Selection: within every limit, filled to the last channel, as good as what a search of everything finds."""

from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.groups import trace
from edgegrow.growth.menu import Candidate
from edgegrow.growth.select import select, select_checked

from .networks import INPUTS, build


def costs(layers):
    return {"macs": count_macs(layers), "params": count_params(layers)}


def one_each(gains):
    """Candidates of a channel each, their keys their places in ``{group: gains}``."""
    return [Candidate(name, gain, key=i) for name, own in gains.items() for i, gain in enumerate(own)]


def random_gains(traced, seed, low=0.0, high=1.0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(low, high, n).tolist() for name, n in traced.widths().items()}


def choose(traced, candidates, costs, limits, steps=None):
    return select(traced.widths(), traced.shapes, candidates, costs, limits, steps)


def choose_checked(traced, candidates, costs, limits):
    return select_checked(traced.widths(), traced.shapes, candidates, costs, limits)


def priced(traced, widths, costs=costs):
    return costs(traced.shapes(widths))


def scaled(price, *factors):
    return {metric: value * factor for (metric, value), factor in zip(price.items(), factors, strict=True)}


@pytest.mark.parametrize("name", INPUTS)
def test_no_limit_is_exceeded_and_no_affordable_channel_left_out(name):
    traced = trace(build(name), INPUTS[name])
    now = priced(traced, traced.widths())

    @settings(max_examples=6, deadline=None)
    @given(st.floats(1.0, 4.0), st.floats(1.0, 4.0), st.integers(0, 2**20), st.floats(-1.0, 0.5))
    def check(more_macs, more_params, seed, low):
        limits = scaled(now, more_macs, more_params)
        gains = random_gains(traced, seed, low)
        selection = choose(traced, one_each(gains), costs, limits)
        widths = selection.widths
        assert all(value <= limits[key] for key, value in priced(traced, widths).items())
        for group, width in traced.widths().items():
            taken = selection.keys(group)
            assert len(set(taken)) == len(taken) == widths[group] - width
            assert sorted(gains[group][i] for i in taken) == sorted(gains[group])[width - len(taken) :]
            if len(taken) < width:
                wider = priced(traced, {**widths, group: widths[group] + 1})
                assert any(wider[key] > limits[key] for key in limits)
        assert selection.promise == pytest.approx(sum(max(c.gain, 0) for c in selection.chosen))
        assert selection.promise <= selection.bound * (1 + 1e-9)

    check()


def best_by_trying(traced, gains, limits):
    """Most that any choice within the limits promises."""
    widths = traced.widths()
    tops = {name: np.cumsum([0.0, *sorted(own, reverse=True)]) for name, own in gains.items()}
    best = 0.0
    for added in product(*(range(width + 1) for width in widths.values())):
        promise = sum(tops[name][n] for name, n in zip(widths, added, strict=True))
        wider = {name: widths[name] + n for name, n in zip(widths, added, strict=True)}
        if promise > best and all(v <= limits[m] for m, v in priced(traced, wider).items()):
            best = promise
    return best


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(2, 6), min_size=2, max_size=3),
    st.floats(1.0, 3.0),
    st.floats(1.0, 3.0),
    st.integers(0, 2**20),
)
def test_the_bound_holds_and_the_choice_is_close_to_the_best(widths, more_macs, more_params, seed):
    traced = trace(build("mlp", widths), INPUTS["mlp"])
    limits = scaled(priced(traced, traced.widths()), more_macs, more_params)
    gains = random_gains(traced, seed)
    selection = choose(traced, one_each(gains), costs, limits)
    best = best_by_trying(traced, gains, limits)
    assert 0.97 * best <= selection.promise <= best * (1 + 1e-9)
    assert best <= selection.bound * (1 + 1e-9)
    assert selection.bound <= 1.3 * best + 1.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.floats(0.1, 0.9))
def test_a_plain_knapsack_is_solved_exactly(seed, share):
    """Where costs do add up, the bound is the choice: nothing is lost."""
    rng = np.random.default_rng(seed)
    traced = trace(build("mlp", [5, 4, 4]), INPUTS["mlp"])
    prices = {name: float(rng.integers(3, 9)) for name in traced.widths()}

    def additive(layers):
        return {
            "macs": sum(price * layer.cout for price, layer in zip(prices.values(), layers, strict=False))
        }

    now, gains = priced(traced, traced.widths(), additive)["macs"], random_gains(traced, seed)
    limits = {"macs": now * (1 + share)}
    selection = choose(traced, one_each(gains), additive, limits)
    tops = [np.cumsum([0.0, *sorted(own, reverse=True)]) for own in gains.values()]
    best = max(
        sum(top[n] for top, n in zip(tops, added, strict=True))
        for added in product(*(range(len(top)) for top in tops))
        if sum(p * n for p, n in zip(prices.values(), added, strict=True)) <= now * share
    )
    assert selection.promise >= (1 - 2e-3) * best
    assert selection.gap <= 2e-3 + 1e-9


def blocks(layers):
    """Latency as a staircase: eight channels in and sixteen out go together."""
    return {
        "latency_ms": sum(
            layer.positions
            * layer.taps
            * ceil(layer.cout / 16)
            * (1 if layer.depthwise else ceil(layer.cin / 8))
            for layer in layers
        )
    }


@pytest.mark.parametrize("name", INPUTS)
def test_whole_steps_of_a_staircase_are_filled(name):
    traced = trace(build(name), INPUTS[name])
    now = priced(traced, traced.widths(), blocks)["latency_ms"]

    @settings(max_examples=6, deadline=None)
    @given(st.floats(1.0, 3.0), st.integers(0, 2**20), st.floats(-1.0, 0.5))
    def check(more, seed, low):
        limits = {"latency_ms": more * now}
        selection = choose(traced, one_each(random_gains(traced, seed, low)), blocks, limits)
        reached = priced(traced, selection.widths, blocks)["latency_ms"]
        assert reached <= limits["latency_ms"]
        for group, width in traced.widths().items():
            if selection.widths[group] < 2 * width:
                wider = {**selection.widths, group: selection.widths[group] + 1}
                assert priced(traced, wider, blocks)["latency_ms"] > limits["latency_ms"] >= reached

    check()


def test_a_channel_that_promises_more_for_its_price_comes_first():
    traced = trace(build("mlp", [8, 8]), INPUTS["mlp"])
    first, second = traced.widths()
    # A channel of the first layer costs 64 + 8 MACs, one of the second 8 + 10: four times less.
    limits = {"macs": priced(traced, traced.widths())["macs"] + 80}
    gains = {first: [3.0] * 8, second: [1.0] * 8}  # one of the first, or four of the second
    chosen = choose(traced, one_each(gains), costs, limits)
    assert (len(chosen.keys(first)), len(chosen.keys(second))) == (0, 4)
    chosen = choose(traced, one_each({**gains, first: [5.0] * 8}), costs, limits)
    assert (len(chosen.keys(first)), len(chosen.keys(second))) == (1, 0)


def test_candidates_that_promise_nothing_come_last_and_still_fill_the_budget():
    traced = trace(build("mlp", [8, 8]), INPUTS["mlp"])
    first, second = traced.widths()
    now = priced(traced, traced.widths())["macs"]
    gains = {first: [1e-6] + [-1.0] * 7, second: [-2.0] * 8}
    for factor, expected in ((1.13, (1, 0)), (4.0, (8, 8))):
        selection = choose(traced, one_each(gains), costs, {"macs": factor * now})
        assert (len(selection.keys(first)), len(selection.keys(second))) == expected
        assert 0 in selection.keys(first)
        assert selection.promise == pytest.approx(1e-6)


def test_nothing_fits_a_budget_that_is_full():
    traced = trace(build("resnet8"), INPUTS["resnet8"])
    full = priced(traced, traced.widths())
    for limits in (full, scaled(full, 0.9, 0.9)):
        selection = choose(traced, one_each(random_gains(traced, 0)), costs, limits)
        assert (selection.chosen, selection.widths, selection.gap) == ((), traced.widths(), 0.0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**20), st.floats(1.0, 3.0), st.sampled_from([1, 2, 4]))
def test_kinds_of_change_compete_for_the_same_channels(seed, more, step):
    """Of a neuron one change at most; changes gain 1 to 3 channels; widths end at multiples."""
    rng = np.random.default_rng(seed)
    traced = trace(build("mlp", [8, 8]), INPUTS["mlp"])
    candidates = [
        Candidate(name, float(rng.normal()), channels, key=(neuron, channels), source=neuron)
        for name, width in traced.widths().items()
        for neuron in range(width)
        for channels in (1, 2, 3)
    ]
    candidates += [Candidate(name, 0.3, key="new") for name in traced.widths()]
    limits = {"macs": more * priced(traced, traced.widths())["macs"]}
    selection = choose(traced, candidates, costs, limits, dict.fromkeys(traced.widths(), step))
    assert priced(traced, selection.widths)["macs"] <= limits["macs"]
    for name, width in traced.widths().items():
        taken = [c for c in selection.chosen if c.group == name]
        assert selection.widths[name] == width + sum(c.channels for c in taken)
        assert selection.widths[name] % step == 0
        sources = [c.source for c in taken if c.source is not None]
        assert len(set(sources)) == len(sources)


def test_the_better_of_two_changes_of_a_neuron_is_taken():
    traced = trace(build("mlp", [8, 8]), INPUTS["mlp"])
    first, _ = traced.widths()
    pair = [Candidate(first, 1.0, 1, "split", source=0), Candidate(first, 3.0, 2, "signed", source=0)]
    now = priced(traced, traced.widths())["macs"]
    assert choose(traced, pair, costs, {"macs": now + 2 * 72}).keys(first) == ["signed"]
    assert choose(traced, pair, costs, {"macs": now + 72}).keys(first) == ["split"]


def test_a_peak_of_memory_is_a_limit_like_any_other():
    traced = trace(build("dscnn"), INPUTS["dscnn"])

    def peak(layers):
        return {**costs(layers), "ram_bytes": max(layer.positions * layer.cout for layer in layers)}

    now = priced(traced, traced.widths(), peak)
    limits = {"macs": 3 * now["macs"], "params": 3 * now["params"], "ram_bytes": 1.3 * now["ram_bytes"]}
    selection = choose(traced, one_each(random_gains(traced, 0)), peak, limits)
    reached = priced(traced, selection.widths, peak)
    assert all(reached[metric] <= limit for metric, limit in limits.items())
    assert max(reached[metric] / limit for metric, limit in limits.items()) > 0.97


def test_groups_that_fit_together_alone_are_raised_together():
    """As in a file, where what is equal is stored once: a second width costs more than wider equal ones."""
    traced = trace(build("mlp", [8, 8]), INPUTS["mlp"])

    def stored(layers):
        widths = [layer.cout for layer in layers[:2]]
        return {"flash_bytes": 100 * len(set(widths)) + sum(widths)}

    selection = choose(traced, one_each(random_gains(traced, 0)), stored, {"flash_bytes": 121})
    assert list(selection.widths.values()) == [10, 10]


class Staircase:
    """Costs that the target finds a fifth higher than predicted, until it has been asked."""

    def __init__(self):
        self.factor, self.asked = 1.0, []

    def __call__(self, layers):
        return {"macs": self.factor * costs(layers)["macs"]}

    def check(self, layers):
        self.factor = 1.2
        self.asked.append(self(layers)["macs"])
        return self(layers)

    def learnt(self):
        return {"factor": self.factor}

    def recall(self, learnt):
        self.factor = learnt["factor"]


@pytest.fixture
def traced():
    return trace(build("dscnn"), INPUTS["dscnn"])


def test_a_choice_that_the_target_finds_too_dear_is_made_again(traced):
    now = costs(traced.shapes(traced.widths()))["macs"]
    candidates, limit = one_each(random_gains(traced, 0)), 1.5 * now
    asked = Staircase()
    selection = choose_checked(traced, candidates, asked, {"macs": limit})
    assert [found["macs"] for found in selection.checked] == asked.asked
    assert selection.checked[0]["macs"] > limit
    assert [error["macs"] for error in selection.errors] == pytest.approx([0.2, 0.0])
    assert 0.9 * limit <= 1.2 * priced(traced, selection.widths)["macs"] == asked.asked[-1] <= limit


def test_nothing_is_chosen_where_the_target_refuses_everything(traced):
    class Never(Staircase):
        def check(self, layers):
            self.asked.append(len(self.asked))
            return {"macs": 1e12 + len(self.asked)}

    limits = {"macs": 1.5 * costs(traced.shapes(traced.widths()))["macs"]}
    selection = choose_checked(traced, one_each(random_gains(traced, 0)), Never(), limits)
    assert (selection.chosen, selection.widths, selection.promise) == ((), traced.widths(), 0.0)
    assert selection.checked


@pytest.mark.parametrize(
    ("shares", "kept"), [([0.9, 0.8, 1.1, 0.7], 0), ([0.7, 0.9, 0.8, 1.2], 1), ([0.7, 0.99], 1)]
)
def test_the_fullest_choice_that_keeps_the_limits_is_taken(traced, shares, kept):
    limits = {"macs": 2.0 * costs(traced.shapes(traced.widths()))["macs"]}

    class Told(Staircase):
        def check(self, layers):
            self.asked.append(layers)
            self.factor += 0.1  # so that every choice is another
            return {"macs": shares[len(self.asked) - 1] * limits["macs"]}

    told = Told()
    selection = choose_checked(traced, one_each(random_gains(traced, 0)), told, limits)
    assert [found["macs"] / limits["macs"] for found in selection.checked] == pytest.approx(shares)
    assert traced.shapes(selection.widths) == told.asked[kept]
    assert told.factor == pytest.approx(1.1 + 0.1 * kept), "the model is left as that choice has taught it"


def test_the_same_choice_is_not_tried_twice(traced):
    class Certain(Staircase):
        def check(self, layers):
            self.asked.append(layers)
            return self(layers)

    certain = Certain()
    limits = {"macs": 1.02 * costs(traced.shapes(traced.widths()))["macs"]}
    selection = choose_checked(traced, one_each(random_gains(traced, 0)), certain, limits)
    assert len(selection.checked) == len(certain.asked) == 1


def test_costs_that_cannot_be_checked_are_taken_at_their_word(traced):
    candidates = one_each(random_gains(traced, 0))
    limits = {"macs": 1.5 * priced(traced, traced.widths())["macs"], "params": 1e9}
    selection = choose_checked(traced, candidates, costs, limits)
    assert selection.checked == ()
    assert selection == choose(traced, candidates, costs, limits)
