"""Costs at other widths are those of the network that has them: counted exactly, RAM as planned."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.cost.flash import SLACK_BYTES, FlashModel
from edgegrow.cost.fvcore import fvcore_macs
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.cost.model import LayerCosts, check_predicted
from edgegrow.cost.structure import random_graph
from edgegrow.delivery import flash_model
from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.graph import Weighted
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError, UnsupportedError
from edgegrow.growth.groups import trace
from edgegrow.growth.surgery import resize, take_channels
from edgegrow.nets import load_net
from tests.growth.architectures import FAMILIES

METRICS = ("macs", "params", "ram_bytes", "flash_bytes")


def widened(net, shape, widths):
    """The net's default module, its groups given these widths by surgery."""
    torch.manual_seed(0)
    traced = trace(load_net(net).build(shape, 10), shape)
    for group in traced.growable:
        index = torch.randint(0, traced.widths()[group.name], (widths[group.name],))
        take_channels(traced, group, index, torch.rand(len(index)))
    for name, parameter in traced.graph.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)  # equal ones would be stored once
    return traced


@pytest.mark.parametrize("net", ["mlp", "dscnn", "mobilenet", "resnet8"])
def test_costs_equal_the_recount_after_surgery(net, digits):
    example = trace(load_net(net).build(digits.input_shape, 10), digits.input_shape)
    graph = lower(example.graph, digits.input_shape)
    flash = flash_model(example, digits)
    costs = LayerCosts(METRICS, flash, graph)
    names = list(example.widths())

    @settings(max_examples=6, deadline=None)
    @given(st.lists(st.integers(2, 70), min_size=len(names), max_size=len(names)))
    def check(drawn):
        widths = dict(zip(names, drawn, strict=True))
        predicted = costs(example.shapes(widths))
        traced = widened(net, digits.input_shape, widths)
        assert traced.widths() == widths
        delivered = quantize(lower(traced.graph, digits.input_shape), digits.calibration(8))
        weighted = [op for op in delivered.operators if isinstance(op, Weighted)]
        assert predicted["macs"] == delivered.macs == fvcore_macs(traced.graph, digits.input_shape)
        assert predicted["params"] == sum(op.weight.size + op.bias.size for op in weighted)
        assert predicted["ram_bytes"] == plan_arena(delivered).peak_bytes
        size = len(tflite_bytes(delivered))
        assert size <= predicted["flash_bytes"] <= size + 2.5 * SLACK_BYTES
        again = traced.shapes(widths)
        assert (count_macs(again), count_params(again)) == (predicted["macs"], predicted["params"])

    check()


class CopiesAndNorms(torch.nn.Module):
    """Operators that stand for no layer: norms after a sum and of a pool, and copies of several widths."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(1, 4, 3, 1, 1), torch.nn.Conv2d(1, 6, 1)
        self.norm, self.tail = torch.nn.BatchNorm2d(4), torch.nn.Conv2d(14, 4, 3, 1, 1)
        self.out = torch.nn.Linear(4, 10)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        joined = torch.cat([torch.sigmoid(a), torch.sigmoid(b), self.norm(a + a)], 1)
        x = self.norm(torch.nn.functional.avg_pool2d(self.tail(joined), 3, 1, 1))
        return self.out(x.mean((2, 3)))


NETWORKS = {name: (family.build, family.shapes[0]) for name, family in FAMILIES.items()}
NETWORKS["copies and norms"] = CopiesAndNorms, (1, 8, 8)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_growth_counts_is_what_is_deployed(name):
    """Batch norms that cannot be folded, and whatever else is deployed with weights and is no layer."""
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    example = trace(build(), FAMILIES[name].shapes if name in FAMILIES else shape)
    if name in FAMILIES and (refused := FAMILIES[name].refused):
        with pytest.raises(UnsupportedError, match=refused):
            lower(example.graph, shape)
        return
    graph = lower(example.graph, shape)
    samples = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    costs = LayerCosts(METRICS, FlashModel(random_graph(graph, samples, 0)), graph)
    groups = list(example.widths())

    @settings(max_examples=4, deadline=None, derandomize=True)
    @given(st.lists(st.integers(1, 40), min_size=len(groups), max_size=len(groups)))
    def check(drawn):
        module = build()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
        traced = trace(module, shape)
        wider = {name: n + more for (name, n), more in zip(traced.widths().items(), drawn, strict=True)}
        predicted = costs(example.shapes(wider))
        resize(traced, wider)
        delivered = quantize(lower(traced.graph, shape), samples)
        weighted = [op for op in delivered.operators if isinstance(op, Weighted)]
        # What is equal is stored once: the same layer, or the same factors.
        stored = {(op.name, op.weight.tobytes()): op.weight.size + op.bias.size for op in weighted}
        assert predicted["macs"] == delivered.macs
        assert predicted["macs"] == sum(op.weight.size * np.prod(op.output.shape[1:-1]) for op in weighted)
        assert predicted["params"] == delivered.params == sum(stored.values())
        assert predicted["ram_bytes"] == plan_arena(delivered).peak_bytes
        assert len(tflite_bytes(delivered)) <= predicted["flash_bytes"]

    check()


def test_ram_is_no_sum_but_a_peak(digits):
    example = trace(load_net("mlp").build(digits.input_shape, 10), digits.input_shape)
    graph = lower(example.graph, digits.input_shape)
    costs = LayerCosts(["ram_bytes"], flash_model(example, digits), graph)
    first, second = example.widths()
    small, one, both = (
        costs(example.shapes({first: a, second: b}))["ram_bytes"] for a, b in ((64, 16), (64, 32), (512, 512))
    )
    assert small == one == 64 + 64  # the input and the first layer
    assert both == 512 + 512


@pytest.mark.parametrize("metric", ["energy_mj", "power"])
def test_what_a_host_has_no_figure_for_is_refused(metric):
    check_predicted(["macs", "latency_ms", "ram_bytes"], "host", timed=True)
    with pytest.raises(InputError, match=f"budget {metric}: target 'host' has no cost model"):
        check_predicted(["macs", metric], "host", timed=True)


def test_values_are_plain_numbers(digits):
    example = trace(load_net("mlp").build(digits.input_shape, 10), digits.input_shape)
    costs = LayerCosts(METRICS, flash_model(example, digits), lower(example.graph, digits.input_shape))
    assert {type(value) for value in costs(example.shapes(example.widths())).values()} == {float}
    assert not any(np.isnan(value) for value in costs(example.shapes(example.widths())).values())
