import numpy as np
import pytest
import torch
from interpreters import LiteRT, tflm
from networks import CASES, NAMES, graph, samples
from torch import nn

from edgegrow.deploy.c_scale import sums_and_scales
from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import Add, DepthwiseConv2D, FullyConnected, Graph, Pool, Weighted
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError

SHAPE = (2, 8, 8)


def small(activation: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [] if activation is None else [activation]
    return nn.Sequential(nn.Conv2d(2, 4, 3), *middle, nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 3))


def runs_everywhere(quantized: Graph, inputs: np.ndarray) -> np.ndarray:
    q = quantized.quantize_input(inputs)
    simulated = simulate(quantized, q)
    model = tflite_bytes(quantized)
    np.testing.assert_array_equal(simulated, tflm(model, q))
    litert = LiteRT(model)
    assert not litert.undelegated()
    assert np.abs(litert.run(q).astype(int) - simulated).max() <= 2
    return quantized.dequantize_output(simulated)


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_what_the_formats_ask_for(name, shape):
    quantized = graph(name, shape)
    for op in quantized.operators:
        if isinstance(op, Weighted):
            assert op.weight.dtype == np.int8
            assert np.abs(op.weight.astype(int)).max() == 127
            channels = 1 if isinstance(op, FullyConnected) else len(op.bias)
            assert op.weight_scales.shape == (channels,)
            assert op.weight.shape[op.channel_axis] == len(op.bias)
            assert (op.channel_axis == 3) == isinstance(op, DepthwiseConv2D)
            if op.activation == "relu":
                assert op.output.zero_point == -128
        if isinstance(op, Pool):
            assert op.output.scale == op.inputs[0].scale
    for tensor in quantized.tensors:
        assert tensor.scale == np.float32(tensor.scale)


def test_logits_are_within_a_few_steps_of_float():
    graph_of = lower(small(nn.ReLU()), SHAPE)
    x = np.random.default_rng(0).normal(size=(200, *SHAPE)).astype(np.float32)
    quantized = quantize(graph_of, x)
    error = runs_everywhere(quantized, x) - evaluate(graph_of, x)
    assert np.abs(error).max() < 8 * quantized.output.scale
    assert abs(error.mean()) < quantized.output.scale


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_calibration_that_is_not_finite(bad):
    x = np.zeros((100, *SHAPE), np.float32)
    x[70, 1, 2, 3] = bad
    with pytest.raises(InputError, match="input has values that are not finite"):
        quantize(lower(small(), SHAPE), x)


def test_no_calibration():
    with pytest.raises(InputError, match="no samples"):
        quantize(lower(small(), SHAPE), np.zeros((0, *SHAPE), np.float32))


def test_calibration_of_another_shape():
    with pytest.raises(InputError, match="do not suit"):
        quantize(lower(small(), SHAPE), np.zeros((5, 2, 8, 7), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(bad):
    module = small()
    module[1].weight.data[2, 1, 0, 0] = bad
    with pytest.raises(InputError, match="not finite"):
        quantize(lower(module, SHAPE), np.ones((5, *SHAPE), np.float32))


def kill_channel(module: nn.Sequential) -> None:
    module[0].weight.data[1] = 0
    module[0].bias.data[1] = 0.7


def starve_channel(module: nn.Sequential) -> None:
    module[0].weight.data[1] *= 1e-25


def kill_layer(module: nn.Sequential) -> None:
    module[0].weight.data.zero_()
    module[0].bias.data.zero_()


def drown_in_bias(module: nn.Sequential) -> None:
    module[0].weight.data *= 1e-6
    module[0].bias.data.fill_(1e4)


def drown_linear(module: nn.Sequential) -> None:
    module[-1].weight.data *= 1e-9
    module[-1].bias.data.fill_(30)


def silence(module: nn.Sequential) -> None:
    module[0].bias.data.fill_(-100)


@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.ReLU6()])
@pytest.mark.parametrize(
    "damage", [kill_channel, starve_channel, kill_layer, drown_in_bias, drown_linear, silence]
)
def test_degenerate_layers(damage, activation):
    module = small(activation)
    damage(module)
    graph_of = lower(module, SHAPE)
    x = np.random.default_rng(0).normal(size=(60, *SHAPE)).astype(np.float32)
    quantized = quantize(graph_of, x)
    logits = runs_everywhere(quantized, x)
    np.testing.assert_allclose(logits, evaluate(graph_of, x), atol=8 * quantized.output.scale)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.linear = nn.Linear(144, 3)

    def forward(self, x):
        x = self.first(x)
        return self.linear((x + self.second(x)).flatten(1))


