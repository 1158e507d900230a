"""Twelve families of networks: each grows wherever it says so, and keeps its function."""

import pytest
import torch
from torch.nn import functional as F

from edgegrow.cost.fvcore import fvcore_macs
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.lower import lower
from edgegrow.deploy.onnx import write_onnx
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import write_tflite
from edgegrow.errors import UnsupportedError
from edgegrow.growth.groups import trace
from edgegrow.growth.new_channels import add_channels, fresh_filters
from edgegrow.growth.surgery import ChannelSplit, resize, split_channels
from edgegrow.measuring import Options, measure_artifact

from .architectures import DEPLOYED, FAMILIES


def outputs(module, inputs):
    module.eval()
    with torch.no_grad():
        found = module(*inputs)
    return found if isinstance(found, tuple) else (found,)


def loss_sum(found, y):
    found = found if isinstance(found, tuple) else (found,)
    return sum(F.cross_entropy(logits, y % logits.shape[1], reduction="sum") for logits in found)


def inputs_of(family, n=16, dtype=torch.float32):
    rng = torch.Generator().manual_seed(1)
    drawn = tuple(torch.randn(n, *shape, generator=rng) for shape in family.shapes)
    y = torch.randint(0, 10, (n,), generator=rng)
    return tuple(x.to(dtype) for x in drawn), y


def trained(family, dtype=torch.float32, steps=4, **options):
    """Train a little, so that no norm is at its initial statistics and momentum is there."""
    torch.manual_seed(0)
    module = family.build(**options).to(dtype)
    inputs, y = inputs_of(family, dtype=dtype)
    return module, train(module, inputs, y, steps), inputs, y


def train(module, inputs, y, steps, lr=0.02):
    optimizer = torch.optim.SGD(module.parameters(), lr, momentum=0.9)
    module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        (loss_sum(module(*inputs), y) / len(y)).backward()
        optimizer.step()
    optimizer.zero_grad()
    return optimizer


def zero_split(traced, group, channels):
    directions = [
        torch.zeros(len(channels) * rows, *traced.module(name).weight.shape[1:]).to(
            traced.module(name).weight
        )
        for name, rows in zip(group.filtered, group.rows, strict=True)
    ]
    return ChannelSplit(group, channels, directions)


def assert_close(found, expected, relative):
    for after, before in zip(found, expected, strict=True):
        assert (after - before).abs().max() < relative * max(1.0, before.abs().max())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_grows_where_it_must_and_says_why_elsewhere(name):
    family = FAMILIES[name]
    traced = trace(family.build(), family.shapes)
    assert tuple(group.name for group in traced.growable) == family.growable
    for group in traced.groups:
        print(group)
        assert f"{group.name}: made by" in str(group)
        assert bool(group.fixed) == ("[fixed: " in str(group))
        if group.name in family.fixed:
            assert group.fixed == family.fixed[group.name]
    again = trace(family.build(), family.shapes)
    assert list(map(str, again.groups)) == list(map(str, traced.groups))


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_growable_group_is_widened_by_a_zero_step_and_the_function_stays(name, dtype, relative):
    """Each alone, then all at once on top; then it trains on."""
    family = FAMILIES[name]
    module, optimizer, inputs, y = trained(family, dtype)
    traced = trace(module, family.shapes)
    assert tuple(group.name for group in traced.growable) == family.growable
    expected = outputs(module, inputs)
    for group in traced.growable:
        width = traced.sizes[group.name]
        split_channels(traced, [zero_split(traced, group, torch.arange(0, width, 2))], optimizer.state)
        assert_close(outputs(module, inputs), expected, relative)
        assert traced.widths()[group.name] == width + (width + 1) // 2
    everything = [
        zero_split(traced, group, torch.arange(traced.sizes[group.name])) for group in traced.growable
    ]
    split_channels(traced, everything, optimizer.state)
    assert_close(outputs(module, inputs), expected, relative)
    assert_close(outputs(traced.graph, inputs), expected, relative)
    for parameter, own in optimizer.state.items():
        assert own["momentum_buffer"].shape == parameter.shape
    before = loss_sum(outputs(module, inputs), y)
    optimizer.param_groups[0]["lr"] = 0.01
    module.train()
    for _ in range(5):
        optimizer.zero_grad()
        (loss_sum(module(*inputs), y) / len(y)).backward()
        optimizer.step()
    assert loss_sum(outputs(module, inputs), y) < before


