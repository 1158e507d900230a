"""Selection: within every limit, filled to the last channel, the lowest eigenvalues of a group first."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.eigenpairs import SplittingIndex
from edgegrow.growth.groups import trace
from edgegrow.growth.select import select_checked, select_splits
from edgegrow.growth.splitting import ChannelBlock

from .networks import INPUTS, build


def costs(layers):
    return {"macs": count_macs(layers), "params": count_params(layers)}


def indices_of(traced, eigenvalues):
    """An index with these eigenvalues ``{group: (n,)}``; directions do not matter to selection."""
    nothing = torch.empty(0)
    return [
        SplittingIndex(ChannelBlock(g, [], []), eigenvalues[g.name], nothing, nothing, nothing)
        for g in traced.growable
    ]


def random_eigenvalues(traced, seed, low=-1.0, high=0.0):
    rng = torch.Generator().manual_seed(seed)
    return {name: low + (high - low) * torch.rand(n, generator=rng) for name, n in traced.widths().items()}


def widened(traced, chosen):
    return {name: n + len(chosen.get(name, ())) for name, n in traced.widths().items()}


@pytest.mark.parametrize("name", INPUTS)
def test_no_limit_is_exceeded_and_no_affordable_channel_left_out(name):
    traced = trace(build(name), INPUTS[name])
    now = costs(traced.shapes(traced.widths()))

    @settings(max_examples=15, deadline=None)
    @given(st.floats(1.0, 5.0), st.floats(1.0, 5.0), st.integers(0, 2**20), st.floats(-1.0, 0.5))
    def check(more_macs, more_params, seed, high):
        limits = {"macs": now["macs"] * more_macs, "params": now["params"] * more_params}
        eigenvalues = random_eigenvalues(traced, seed, high=high)
        chosen = select_splits(traced, indices_of(traced, eigenvalues), costs, limits)
        widths = widened(traced, chosen)
        assert all(value <= limits[key] for key, value in costs(traced.shapes(widths)).items())
        for group, width in traced.widths().items():
            taken = chosen.get(group, torch.tensor([], dtype=torch.long))
            assert len(set(taken.tolist())) == len(taken)
            lowest = eigenvalues[group].sort().values[: len(taken)]
            assert torch.equal(eigenvalues[group][taken].sort().values, lowest)
            if len(taken) < width:
                wider = costs(traced.shapes({**widths, group: widths[group] + 1}))
                assert any(wider[key] > limits[key] for key in limits)

    check()


def test_a_channel_that_promises_more_for_its_price_comes_first():
    traced = trace(build("mlp", [8, 8]), INPUTS["mlp"])
    first, second = traced.widths()
    now = costs(traced.shapes(traced.widths()))
    # A channel of the first layer costs 64 + 8 MACs, one of the second 8 + 10: four times less.
    eigenvalues = {first: torch.full((8,), -3.0), second: torch.full((8,), -1.0)}
    limits = {"macs": now["macs"] + 80}  # one channel of the first layer, or four of the second
    chosen = select_splits(traced, indices_of(traced, eigenvalues), costs, limits)
    assert {name: len(channels) for name, channels in chosen.items()} == {second: 4}
    eigenvalues[first] = torch.full((8,), -5.0)
    chosen = select_splits(traced, indices_of(traced, eigenvalues), costs, limits)
    assert {name: len(channels) for name, channels in chosen.items()} == {first: 1}


def test_stable_channels_come_last_and_still_fill_the_budget():
    traced = trace(build("mlp", [8, 8]), INPUTS["mlp"])
    first, second = traced.widths()
    now = costs(traced.shapes(traced.widths()))["macs"]
    eigenvalues = {first: torch.tensor([-1e-6] + [1.0] * 7), second: torch.full((8,), 2.0)}
    for factor, expected in ((1.13, {first: 1}), (4.0, {first: 8, second: 8})):
        chosen = select_splits(traced, indices_of(traced, eigenvalues), costs, {"macs": factor * now})
        assert {name: len(channels) for name, channels in chosen.items()} == expected
    assert chosen[first][0] == 0


def test_nothing_fits_a_budget_that_is_full():
    traced = trace(build("resnet8"), INPUTS["resnet8"])
    limits = costs(traced.shapes(traced.widths()))
    assert select_splits(traced, indices_of(traced, random_eigenvalues(traced, 0)), costs, limits) == {}


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
    indices, limit = indices_of(traced, random_eigenvalues(traced, 0)), 1.5 * now
    checked_costs = Staircase()
    chosen, checked = select_checked(traced, indices, checked_costs, {"macs": limit})
    assert [found["macs"] for found in checked] == checked_costs.asked
    assert checked[0]["macs"] > limit
    widths = {name: n + len(chosen.get(name, ())) for name, n in traced.widths().items()}
    assert 0.9 * limit <= 1.2 * costs(traced.shapes(widths))["macs"] == checked[-1]["macs"] <= limit


def test_nothing_is_chosen_where_the_target_refuses_everything(traced):
    class Never(Staircase):
        def check(self, layers):
            self.asked.append(len(self.asked))
            return {"macs": 1e12 + len(self.asked)}

    indices = indices_of(traced, random_eigenvalues(traced, 0))
    limits = {"macs": 1.5 * costs(traced.shapes(traced.widths()))["macs"]}
    chosen, checked = select_checked(traced, indices, Never(), limits)
    assert chosen == {}
    assert checked


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
    chosen, checked = select_checked(traced, indices_of(traced, random_eigenvalues(traced, 0)), told, limits)
    assert [found["macs"] / limits["macs"] for found in checked] == pytest.approx(shares)
    widths = {name: n + len(chosen.get(name, ())) for name, n in traced.widths().items()}
    assert traced.shapes(widths) == told.asked[kept]
    assert told.factor == pytest.approx(1.1 + 0.1 * kept), "the model is left as that choice has taught it"


def test_the_same_choice_is_tried_twice_at_most(traced):
    class Certain(Staircase):
        def check(self, layers):
            self.asked.append(layers)
            return self(layers)

    certain = Certain()
    limits = {"macs": 1.02 * costs(traced.shapes(traced.widths()))["macs"]}
    _, checked = select_checked(traced, indices_of(traced, random_eigenvalues(traced, 0)), certain, limits)
    assert len(checked) == 1
    assert len(certain.asked) <= 2


def test_costs_that_cannot_be_checked_are_taken_at_their_word(traced):
    indices = indices_of(traced, random_eigenvalues(traced, 0))
    limits = {"macs": 1.5 * costs(traced.shapes(traced.widths()))["macs"], "params": 1e9}
    chosen, checked = select_checked(traced, indices, costs, limits)
    expected = select_splits(traced, indices, costs, limits)
    assert checked == []
    assert {name: c.tolist() for name, c in chosen.items()} == {n: c.tolist() for n, c in expected.items()}