@pytest.mark.parametrize("factor", [0, 1e-30, 1e-4, 1e2])
def test_summands_of_very_different_size(factor):
    torch.manual_seed(0)
    module = Residual()
    module.second.weight.data *= factor
    module.second.bias.data *= factor
    x = np.random.default_rng(0).normal(size=(60, *SHAPE)).astype(np.float32)
    graph_of = lower(module, SHAPE)
    quantized = quantize(graph_of, x)
    assert any(isinstance(op, Add) for op in quantized.operators)
    logits = runs_everywhere(quantized, x)
    np.testing.assert_allclose(logits, evaluate(graph_of, x), atol=8 * quantized.output.scale)


def test_a_weak_summand_that_others_read_stays_precise():
    torch.manual_seed(0)
    module = Residual()
    module.second.weight.data *= 1e4  # it reads the first's output, and so does the addition
    x = np.random.default_rng(0).normal(size=(60, *SHAPE)).astype(np.float32)
    graph_of = lower(module, SHAPE)
    quantized = quantize(graph_of, x)
    logits = quantized.dequantize_output(simulate(quantized, quantized.quantize_input(x)))
    np.testing.assert_allclose(logits, evaluate(graph_of, x), atol=8 * quantized.output.scale)


def test_signals_in_tiny_units():
    """Volts of an amplifier: everything is micro until the last layer."""
    module = small(nn.ReLU())
    module[0].bias.data *= 1e-7
    module[2].bias.data *= 1e-7
    x = 1e-7 * np.random.default_rng(0).normal(size=(60, *SHAPE)).astype(np.float32)
    module[-1].weight.data *= 1e7
    graph_of = lower(module, SHAPE)
    quantized = quantize(graph_of, x)
    np.testing.assert_allclose(
        runs_everywhere(quantized, x), evaluate(graph_of, x), atol=8 * quantized.output.scale
    )


def test_sums_that_would_overflow():
    module = nn.Sequential(nn.Flatten(), nn.Linear(70_000, 2))
    with pytest.raises(InputError, match="overflow 32 bits"):
        quantize(lower(module, (70_000,)), np.ones((2, 70_000), np.float32))


@pytest.mark.parametrize("seed", range(10))
def test_strong_weights_of_a_silent_channel_leave_the_layer_its_fast_scaling(seed):
    """They ask for an output as fine as the sums: its multiplier must stay below 1 for all its channels."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU())
    network = nn.Sequential(*network, nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        network[0].weight[0], network[0].bias[0] = 0, -1
        network[2].weight *= 1e-4
        network[2].bias.zero_()
        network[2].weight[0] = 1 + torch.rand(3, 3)
    x = np.random.default_rng(0).normal(size=(20, *SHAPE)).astype(np.float32)
    quantized = quantize(lower(network, SHAPE), x)
    (depthwise,) = (op for op in quantized.operators if isinstance(op, DepthwiseConv2D))
    assert depthwise.output.scale == pytest.approx(
        depthwise.inputs[0].scale * depthwise.weight_scales.max(), rel=1e-5
    )
    _, scales = sums_and_scales(depthwise, depthwise.weight.reshape(9, 4).T)
    assert scales.fast
    runs_everywhere(quantized, x)


def test_calibration_decides_the_range():
    x, _ = samples((1, 8, 8), 100)
    graph_of = lower(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), (1, 8, 8))
    quantized = quantize(graph_of, x)
    low = -quantized.input.scale * (quantized.input.zero_point + 128)
    assert low == pytest.approx(x.min(), abs=quantized.input.scale)
    assert low + 255 * quantized.input.scale == pytest.approx(x.max(), abs=quantized.input.scale)
