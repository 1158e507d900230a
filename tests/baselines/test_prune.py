"""Pruning: dead channels leave without a trace, budgets are kept and filled, all training is counted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.baselines.problem import Problem, macs_of
from edgegrow.baselines.prune import (
    CRITERIA,
    prune_to_budget,
    remove_channels,
    score_channels,
    train_large,
    widths_to_keep,
)
from edgegrow.baselines.scratch import train_from_scratch
from edgegrow.baselines.widths import share_used, uniform_widths
from edgegrow.config import TrainConfig
from edgegrow.cost.layers import count_macs
from edgegrow.errors import InputError
from edgegrow.growth.groups import trace
from edgegrow.nets import SeedNetwork

from .problems import costs, problem

NETS = {"mlp": 20e3, "conv1d": 60e3, "dscnn": 60e3, "mobilenet": 60e3, "resnet8": 200e3}


def kill(network, rng):
    """Make some channels of every group nought, and their readers blind to them: ``{group: channels}``."""
    dead = {}
    for group in network.growable:
        width = network.widths()[group.name]
        channels = dead[group.name] = torch.randperm(width, generator=rng)[: max(1, width // 4)]
        for name in (*group.producers, *group.depthwise, *group.norms):
            for parameter in (network.module(name).weight, network.module(name).bias):
                if parameter is not None:
                    parameter.data[channels] = 0
        for consumer in group.consumers:
            columns = network.places(network.columns[consumer.name], group, channels).flatten()
            network.module(consumer.name).weight.data[:, columns] = 0
    return dead


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("net", NETS)
def test_dead_channels_are_found_and_leave_the_function_as_it_is(digits, net, criterion):
    one = problem(digits, net, {"macs": NETS[net]}, epochs=0.5)
    network = train_from_scratch(one).trace
    dead = kill(network, torch.Generator().manual_seed(1))
    x = torch.from_numpy(one.data.validation.x[:50])
    network.graph.eval()
    with torch.no_grad():
        before = network.graph(x)
    scores, _ = score_channels(one, network, criterion)
    for name, channels in dead.items():
        assert torch.equal(scores[name][channels], torch.zeros(len(channels)))
        assert (scores[name] > 0).sum() > 2
        scores[name][channels] = -1.0  # a live one may be nought too, to first order
    left = {name: width - len(dead[name]) for name, width in network.widths().items()}
    remove_channels(one, network, scores, left)
    with torch.no_grad():
        after = network.graph(x)
    assert network.widths() == left
    assert before.std() > 0.02
    assert torch.allclose(before, after, atol=1e-5)
    found = trace(network.graph, one.data.input_shape)
    assert count_macs(found.shapes(found.widths())) == count_macs(one.example.shapes(left))


@pytest.mark.parametrize("net", ["dscnn", "resnet8"])
def test_any_budget_is_kept_and_filled(digits, net):
    large = problem(digits, net, {"macs": 4 * NETS[net]})
    widths = uniform_widths(large)
    whole = costs(large.example.shapes(widths))

    @settings(max_examples=10, deadline=None)
    @given(st.floats(0.1, 0.9), st.floats(0.1, 1.2), st.integers(0, 2**31))
    def check(macs, params, seed):
        one = problem(digits, net, {"macs": macs * whole["macs"], "params": params * whole["params"]})
        rng = torch.Generator().manual_seed(seed)
        scores = {name: torch.rand(width, generator=rng) for name, width in widths.items()}
        kept = widths_to_keep(one, widths, scores)
        assert 0.95 <= share_used(one, kept) <= 1
        for name, width in kept.items():
            assert width == widths[name] or share_used(one, {**kept, name: width + 1}) > 1

    check()


def test_the_least_important_go_first_wherever_they_are(digits):
    widths = {"body.1": 60, "body.4": 40}  # 64 MACs a channel and its readers; the second's are 10 classes
    scores = {"body.1": torch.linspace(1, 2, 60), "body.4": torch.linspace(0, 0.5, 40)}
    kept = {macs: widths_to_keep(problem(digits, "mlp", {"macs": macs}), widths, scores)
            for macs in (5e3, 3e3)}  # fmt: skip
    assert kept[5e3] == {"body.1": 60, "body.4": 16}
    assert kept[3e3] == {"body.1": 45, "body.4": 2}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_pruning_from_a_large_network_keeps_the_budget_and_counts_all_training(digits, criterion):
    one = problem(digits, "dscnn", {"macs": 30e3, "params": 4e3}, epochs=2)
    large = train_large(one, criterion)
    large_macs = macs_of(large.trace)
    uniform = macs_of(one.network(uniform_widths(one)))
    assert 0.95 * 4 * uniform <= large_macs <= 4 * uniform
    passes = 3 * 2 * 16 * 64  # of samples in two epochs
    assert large.macs_trained == passes * large_macs
    pruned = prune_to_budget(one, large, criterion)
    found = trace(pruned.tuned.trace.graph, digits.input_shape)
    assert 0.95 <= share_used(one, found.widths()) <= 1
    scoring = 3 * 1024 * large_macs if criterion == "taylor" else 0
    assert pruned.scoring_macs == scoring
    assert pruned.macs_trained == passes * (large_macs + macs_of(found)) + scoring
    assert pruned.tuned.validation_accuracy > 0.8


def test_the_same_seed_prunes_to_the_same_network(digits):
    ends = []
    for _ in range(2):
        one = problem(digits, "resnet8", {"macs": 60e3}, epochs=0.5, seed=2)
        ends.append(prune_to_budget(one, train_large(one, "taylor"), "taylor").tuned)
    states = [end.trace.graph.state_dict().values() for end in ends]
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_training_for_bn_pruning_adds_the_slope_of_a_penalty_on_the_scales(digits):
    one = problem(digits, "dscnn", {"macs": 30e3}, epochs=1 / 16)

    def scales(criterion):
        network = train_large(one, criterion).trace
        norms = [m for m in network.graph.modules() if isinstance(m, nn.BatchNorm2d)]
        return torch.cat([norm.weight.detach() for norm in norms])

    # One step from scales of 1, at rate 0.1 with Nesterov's 1 + 0.9; the penalty's slope is 1e-4.
    assert torch.allclose(scales("l1") - scales("bn"), torch.tensor(0.1 * 1.9 * 1e-4), rtol=0, atol=5e-7)


def plain(shape, classes, widths=(16,)):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, widths[0]), nn.ReLU(), nn.Linear(widths[0], classes))


def test_a_network_without_batch_norms_cannot_be_pruned_by_them(digits):
    one = Problem(SeedNetwork("plain", plain, (16,)), digits, costs, {"macs": 2e3}, TrainConfig(epochs=1), 0)
    with pytest.raises(InputError, match=r"group 1 has no batch norm: choose another criterion"):
        prune_to_budget(one, train_large(one, "bn"), "bn")
    assert prune_to_budget(one, train_large(one, "l1"), "l1").tuned.validation_accuracy > 0.5
