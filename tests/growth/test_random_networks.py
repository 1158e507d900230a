"""Random networks, widened at random: the function stays, and costs are what the recount finds."""

import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.groups import trace
from edgegrow.growth.new_channels import add_channels, fresh_filters
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
