"""Costs of a layer that is called several times: stored once, but for norms of their own behind its calls."""

import importlib.util
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.cost.flash import SLACK_BYTES, FlashModel
from edgegrow.cost.microcontroller import MicrocontrollerCosts, emulate_network
from edgegrow.cost.model import LayerCosts
from edgegrow.cost.structure import random_graph, resize_graph
from edgegrow.deploy.c import c_package, write_c
from edgegrow.deploy.c_memory import constant_bytes
from edgegrow.deploy.calibrate import calibrate
from edgegrow.deploy.lower import lower
from edgegrow.deploy.qat import FakeQuantized
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.growth.groups import trace
from edgegrow.growth.surgery import resize
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.mcu.cores import find_core
from edgegrow.measure.mcu.emulator import emulate

needs_emulator = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ziglang", "unicorn", "capstone")),
    reason="pip install edgegrow[mcu]",
)
METRICS = ("params", "flash_bytes", "ram_bytes")
SHAPE = (4, 6, 6)
WORD_BYTES = {"uint32_t": 4, "int32_t": 4, "struct scale": 12}


class Linears(nn.Module):
    """A linear layer called twice; `norms` of its calls, of which two may be one."""

    def __init__(self, *norms: int | None) -> None:
        super().__init__()
        self.stem, self.shared, self.last = nn.Linear(144, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.norms = nn.ModuleList(nn.BatchNorm1d(12) for _ in {*norms} - {None})
        self.order = norms

    def forward(self, x):
        x = torch.relu(self.stem(x.flatten(1)))
        for norm in self.order:
            x = self.shared(x)
            x = torch.relu(x if norm is None else self.norms[norm](x))
        return self.last(x)


class Convolutions(nn.Module):
    """The same with a convolution, whose scale a channel takes up the norms' factors, but not their signs."""

    def __init__(self, *norms: int | None) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(4, 12, 1), nn.Conv2d(12, 12, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(12) for _ in {*norms} - {None})
        self.last = nn.Linear(12, 3)
        self.order = norms

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for norm in self.order:
            x = self.shared(x)
            x = torch.relu(x if norm is None else self.norms[norm](x))
        return self.last(x.mean((2, 3)))


both = pytest.mark.parametrize("kind", [Linears, Convolutions])


def trained(kind, norms, seed):
    """Norms that do something, each another thing."""
    torch.manual_seed(seed)
    module = kind(*norms).eval()
    for norm in module.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    return module


def samples(seed=0):
    return np.random.default_rng(seed).normal(size=(8, *SHAPE)).astype(np.float32)


def parameters_in(graph):
    """Weights and biases of the arrays of weights that a graph holds, equal ones once."""
    weighted = [op for op in graph.operators if hasattr(op, "weight")]
    return sum({op.weight.tobytes(): op.weight.size + op.bias.size for op in weighted}.values())


@both
@pytest.mark.parametrize("norms", [(None, None), (0, 0), (0, 1), (0, 1, 0), (None, 0)])
@pytest.mark.parametrize("start", ["untrained", "trained"])
def test_what_is_planned_is_what_is_delivered(kind, norms, start):
    """Growth prices a network whose norms are all alike yet; training moves them apart, by sign too."""
    example = trace(kind(*norms).eval() if start == "untrained" else trained(kind, norms, 0), SHAPE)
    graph = lower(example.graph, SHAPE)
    costs = LayerCosts(METRICS, FlashModel(random_graph(graph, samples(), 0)), graph)

    @settings(max_examples=3, deadline=None, derandomize=True)
    @given(st.lists(st.integers(1, 110), min_size=3, max_size=3), st.integers(1, 2**16), st.booleans())
    def check(more, seed, qat):
        traced = trace(trained(kind, norms, seed), SHAPE)
        wider = {name: n + k for (name, n), k in zip(traced.widths().items(), more, strict=False)}
        planned = costs(example.shapes(wider))
        resize(traced, wider)
        for norm in traced.graph.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(norm.weight)
        float_graph = lower(traced.graph, SHAPE)
        network = FakeQuantized(float_graph, calibrate(float_graph, samples()))
        if qat:
            network(torch.from_numpy(samples(1))).square().sum().backward()
            with torch.no_grad():
                for value in network.values:
                    value -= 0.01 * value.grad / (1e-6 + value.grad.abs().mean())
        delivered = network.graph()
        size = len(tflite_bytes(delivered))
        assert planned["params"] == float_graph.params
        assert planned["params"] == delivered.params == parameters_in(delivered)
        assert size <= planned["flash_bytes"] <= size + 2 * SLACK_BYTES

    check()


def test_equal_weights_are_counted_once_whatever_norms_they_come_from():
    """Norms of one sign leave a convolution's int8 weights equal, rounded: a file has them once."""
    module = trained(Convolutions, (0, 1), 0)
    with torch.no_grad():
        for norm, factor in zip(module.norms, (0.5, 2.0), strict=True):
            norm.weight.fill_(factor)
            norm.running_var.fill_(1 - norm.eps)
    float_graph = lower(module, SHAPE)
    network = FakeQuantized(float_graph, calibrate(float_graph, samples()))
    delivered = network.graph()
    assert delivered.params == parameters_in(delivered) == float_graph.params - 12 * 12 * 9 - 12


def test_norms_of_their_own_train_apart():
    def parameters(norms):
        graph = lower(Linears(*norms).eval(), SHAPE)
        return len(FakeQuantized(graph, calibrate(graph, samples())).values)

    assert parameters((0, 0)) == parameters((None, None)) == 6
    assert parameters((0, 1)) == 8


def test_a_flattened_map_and_a_row_read_other_columns():
    """The order of a linear layer's columns is that of the map it reads: two calls, two arrays."""

    class Flattened(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.last = nn.Linear(144, 144), nn.Linear(144, 3)

        def forward(self, x):
            return self.last(torch.relu(self.shared(torch.relu(self.shared(x.flatten(1))))))

    module = Flattened().eval()
    float_graph = lower(module, SHAPE)
    network = FakeQuantized(float_graph, calibrate(float_graph, samples()))
    delivered = network.graph()
    assert float_graph.params == delivered.params == parameters_in(delivered)
    predicted = FlashModel(random_graph(float_graph, samples(), 0))(float_graph)
    assert len(tflite_bytes(delivered)) <= predicted <= len(tflite_bytes(delivered)) + 2.5 * SLACK_BYTES


@both
def test_a_package_of_c_has_weights_that_calls_share_once(kind):
    """Norms of their own, of both signs, give each call its own."""
    for norms, arrays in {(None, None): 3, (0, 0): 3, (0, 1): 4, (0, 1, 0): 4}.items():
        module = trained(kind, norms, 0)
        graph = lower(module, SHAPE)
        source = c_package(quantize(graph, samples()))["src/model.c"]
        assert len(re.findall(r"^static const uint32_t weights_\d+\[", source, re.MULTILINE)) == arrays
        defined = re.findall(r"^static const ([\w ]+) \w+\[(\d+)\] = \{$", source, re.MULTILINE)
        assert sum(WORD_BYTES[kind] * int(count) for kind, count in defined) == constant_bytes(graph)


@needs_emulator
@pytest.mark.parametrize(("kind", "norms"), [(Linears, (0, 0)), (Convolutions, (0, 1))])
def test_flash_of_a_microcontroller_is_what_is_emulated(kind, norms, tmp_path):
    example = trace(kind(*norms).eval(), SHAPE)
    graph = lower(example.graph, SHAPE)
    board = Board(name="board", core=find_core("cortex-m4"), clock_hz=100e6)

    def layers(more):
        return example.shapes({name: n + more for name, n in example.widths().items()})

    trials = [(layers(n), emulate_network(board, resize_graph(graph, layers(n)), samples())) for n in (4, 36)]
    costs = MicrocontrollerCosts(("params", "flash_bytes"), board, graph, trials, samples())
    traced = trace(trained(kind, norms, 1), SHAPE)
    planned = costs(layers(28))
    resize(traced, {name: n + 28 for name, n in traced.widths().items()})
    delivered = quantize(lower(traced.graph, SHAPE), samples())
    write_c(delivered, tmp_path)
    q = delivered.quantize_input(samples(1))
    found = emulate(tmp_path, "cortex-m4", q.reshape(len(q), -1))
    np.testing.assert_array_equal(found.outputs, simulate(delivered, q).reshape(len(q), -1))
    assert planned["params"] == delivered.params
    assert found.flash_bytes <= planned["flash_bytes"] <= 1.05 * found.flash_bytes