@pytest.mark.parametrize("name", FAMILIES)
def test_new_channels_keep_the_function(name):
    family = FAMILIES[name]
    module, optimizer, inputs, _ = trained(family)
    traced = trace(module, family.shapes)
    expected = outputs(module, inputs)
    rng = torch.Generator().manual_seed(0)
    widths = traced.widths()
    for group in traced.growable:
        filters = fresh_filters(traced, group, 2, rng)
        add_channels(traced, group, filters, optimizer.state)
        new = torch.arange(widths[group.name], widths[group.name] + 2)
        for consumer in group.consumers:
            columns = traced.places(traced.columns[consumer.name], group, new).reshape(-1)
            assert not traced.module(consumer.name).weight[:, columns].any()
        assert_close(outputs(module, inputs), expected, 1e-5)
    assert traced.widths() == {group: n + 2 for group, n in widths.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_costs_of_widths_equal_the_recount_after_surgery(name):
    family = FAMILIES[name]
    module = family.build()
    traced = trace(module, family.shapes)
    wider = {group: n + 1 + number for number, (group, n) in enumerate(traced.widths().items())}
    predicted = traced.shapes(wider)
    resize(traced, wider)
    recounted = trace(module, family.shapes)
    assert predicted == [layer.shape for layer in recounted.layers] == recounted.shapes({})
    assert recounted.widths() == wider
    weights = {id(p): p.numel() for p in module.parameters() if p.ndim > 1}
    assert sum(weights.values()) + sum(
        len(module.get_submodule(path).weight) for path in {layer.shape.name for layer in traced.layers}
    ) == count_params(predicted)
    if len(family.shapes) == 1:
        assert count_macs(predicted) == fvcore_macs(module, family.shapes[0])


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.refused])
def test_what_cannot_be_deployed_is_refused(name):
    family = FAMILIES[name]
    with pytest.raises(UnsupportedError, match=family.refused):
        lower(family.build(), family.shapes[0])


@pytest.mark.parametrize("name", [name for name, family in DEPLOYED.items() if not family.refused])
def test_what_can_be_deployed_trains_on_when_widened_agrees_and_is_measured(name, tmp_path):
    family = DEPLOYED[name]
    module, _, (x,), y = trained(family, steps=10)
    traced = trace(module, family.shapes)
    assert tuple(group.name for group in traced.growable) == family.growable
    splits = [zero_split(traced, group, torch.arange(1)) for group in traced.growable]
    split_channels(traced, splits)
    train(module, (x,), y, steps=5)
    (expected,) = outputs(module, (x,))
    graph, samples = lower(module, family.shapes[0]), x.numpy()
    assert_close([torch.from_numpy(evaluate(graph, samples))], [expected], 1e-4)
    quantized = quantize(graph, samples)
    found = quantized.dequantize_output(simulate(quantized, quantized.quantize_input(samples)))
    assert_close([torch.from_numpy(found)], [expected], 0.1)
    write_tflite(quantized, tmp_path / "model.tflite")
    write_onnx(quantized, tmp_path / "model.onnx", "uint8")
    for path in tmp_path.iterdir():
        profile = measure_artifact(path, options=Options(iterations=3, seconds=0.0))
        latency = profile.find("latency", "median")
        assert (latency.evidence, latency.value > 0) == ("measured", True)
        assert profile.artifact.bytes == path.stat().st_size
