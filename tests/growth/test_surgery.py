from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.filter_norms import filter_norms, rescale_filters
from edgegrow.growth.groups import trace
from edgegrow.growth.new_channels import add_channels, fresh_filters
from edgegrow.growth.surgery import ChannelSplit, resize, split_channels, take_channels

from .networks import INPUTS, build, fit, samples


def trained(name, data, dtype=torch.float32):
    module = build(name).to(dtype)
    x, y = samples(name, data, 128)
    x = x.to(dtype)
    optimizer = fit(module, x, y, steps=8)
    module.zero_grad()
    return module, optimizer, (x, y)


def zero_split(traced, channels_of):
    splits = []
    for group in traced.growable:
        weights = [traced.module(name).weight for name in group.filtered]
        channels = channels_of(len(weights[0]))
        splits.append(ChannelSplit(group, channels, [torch.zeros_like(w[channels]) for w in weights]))
    return splits


@pytest.mark.parametrize("name", INPUTS)
def test_a_zero_step_keeps_the_function(name, digits):
    """In double precision, so that 1e-6 is far above rounding and far below any mistake."""
    module, _, (x, _) = trained(name, digits, torch.float64)
    module.eval()
    with torch.no_grad():
        before = module(x)
        traced = trace_double(module, name)
        widths = traced.widths()
        split_channels(traced, zero_split(traced, lambda n: torch.arange(n // 2)))
        after = module(x)
    assert (after - before).abs().max() < 1e-6
    assert traced.widths() == {group: n + n // 2 for group, n in widths.items()}


def trace_double(module, name):
    # Tracing runs a float32 sample: shapes alone are of interest.
    module.float()
    traced = trace(module, INPUTS[name])
    module.double()
    return traced


@pytest.mark.parametrize("name", INPUTS)
def test_costs_predicted_for_a_width_equal_the_recount_after_surgery(name, digits):
    module = build(name)
    traced = trace(module, INPUTS[name])
    split_channels(traced, zero_split(traced, lambda n: torch.tensor([0, n - 1])))
    widths = traced.widths()
    recounted = trace(module, INPUTS[name])
    for count in (count_macs, count_params):
        assert count(traced.shapes(widths)) == count(recounted.shapes({}))


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(sorted(INPUTS)), data=st.data())
def test_any_copies_with_factors_that_sum_to_one_keep_the_function(name, data):
    torch.manual_seed(0)
    module = build(name).eval()
    traced = trace(module, INPUTS[name])
    x = torch.randn(3, *INPUTS[name])
    group = data.draw(st.sampled_from(traced.growable))
    width = traced.widths()[group.name]
    extra = data.draw(st.lists(st.integers(0, width - 1), max_size=6))
    index = torch.tensor([*range(width), *extra])
    factor = 1.0 / torch.bincount(index)[index].float()
    with torch.no_grad():
        before = module(x)
        take_channels(traced, group, index, factor)
        torch.testing.assert_close(module(x), before, rtol=1e-4, atol=1e-5)
    assert traced.widths()[group.name] == width + len(extra)


@pytest.mark.parametrize("name", INPUTS)
def test_the_optimiser_goes_on_as_if_nothing_had_happened(name, digits):
    """After a zero split, one more step of the twins moves the function as one step of the original would.

    Twins receive half the gradient and half the momentum each, while their sum is read with full weight, and
    two halved columns move by the whole gradient each: so only the producers' momentum can be compared.
    """
    module, optimizer, _ = trained(name, digits)
    traced = trace(module, INPUTS[name])
    group = traced.growable[0]
    layer = traced.module(group.producers[0])
    before = optimizer.state[layer.weight]["momentum_buffer"].clone()
    reader = traced.module(group.consumers[0].name)
    read_before = optimizer.state[reader.weight]["momentum_buffer"].clone()
    norms_before = {
        parameter: optimizer.state[parameter]["momentum_buffer"].clone()
        for path in group.norms
        for parameter in traced.module(path).parameters()
    }
    split_channels(traced, zero_split(traced, lambda n: torch.tensor([1]))[:1], optimizer.state)
    after = optimizer.state[layer.weight]["momentum_buffer"]
    torch.testing.assert_close(after[1] + after[-1], before[1])
    torch.testing.assert_close(after[0], before[0])
    columns = group.consumers[0].columns
    read = optimizer.state[reader.weight]["momentum_buffer"]
    torch.testing.assert_close(read[:, -columns:], read_before[:, columns : 2 * columns])
    assert read.shape == reader.weight.shape
    for path in group.norms:
        for parameter in traced.module(path).parameters():
            momentum = optimizer.state[parameter]["momentum_buffer"]
            assert torch.equal(momentum[1], momentum[-1])
            torch.testing.assert_close(momentum[1] + momentum[-1], norms_before[parameter][1])


def test_gradients_of_twins_are_half_and_of_their_columns_whole(digits):
    """What the carried-over momentum assumes, checked on the gradient itself."""
    module, _, (x, y) = trained("dscnn", digits)
    module.eval()
    F.cross_entropy(module(x), y).backward()
    traced = trace(module, INPUTS["dscnn"])
    group = traced.growable[1]
    producer, reader = traced.module(group.producers[0]), traced.module(group.consumers[0].name)
    whole, column = producer.weight.grad[2].clone(), reader.weight.grad[:, 2].clone()
    width = len(producer.weight)
    split_channels(traced, zero_split(traced, lambda n: torch.tensor([2]))[1:2])
    module.zero_grad()
    F.cross_entropy(module(x), y).backward()
    torch.testing.assert_close(producer.weight.grad[2], whole / 2, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(reader.weight.grad[:, width], column, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", INPUTS)
def test_rescaling_keeps_the_function_and_sets_the_norms(name, digits):
    fresh = filter_norms(trace(build(name), INPUTS[name]))
    module, optimizer, (x, _) = trained(name, digits)
    traced = trace(module, INPUTS[name])
    module.eval()
    with torch.no_grad():
        before = module(x)
        wanted = {key: 0.3 * norm for key, norm in fresh.items()}
        rescale_filters(traced, wanted, optimizer.state)
        torch.testing.assert_close(module(x), before, rtol=1e-4, atol=1e-4)
    for key, norm in wanted.items():
        lengths = traced.module(key).weight.flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, torch.full_like(lengths, norm))


def test_momentum_is_rescaled_as_the_gradient_is(digits):
    module, optimizer, (x, y) = trained("dscnn", digits)
    module.eval()
    traced = trace(module, INPUTS["dscnn"])
    layer = traced.module("stem.1")
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    F.cross_entropy(module(x), y).backward()
    gradient = layer.weight.grad.clone()
    optimizer.state[layer.weight]["momentum_buffer"] = gradient.clone()
    rescale_filters(traced, {"stem.1": 0.1}, optimizer.state)
    module.zero_grad()
    F.cross_entropy(module(x), y).backward()
    momentum = optimizer.state[layer.weight]["momentum_buffer"]
    torch.testing.assert_close(momentum, layer.weight.grad, rtol=1e-3, atol=1e-6)


def test_momentum_of_a_bias_is_rescaled_as_its_gradient_is(digits):
    """A bias that a batch norm takes off again has none in training mode, and one in evaluation."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    ).eval()
    x, y = torch.from_numpy(digits.train.x[:32]), torch.from_numpy(digits.train.y[:32])
    bias = module[0].bias
    F.cross_entropy(module(x), y).backward()
    state = {bias: {"momentum_buffer": bias.grad.clone()}}
    rescale_filters(trace(module, INPUTS["dscnn"]), {"0": 0.1}, state)
    module.zero_grad()
    F.cross_entropy(module(x), y).backward()
    assert bias.grad.abs().max() > 0
    torch.testing.assert_close(state[bias]["momentum_buffer"], bias.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", INPUTS)
def test_a_resized_network_takes_the_weights_of_a_grown_one(name, digits):
    module, _, (x, _) = trained(name, digits)
    traced = trace(module, INPUTS[name])
    split_channels(traced, zero_split(traced, lambda n: torch.tensor([0, 2])))
    other = trace(build(name), INPUTS[name])
    resize(other, traced.widths())
    other.graph.load_state_dict(deepcopy(traced.graph.state_dict()))
    module.eval()
    other.graph.eval()
    with torch.no_grad():
        torch.testing.assert_close(other.graph(x), module(x))


@pytest.mark.parametrize("name", INPUTS)
def test_new_channels_keep_the_function_and_learn(name, digits):
    module, optimizer, (x, y) = trained(name, digits)
    traced = trace(module, INPUTS[name])
    module.eval()
    with torch.no_grad():
        before = module(x)
    widths = traced.widths()
    rng = torch.Generator().manual_seed(0)
    for group in traced.growable:
        add_channels(traced, group, fresh_filters(traced, group, 3, rng), optimizer.state)
    assert traced.widths() == {group: n + 3 for group, n in widths.items()}
    with torch.no_grad():
        torch.testing.assert_close(module(x), before, rtol=1e-5, atol=1e-5)
    for parameter, own in optimizer.state.items():
        assert own["momentum_buffer"].shape == parameter.shape
    fit(module, x, y, steps=3)
    first = traced.growable[0]
    columns = traced.module(first.consumers[0].name).weight[:, widths[first.name]]
    assert columns.abs().sum() > 0


def test_new_filters_are_as_long_as_present_ones():
    traced = trace(build("dscnn"), INPUTS["dscnn"])
    group = traced.growable[0]
    filters = fresh_filters(traced, group, 5, torch.Generator().manual_seed(0))
    for name, rows in zip(group.filtered, filters, strict=True):
        present = traced.module(name).weight.flatten(1).norm(dim=1).mean()
        torch.testing.assert_close(rows.flatten(1).norm(dim=1), present.expand(5))


def test_new_channels_have_batch_norm_statistics_that_fit(digits):
    """With as many filters as taps the mean is exact; the variance has the right size."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Conv2d(16, 4, 1)
    )
    x, _ = samples("dscnn", digits, 128)
    norm = module[1]
    norm.momentum = None
    module(x)
    traced = trace(module, (1, 8, 8))
    group = traced.growable[0]
    add_channels(traced, group, fresh_filters(traced, group, 6, torch.Generator().manual_seed(0)))
    estimated = norm.running_mean[16:].clone(), norm.running_var[16:].clone()
    with torch.no_grad():
        made = module[0](x)[:, 16:]
    torch.testing.assert_close(estimated[0], made.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    ratio = estimated[1] / made.var((0, 2, 3))
    assert ratio.log().abs().max() < 1.5
