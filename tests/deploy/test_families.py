"""Networks of families that branch, from torch to every runtime: tests/deploy/families.py has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from c_packages import Library, needs_compiler
from families import FAMILIES, SHAPE, float_graph, graph, inputs, network
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreters import LiteRT, ort, tflm
from mutations import mutated, structure
from networks import samples
from torch import nn

from edgegrow.deploy.c import write_c
from edgegrow.deploy.calibrate import shared_quantization
from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import Concatenation, DepthwiseConv2D, Graph, Logistic, Mul, Relu
from edgegrow.deploy.lower import lower
from edgegrow.deploy.onnx import write_onnx
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.rounding import ONNX_RUNTIME, XNNPACK
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError

families = pytest.mark.parametrize("name", FAMILIES)


@families
def test_float_graph_equals_torch(name):
    x, labels = samples(SHAPE, 100, seed=3)
    expected = network(name)(torch.from_numpy(x)).detach().numpy()
    assert np.mean(expected.argmax(1) == labels) >= 0.8  # it has learnt: its logits say something
    assert np.abs(evaluate(float_graph(name), x) - expected).max() <= 1e-5 * np.abs(expected).max()


@families
def test_bit_for_bit_as_tflite_micro(name):
    q = inputs(name)
    exact = simulate(graph(name), q)
    assert exact.std(axis=0).max() > 5
    np.testing.assert_array_equal(exact, tflm(tflite_bytes(graph(name)), q))


@families
def test_our_own_files_are_read(name):
    data = tflite_bytes(graph(name))
    read = read_tflite(data)
    assert [type(op) for op in read.operators] == [type(op) for op in graph(name).operators]
    np.testing.assert_array_equal(simulate(read, inputs(name, 10)), simulate(graph(name), inputs(name, 10)))


@families
def test_other_runtimes_agree(name, tmp_path, ort_saturates):
    """They round as simulated, but have tables of their own for sigmoids and their like.

    ONNX Runtime also averages windows in floats, in which halves are not exact, and its sums of two tensors
    are a step off now and then, which the layers behind them may double.
    """
    quantized = graph(name)
    x, _ = samples(SHAPE, 200, seed=3)
    q = quantized.quantize_input(x)
    exact = simulate(quantized, q).astype(int)
    litert = LiteRT(tflite_bytes(quantized)).run(q).astype(int)
    assert np.abs(litert - simulate(quantized, q, XNNPACK)).max() <= (name == "squeeze and excite")
    assert np.mean(litert.argmax(1) == exact.argmax(1)) >= 0.99
    logits = network(name)(torch.from_numpy(x)).detach().numpy()
    assert np.mean(exact.argmax(1) == logits.argmax(1)) >= 0.97
    for kind, offset in ("uint8", 128), ("int8", 0):
        write_onnx(quantized, tmp_path / "model.onnx", kind)
        outputs, operators = ort(tmp_path / "model.onnx", q)
        unsaturated = kind == "uint8" or not ort_saturates
        expected = simulate(quantized, q, ONNX_RUNTIME)
        steps = {"inception": 3, "squeeze and excite": 2, "inverted residual": 2}.get(name, 1)
        off = np.abs(outputs.astype(int) - offset - expected)
        assert not unsaturated or off.max() <= steps
        assert not unsaturated or np.mean(off > 0) <= (0.5 if name == "inception" else 0.1)
        assert not unsaturated or np.mean(outputs.argmax(1) == exact.argmax(1)) >= 0.99
        if kind == "uint8" and not ort_saturates:
            # What ONNX Runtime has no integer kernels for: HardSigmoid, its product, Tanh.
            assert operators["DequantizeLinear"] <= (3 if name == "squeeze and excite" else 0)


@families
@needs_compiler
def test_c_packages(name, tmp_path):
    quantized, q = graph(name), inputs(name, 20)
    write_c(quantized, tmp_path)
    library = Library(tmp_path, quantized, "-fsanitize=undefined", "-fsanitize-trap=undefined")
    np.testing.assert_array_equal(library.run(q), simulate(quantized, q))


@families
@needs_compiler
def test_c_packages_on_a_cortex_m4(name, tmp_path):
    pytest.importorskip("unicorn", reason="no unicorn: pip install edgegrow[mcu]")
    from edgegrow.measure.mcu.emulator import emulate

    quantized, q = graph(name), inputs(name, 3)
    write_c(quantized, tmp_path)
    emulation = emulate(tmp_path, "cortex-m4", q.reshape(3, -1))
    np.testing.assert_array_equal(emulation.outputs, simulate(quantized, q))


def test_concatenated_tensors_share_their_quantization():
    quantized = graph("dense")
    joins = [op for op in quantized.operators if isinstance(op, Concatenation)]
    assert len(joins) == 3
    for op in joins:
        assert {(tensor.scale, tensor.zero_point) for tensor in op.inputs} == {
            (op.output.scale, op.output.zero_point)
        }
    first = shared_quantization(float_graph("dense"))
    assert len({first[tensor.name] for op in joins for tensor in (*op.inputs, op.output)}) == 1


def test_a_shared_range_is_that_of_all():
    """The weak half of a concatenation has the steps of the strong one, which no value leaves."""
    module = Joined(100.0)
    x, _ = samples(SHAPE, 100)
    quantized = quantize(lower(module, SHAPE), x)
    (join,) = [op for op in quantized.operators if isinstance(op, Concatenation)]
    with torch.no_grad():
        values = torch.cat([module.one(torch.from_numpy(x)), module.two(torch.from_numpy(x))], 1).numpy()
    low = join.output.scale * (-128 - join.output.zero_point)
    assert low == pytest.approx(values.min(), abs=join.output.scale)
    assert low + 255 * join.output.scale == pytest.approx(values.max(), abs=join.output.scale)


class Joined(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one, self.two = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 1)
        self.two.weight.data *= gain
        self.head = nn.Linear(7, 10)

    def forward(self, x):
        return self.head(torch.cat([self.one(x), self.two(x)], 1).mean((2, 3)))


class Gated(nn.Module):
    """A gate whose input is as large as `gain`."""

    def __init__(self, gain: float, function: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.gate, self.function = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1), function
        self.gate.weight.data *= gain
        self.gate.bias.data *= gain
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        return self.head((self.conv(x) * self.function(self.gate(x))).mean((2, 3)))


@pytest.mark.parametrize("gain", [1e-12, 1e-4, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("function", [nn.Sigmoid(), nn.Tanh(), nn.Hardsigmoid()])
def test_gates_of_any_size(gain, function):
    module = Gated(gain, function)
    x, _ = samples(SHAPE, 60)
    float_graph = lower(module, SHAPE)
    quantized = quantize(float_graph, x)
    q = quantized.quantize_input(x)
    exact = simulate(quantized, q)
    np.testing.assert_array_equal(exact, tflm(tflite_bytes(quantized), q))
    error = quantized.dequantize_output(exact) - evaluate(float_graph, x)
    assert np.abs(error).max() < 12 * quantized.output.scale


class Functions(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.mix = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1)
        self.conv.weight.data *= gain
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = nn.functional.silu(self.conv(x))
        return self.head(nn.functional.hardswish(self.mix(x)).mean((2, 3)))


@pytest.mark.parametrize("gain", [1e-4, 1.0, 100.0])
def test_smooth_activations_of_any_size(gain):
    x, _ = samples(SHAPE, 60)
    quantized = quantize(lower(Functions(gain), SHAPE), x)
    q = inputs("dense", 50)
    np.testing.assert_array_equal(simulate(quantized, q), tflm(tflite_bytes(quantized), q))


def test_a_sigmoid_of_huge_values_is_refused():
    with pytest.raises(InputError, match="scales differ too much"):
        quantize(lower(Functions(1e5), SHAPE), samples(SHAPE, 60)[0])


class Weave(nn.Module):
    """Branches of all kinds, joined, multiplied and joined again."""

    def __init__(self, channels: list[int], gate: str, factor: int, clamp: type[nn.Module] | None) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(2, n, 1) for n in channels)
        total = sum(channels)
        self.gate, self.factor = gate, factor
        self.excite = nn.Conv2d(total, total if gate == "channels" else 1, 1)
        self.clamp = nn.Identity() if clamp is None else clamp()
        self.norm = nn.BatchNorm2d(2 * total)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.head = nn.Linear(2 * total, 4)

    def forward(self, x):
        x = self.clamp(torch.cat([branch(x) for branch in self.branches], 1))
        match self.gate:
            case "channels":
                y = x * torch.sigmoid(self.excite(x.mean((2, 3), keepdim=True)))
            case "places":
                y = nn.functional.hardsigmoid(self.excite(x)) * x
            case _:
                y = x * x
        x = torch.cat([x, y], 1)
        x = self.norm(nn.functional.interpolate(x, scale_factor=self.factor))
        return self.head(nn.functional.silu(x).mean((2, 3)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    channels=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    gate=st.sampled_from(["channels", "places", "itself"]),
    factor=st.integers(1, 4),
    clamp=st.sampled_from([None, nn.ReLU, nn.ReLU6]),
    seed=st.integers(0, 2**16),
)
def test_woven_networks(size, channels, gate, factor, clamp, seed):
    torch.manual_seed(seed)
    module, shape = Weave(channels, gate, factor, clamp).eval(), (2, *size)
    x = np.random.default_rng(seed).normal(size=(16, *shape)).astype(np.float32)
    float_graph = lower(module, shape)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(evaluate(float_graph, x), expected, atol=1e-5 * max(1, np.abs(expected).max()))
    quantized = quantize(float_graph, x)
    q = np.random.default_rng(seed).integers(-128, 128, (20, *quantized.input.shape[1:]), np.int8)
    np.testing.assert_array_equal(simulate(quantized, q), tflm(tflite_bytes(quantized), q))


def test_operators_that_nothing_fuses_with():
    """Each family is there for what it has: none of it is folded away."""
    kinds = {name: [type(op) for op in graph(name).operators] for name in FAMILIES}
    assert kinds["squeeze and excite"].count(Mul) == 4
    assert kinds["squeeze and excite"].count(Logistic) == 2
    assert kinds["dense"].count(DepthwiseConv2D) == 4
    assert kinds["inception"].count(Relu) == 1


def test_damaged_files_end_in_one_line():
    files = [tflite_bytes(graph(name)) for name in FAMILIES]
    places = [structure(data) for data in files]
    messages = []
    for seed in range(600):
        try:
            read_tflite(mutated(files, places, seed))  # what it takes is a graph that fits together
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 300
    assert not any("\n" in message for message in messages)


def test_a_graph_whose_concatenation_does_not_share_is_refused():
    quantized = graph("dense")
    join = next(op for op in quantized.operators if isinstance(op, Concatenation))
    output = replace(join.output, scale=2 * join.output.scale)
    with pytest.raises(InputError, match="must keep the scale"):
        Graph(quantized.input, output, (*quantized.operators[:3], replace(join, output=output)))
