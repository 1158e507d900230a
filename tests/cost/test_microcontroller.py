"""Costs on a microcontroller against what the emulator finds, at widths that prices were not fitted at."""

import importlib.util
import re
from dataclasses import replace

import numpy as np
import pytest

from edgegrow.cost.microcontroller import (
    SLACK_CYCLES,
    SLACK_FLASH_BYTES,
    SLACK_RAM_BYTES,
    MicrocontrollerCosts,
    emulate_network,
)
from edgegrow.cost.structure import random_graph, resize_graph
from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.c import c_package
from edgegrow.deploy.c_memory import constant_bytes, operator_memory
from edgegrow.deploy.lower import lower
from edgegrow.errors import InputError
from edgegrow.growth.seed import build_network
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.mcu.cores import find_core
from edgegrow.measure.mcu.emulator import emulate
from edgegrow.measure.meters.constant import ActivePower
from edgegrow.nets import load_net

needs_emulator = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ziglang", "unicorn", "capstone")),
    reason="pip install edgegrow[mcu]",
)
BOARD = Board(
    name="board",
    core=find_core("cortex-m4"),
    clock_hz=100e6,
    cycle_scale=1.2,
    calibration="none",
    power=ActivePower(0.05),
)
METRICS = ("macs", "latency_ms", "energy_mj", "ram_bytes", "flash_bytes")
WORD_BYTES = {"uint32_t": 4, "int32_t": 4, "struct scale": 12, "int8_t": 1}


class Network:
    """A net on digits, and its layers at any widths."""

    def __init__(self, name, digits):
        self.trace = build_network(load_net(name), digits.input_shape, digits.classes, None, 0)
        self.graph = lower(self.trace.graph, digits.input_shape)
        self.samples = digits.calibration(8)

    def layers(self, seed):
        rng = np.random.default_rng(seed)
        widths = self.trace.widths()
        return self.trace.shapes({name: int(rng.integers(2, 1.2 * n)) for name, n in widths.items()})

    def quantized(self, seed, weights=0):
        return random_graph(resize_graph(self.graph, self.layers(seed)), self.samples, weights)


@pytest.fixture(scope="module")
def dscnn(digits):
    return Network("dscnn", digits)


@pytest.fixture(scope="module")
def costs(dscnn):
    examples = [dscnn.layers(seed) for seed in range(5)]
    trials = [
        (layers, emulate_network(BOARD, resize_graph(dscnn.graph, layers), dscnn.samples))
        for layers in examples
    ]
    return MicrocontrollerCosts(METRICS, BOARD, dscnn.graph, trials, dscnn.samples)


def emulated(network, seed, tmp_path, weights=0):
    graph = network.quantized(seed, weights)
    for name, text in c_package(graph).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    inputs = graph.quantize_input(network.samples[:1]).reshape(1, -1)
    found = emulate(tmp_path, "cortex-m4", inputs)
    latency = found.total.cycles[0] * 1.2 / 100e3
    return {"latency_ms": latency, "energy_mj": 0.05 * latency, "ram_bytes": found.ram_bytes,
            "flash_bytes": found.flash_bytes}  # fmt: skip


@pytest.mark.parametrize("name", ["mlp", "conv1d", "dscnn", "mobilenet", "resnet8"])
def test_memory_told_from_shapes_is_that_of_the_package(name, digits):
    if name == "conv1d":
        digits = replace_signals(digits)
    network = Network(name, digits)
    for seed in range(3):
        shaped = resize_graph(network.graph, network.layers(seed))
        package = c_package(network.quantized(seed))
        arrays = re.findall(
            r"^static const ([\w ]+) \w+\[(\d+)\] = \{$", package["src/model.c"], re.MULTILINE
        )
        memory = {op.output.name: operator_memory(op) for op in shaped.operators}
        assert sum(WORD_BYTES[kind] * int(n) for kind, n in arrays) == constant_bytes(shaped)
        scratch = {name: m.scratch_bytes for name, m in memory.items()}
        plan = plan_arena(shaped, scratch, {name for name, m in memory.items() if m.in_place})
        assert f"#define MODEL_ARENA_BYTES {plan.peak_bytes}\n" in package["src/model.h"]


def replace_signals(digits):
    """Digits as signals: rows one after the other."""

    def signals(split):
        return replace(split, x=split.x.reshape(len(split.x), 1, -1))

    return replace(digits, train=signals(digits.train), validation=signals(digits.validation),
                   test=signals(digits.test))  # fmt: skip


@needs_emulator
def test_predictions_at_other_widths(costs, dscnn, tmp_path):
    costs.recall({})
    for seed in (10, 11, 12):
        predicted = costs(dscnn.layers(seed))
        found = emulated(dscnn, seed, tmp_path / str(seed))
        assert predicted["latency_ms"] == pytest.approx(found["latency_ms"], rel=0.12)
        assert predicted["energy_mj"] == pytest.approx(found["energy_mj"], rel=0.12)
        assert found["flash_bytes"] <= predicted["flash_bytes"] <= 1.15 * found["flash_bytes"]
        assert found["ram_bytes"] - 16 <= predicted["ram_bytes"] <= found["ram_bytes"] + 64


@needs_emulator
def test_a_check_makes_the_model_agree(costs, dscnn, tmp_path):
    costs.recall({})
    layers = dscnn.layers(20)
    before = costs(layers)
    checked = costs.check(layers)
    found = emulated(dscnn, 20, tmp_path)
    assert checked["latency_ms"] == pytest.approx((1 + SLACK_CYCLES) * found["latency_ms"], rel=1e-12)
    assert checked["flash_bytes"] == found["flash_bytes"] + SLACK_FLASH_BYTES
    assert checked["ram_bytes"] == found["ram_bytes"] + SLACK_RAM_BYTES
    assert costs(layers) == pytest.approx(checked, rel=1e-12)
    assert before["latency_ms"] != pytest.approx(checked["latency_ms"], rel=1e-6)
    learnt, other = costs.learnt(), costs(dscnn.layers(21))
    costs.recall({})
    assert costs(layers) == before
    costs.recall(learnt)
    assert costs(dscnn.layers(21)) == other


@needs_emulator
def test_other_weights_stay_within_the_slack(costs, dscnn, tmp_path):
    bound = costs.check(dscnn.layers(30))
    for weights in (1, 2, 3):
        found = emulated(dscnn, 30, tmp_path / str(weights), weights)
        assert all(value <= bound[metric] for metric, value in found.items())


@pytest.mark.parametrize(
    ("metric", "board", "message"),
    [
        ("latency_ms", replace(BOARD, cycle_scale=None), "no calibrated cycle model"),
        ("energy_mj", replace(BOARD, cycle_scale=None), "no calibrated cycle model"),
        ("energy_mj", replace(BOARD, power=None), "no power figure"),
    ],
)
def test_what_a_board_gives_no_figure_for_is_refused(metric, board, message, dscnn):
    with pytest.raises(InputError, match=message):
        MicrocontrollerCosts([metric], board, dscnn.graph, [], dscnn.samples)
