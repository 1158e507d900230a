"""Random networks, widened at random: the function stays, costs are what the recount finds, budgets hold."""

import numpy as np
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.cost.flash import SLACK_BYTES, FlashModel
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.cost.model import PREDICTED, LayerCosts
from edgegrow.cost.structure import random_graph
from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.graph import Weighted
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import UnsupportedError
from edgegrow.growth.groups import trace
from edgegrow.growth.menu import Candidate
from edgegrow.growth.new_channels import add_channels, fresh_filters
from edgegrow.growth.select import select
from edgegrow.growth.surgery import split_channels, take_channels

from .grammar import INPUT, Halves, networks
from .test_architectures import zero_split

LIMITS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def settled(network, x):
    """In double precision, with norms that have seen data and no output that is all the same."""
    torch.manual_seed(0)
    network.double().train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        network(x)
    return network.eval()


def samples():
    return torch.randn(4, *INPUT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def assert_kept(network, x, expected):
    with torch.no_grad():
        found = network(x)
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max().clamp_min(1.0)


@LIMITS
@given(network=networks(), data=st.data())
def test_zero_steps_keep_the_function_and_costs_equal_the_recount(network, data):
    x = samples()
    settled(network, x)
    with torch.no_grad():
        expected = network(x)
    traced = trace(network, INPUT)
    for group in traced.groups:
        event(group.fixed or "growable")
    assert traced.growable
    chosen = {}
    for group in data.draw(st.permutations(traced.growable)):
        width = traced.sizes[group.name]
        channels = data.draw(st.lists(st.integers(0, width - 1), unique=True, max_size=3))
        chosen[group.name] = width + len(channels)
        predicted = traced.shapes({**traced.widths(), group.name: chosen[group.name]})
        split_channels(traced, [zero_split(traced, group, torch.tensor(channels, dtype=torch.long))])
        assert traced.shapes({}) == predicted
        assert_kept(network, x, expected)
    recounted = trace(network, INPUT)
    shapes = [layer.shape for layer in recounted.layers]
    assert shapes == traced.shapes(chosen)
    for count in (count_macs, count_params):
        assert count(shapes) == count(traced.shapes(chosen))
    weights = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    outputs = sum(len(m.weight) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert count_params(shapes) == weights + outputs


@LIMITS
@given(network=networks(), data=st.data())
def test_new_channels_and_any_copies_keep_the_function(network, data):
    x = samples()
    settled(network, x)
    with torch.no_grad():
        expected = network(x)
    traced = trace(network, INPUT)
    rng = torch.Generator().manual_seed(0)
    group = data.draw(st.sampled_from(traced.growable))
    add_channels(traced, group, fresh_filters(traced, group, data.draw(st.integers(1, 4)), rng))
    assert_kept(network, x, expected)
    other = data.draw(st.sampled_from(traced.growable))
    width = traced.sizes[other.name]
    index = torch.tensor([*range(width), *data.draw(st.lists(st.integers(0, width - 1), max_size=5))])
    share = torch.rand(len(index), generator=rng, dtype=torch.float64) + 0.1
    total = torch.zeros(width, dtype=torch.float64).index_add(0, index, share)
    with torch.no_grad():
        take_channels(traced, other, index, share / total[index])
    assert_kept(network, x, expected)


def deployable(network):
    """Batch norms in place of the norms that nothing deploys."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.BatchNorm2d(child.num_channels))
    return network.eval()


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,  # how much smaller a file may be was seen, not proved
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(network=networks(), data=st.data())
def test_what_is_selected_within_a_budget_is_within_it_as_deployed(network, data):
    """One to four limits: multiply-accumulates, parameters, the file's bytes, the planned arena's."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in deployable(network).parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    try:
        graph = lower(network, INPUT)
    except UnsupportedError:  # groups, and shuffles by views
        assume(False)
    traced = trace(network, INPUT)
    x = np.random.default_rng(0).normal(size=(4, *INPUT)).astype(np.float32)
    flash = FlashModel(random_graph(graph, x, 0))
    costs = LayerCosts(PREDICTED, flash, graph)
    now = costs(traced.shapes(traced.widths()))
    bounded = data.draw(st.lists(st.sampled_from(PREDICTED), min_size=1, unique=True))
    limits = {metric: now[metric] * data.draw(st.floats(1.0, 3.0)) for metric in bounded}
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    candidates = [
        Candidate(name, rng.uniform(-0.2, 1.0), key=channel)
        for name, width in traced.widths().items()
        for channel in range(width)
    ]
    selection = select(traced.widths(), traced.shapes, candidates, costs, limits)
    planned = costs(traced.shapes(selection.widths))
    assert all(planned[metric] <= limit for metric, limit in limits.items())
    event(f"limits: {len(limits)}")
    event("something fits" if selection.chosen else "nothing fits")
    for group in traced.growable:
        channels = torch.tensor(selection.keys(group.name), dtype=torch.long)
        split_channels(traced, [zero_split(traced, group, channels)])
    assert traced.widths() == selection.widths
    recounted = lower(traced.graph, INPUT)
    assert planned["flash_bytes"] == flash(recounted)
    delivered = quantize(recounted, x)
    assert planned["macs"] == delivered.macs
    assert planned["params"] == delivered.params
    assert planned["ram_bytes"] == plan_arena(delivered).peak_bytes
    weighted = [op for op in delivered.operators if isinstance(op, Weighted)]
    once = sum(4 * op.bias.size + 32 for op in weighted if not op.bias.any())  # biases of zeros
    # What a file takes depends on its weights: equal buffers and scales are written once.
    size = len(tflite_bytes(delivered))
    assert size <= planned["flash_bytes"] <= size + once + 2.5 * SLACK_BYTES


def test_maps_whose_axes_are_taken_for_channels_keep_their_positions():
    """Found by the test above: two shuffles of single channels, which nothing can follow, then a pool."""

    def block(cin, cout, groups=1):
        conv = nn.Conv2d(cin, cout, 3, padding=1, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU())

    network = nn.Sequential(
        block(2, 2), Halves(block(1, 1)), Halves(block(1, 1)), nn.MaxPool2d(2), block(2, 2, groups=2),
        nn.Flatten(), nn.Linear(32, 4), nn.ReLU(), nn.Linear(4, 3),
    )  # fmt: skip
    traced = trace(network, INPUT)
    assert traced.shapes(traced.widths()) == [layer.shape for layer in traced.layers]
    assert [layer.positions for layer in traced.shapes({})] == [64, 64, 64, 16, 1, 1]
