"""Costs of networks that branch, at any width: tests/deploy/families.py has them."""

from __future__ import annotations

import importlib.util
import re
import sys
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.cost.cycles import CyclePrices
from edgegrow.cost.flash import SLACK_BYTES, FlashModel
from edgegrow.cost.layers import LayerShape
from edgegrow.cost.structure import random_graph, resize_graph
from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.c import c_package, write_c
from edgegrow.deploy.c_memory import constant_bytes, operator_memory
from edgegrow.deploy.graph import DepthwiseConv2D, FloatGraph, FullyConnected, Graph, Weighted
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.growth.groups import trace
from edgegrow.growth.surgery import resize

sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy"))
from families import FAMILIES, SHAPE
from tflm_arena import head

WORD_BYTES = {"uint32_t": 4, "int32_t": 4, "struct scale": 12, "int8_t": 1}
families = pytest.mark.parametrize("name", FAMILIES)


def network(name: str, widths: tuple[int, ...] | None = None, seed: int = 0) -> nn.Module:
    """Untrained, with batch norms that do something."""
    kind, default = FAMILIES[name]
    torch.manual_seed(seed)
    module = kind(*(widths or default)).eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
    return module


def layers_of(module: nn.Module, graph: FloatGraph) -> list[LayerShape]:
    """Layers as a trace tells them: convolutions and linear layers, no norms."""
    layers = []
    for op in graph.operators:
        found = dict(module.named_modules()).get(op.name)
        if isinstance(op, Weighted) and isinstance(found, nn.Conv2d | nn.Linear):
            linear, depthwise = isinstance(op, FullyConnected), isinstance(op, DepthwiseConv2D)
            cin = prod(op.inputs[0].shape) if linear else op.inputs[0].shape[3]
            taps = 1 if linear else prod(op.window.size)
            positions = prod(op.output.shape[1:-1])
            layers.append(LayerShape(op.name, cin, op.bias.size, taps, positions, depthwise, linear))
    return layers


def widths_of(name: str, seed: int) -> tuple[int, ...]:
    rng = np.random.default_rng(seed)
    return tuple(int(rng.integers(2, 2 * width)) for width in FAMILIES[name][1])


def at(name: str, widths: tuple[int, ...]) -> tuple[FloatGraph, list[LayerShape]]:
    """Lower a family at some widths; its layers too."""
    module = network(name, widths)
    graph = lower(module, SHAPE)
    return graph, layers_of(module, graph)


def samples(n: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *SHAPE)).astype(np.float32)


@families
def test_arena_equals_tflm(name):
    for seed in range(4):
        graph = quantize(at(name, widths_of(name, seed))[0], samples())
        assert plan_arena(graph).peak_bytes == head(tflite_bytes(graph))


@families
def test_a_graph_at_other_widths_is_the_network_at_other_widths(name):
    example, _ = at(name, FAMILIES[name][1])
    for seed in range(4):
        expected, layers = at(name, widths_of(name, seed))
        resized = resize_graph(example, layers)
        assert [tensor.shape for tensor in resized.tensors] == [tensor.shape for tensor in expected.tensors]
        for op, other in zip(resized.operators, expected.operators, strict=True):
            assert type(op) is type(other)
            if isinstance(op, Weighted):
                assert (op.weight.shape, op.bias.shape) == (other.weight.shape, other.bias.shape)


@families
def test_a_graph_at_the_widths_of_a_trace_is_the_grown_network(name):
    example, _ = at(name, FAMILIES[name][1])
    traced = trace(network(name), SHAPE)
    assert traced.growable
    for more in 1, 4:
        wider = {group: width + more + i for i, (group, width) in enumerate(traced.widths().items())}
        resized = resize_graph(example, traced.shapes(wider))
        resize(traced, wider)
        expected = lower(traced.graph, SHAPE)
        assert [tensor.shape for tensor in resized.tensors] == [tensor.shape for tensor in expected.tensors]
        assert plan_arena(resized) == plan_arena(expected)


@families
def test_memory_told_from_shapes_is_that_of_the_package(name):
    example, _ = at(name, FAMILIES[name][1])
    for seed in range(3):
        shaped = resize_graph(example, at(name, widths_of(name, seed))[1])
        package = c_package(random_graph(shaped, samples(), seed))
        arrays = re.findall(
            r"^static const ([\w ]+) \w+\[(\d+)\] = \{$", package["src/model.c"], re.MULTILINE
        )
        memory = {op.output.name: operator_memory(op) for op in shaped.operators}
        assert sum(WORD_BYTES[kind] * int(n) for kind, n in arrays) == constant_bytes(shaped)
        scratch = {name: m.scratch_bytes for name, m in memory.items()}
        plan = plan_arena(shaped, scratch, {name for name, m in memory.items() if m.in_place})
        assert f"#define MODEL_ARENA_BYTES {plan.peak_bytes}\n" in package["src/model.h"]


def bytes_of_equal_buffers(graph: Graph) -> int:
    """What a file does not take as equal weights and biases are written once."""
    weighted = [op for op in graph.operators if isinstance(op, Weighted)]
    buffers = [array.tobytes() for op in weighted for array in (op.weight, op.bias)]
    sizes = [-(-(len(buffer) + 12) // 16) * 16 + 4 for buffer in buffers]
    return sum(sizes) - sum(dict(zip(buffers, sizes, strict=True)).values())


@families
def test_flash_is_a_close_upper_estimate_at_any_width(name):
    example, _ = at(name, FAMILIES[name][1])
    model = FlashModel(random_graph(example, samples(), 0))

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(st.tuples(*(st.integers(2, 3 * width) for width in FAMILIES[name][1])), st.integers(0, 2**16))
    def check(widths, seed):
        module = network(name, widths, seed)
        graph = lower(module, SHAPE)
        quantized = quantize(graph, samples(seed=seed))
        file = tflite_bytes(quantized)
        shaped = resize_graph(example, layers_of(module, graph))
        equal = bytes_of_equal_buffers(quantized)  # such as biases of 0: widths do not tell them
        assert len(file) <= model(shaped) <= len(file) + equal + 2 * SLACK_BYTES

    check()


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ziglang", "unicorn", "capstone")),
    reason="pip install edgegrow[mcu]",
)
@pytest.mark.parametrize("name", ["squeeze and excite", "u-net"])
def test_cycles_at_widths_that_prices_were_not_fitted_at(name, tmp_path):
    from edgegrow.measure.mcu.emulator import emulate

    example, _ = at(name, FAMILIES[name][1])

    def observed(seed):
        graph = resize_graph(example, at(name, widths_of(name, seed))[1])
        quantized = random_graph(graph, samples(), 0)
        write_c(quantized, tmp_path / str(seed))
        q = quantized.quantize_input(samples(1)).reshape(1, -1)
        work = emulate(tmp_path / str(seed), "cortex-m4", q).operators
        cycles = [one.cycles[0] for one in work if one.cycles is not None]
        return list(zip(graph.operators, cycles[: len(graph.operators)], strict=True))

    prices = CyclePrices([pair for seed in range(4) for pair in observed(seed)])
    pairs = observed(10)
    total = sum(cycles for _, cycles in pairs)
    assert sum(prices(op) for op, _ in pairs) == pytest.approx(total, rel=0.15)
