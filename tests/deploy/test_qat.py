"""Quantization-aware training's network computes what the device will, and can be trained."""

from dataclasses import dataclass, replace

import families
import networks
import numpy as np
import pytest
import torch
from networks import samples
from torch import nn

from edgegrow.deploy.calibrate import calibrate
from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import FloatGraph, FullyConnected, Graph, Operator, Tensor, Weighted
from edgegrow.deploy.lower import lower
from edgegrow.deploy.qat import FakeQuantized, check_trainable
from edgegrow.deploy.quantize import quantize_within
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import UnsupportedError

SMALL = {
    "mlp": (1, 8, 8),
    "conv1d": (1, 40),
    "dscnn": (1, 8, 8),
    "mobilenet": (1, 28, 28),
    "resnet8": (1, 8, 8),
}
every_network = pytest.mark.parametrize("name", [*SMALL, *families.FAMILIES])


def shape_of(name: str) -> tuple[int, ...]:
    return SMALL.get(name, families.SHAPE)


def lowered(name: str) -> FloatGraph:
    return networks.float_graph(name, SMALL[name]) if name in SMALL else families.float_graph(name)


def fake_quantized(name: str) -> FakeQuantized:
    return FakeQuantized(lowered(name), calibrate(lowered(name), samples(shape_of(name), 128, seed=2)[0]))


def on_the_device(quantized: Graph, x: np.ndarray) -> np.ndarray:
    return quantized.dequantize_output(simulate(quantized, quantized.quantize_input(x))).reshape(len(x), -1)


def dequantized(q: np.ndarray, tensor: Tensor) -> torch.Tensor:
    return torch.from_numpy((q.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale))


@every_network
def test_it_computes_what_the_simulator_computes(name):
    network = fake_quantized(name)
    quantized = network.graph()
    x, _ = samples(shape_of(name), 300, seed=3)
    with torch.no_grad():
        logits = network(torch.from_numpy(x)).numpy()
    simulated = on_the_device(quantized, x)
    steps = np.rint((logits - simulated) / quantized.output.scale)
    straight = name in ("mlp", "conv1d", "dscnn", "resnet8")
    # Differences of one step add up over 27 layers, or over branches.
    assert (np.abs(steps) <= 1).mean() >= (0.99 if straight else 0.9)
    assert np.abs(steps).max() <= 8
    assert (logits.argmax(1) == simulated.argmax(1)).mean() >= 0.99


@every_network
def test_every_operator_computes_what_the_simulator_computes(name):
    """From the very same inputs: where they differ, it is by one step, where the device rounds twice."""
    network = fake_quantized(name)
    quantized = network.graph()
    x = quantized.quantize_input(samples(shape_of(name), 10, seed=3)[0])
    real = {quantized.input.name: dequantized(x, quantized.input)}
    for i, op in enumerate(quantized.operators, 1):
        part = replace(quantized, operators=quantized.operators[:i], output=op.output)
        expected = simulate(part, x).reshape(len(x), *op.output.shape[1:])
        with torch.no_grad():
            y = network.run(op, [real[tensor.name] for tensor in op.inputs])
        real[op.output.name] = dequantized(expected, op.output)
        steps = ((y - real[op.output.name]) / op.output.scale).round().abs().reshape(-1)
        assert steps.max() <= 1
        # Few inputs, or the mean of 16, often lie half way between two steps.
        assert steps.mean() < 0.1


@every_network
def test_untrained_it_is_deployed_as_it_was_quantized_without(name):
    network = fake_quantized(name)
    expected = networks.graph(name, SMALL[name]) if name in SMALL else families.graph(name)
    assert tflite_bytes(network.graph()) == tflite_bytes(expected)


@every_network
def test_gradients_flow_to_every_weight_and_bias(name):
    network = fake_quantized(name)
    x, labels = samples(shape_of(name), 64, seed=4)
    nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(labels)).backward()
    weighted = [op for op in network.start.operators if isinstance(op, Weighted)]
    assert len(network.values) == 2 * len(weighted)
    for value in network.values:
        assert torch.isfinite(value.grad).all()
        rows = value.grad.flatten(1) if value.ndim > 1 else value.grad[None]
        assert rows.abs().sum() > 0


def test_the_gradient_is_that_of_the_float_network_where_nothing_is_clamped():
    """Rounding counts as the identity: at fine steps the gradients of both networks agree."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3, bias=False), nn.Flatten(), nn.Linear(80, 3))
    x, labels = samples((2, 8, 8), 100)
    graph_of = lower(module, (2, 8, 8))
    network = FakeQuantized(graph_of, calibrate(graph_of, x))
    for candidate in (module, network):
        logits = candidate(torch.from_numpy(x))
        nn.functional.cross_entropy(logits, torch.from_numpy(labels % 3)).backward()
    expected = module[0].weight.grad.permute(0, 2, 3, 1)
    torch.testing.assert_close(
        network.values[0].grad, expected, rtol=0, atol=0.05 * expected.abs().max().item()
    )
    torch.testing.assert_close(
        network.values[1].grad,
        module[0].bias.grad,
        rtol=0,
        atol=0.05 * module[0].bias.grad.abs().max().item(),
    )


def test_what_is_clamped_has_no_gradient():
    graph_of = lower(nn.Sequential(nn.Linear(4, 3), nn.ReLU6(), nn.Linear(3, 2)), (4,))
    first, second = graph_of.operators
    ranges = {"input": (-4.0, 4.0), first.output.name: (0.0, 6.0), second.output.name: (-9.0, 9.0)}
    bias = np.float32([-50, 50, 3])  # below 0, above 6, within
    first = replace(first, weight=np.full((3, 4), 0.1, np.float32), bias=bias)
    network = FakeQuantized(replace(graph_of, operators=(first, second)), ranges)
    network(torch.ones(5, 4)).sum().backward()
    gradient = network.values[0].grad.abs().sum(1)
    assert gradient[0] == gradient[1] == 0
    assert gradient[2] > 0


def unbalanced(graph_of: FloatGraph, spread: float) -> FloatGraph:
    """Scale each channel between two layers by a factor of its own: the same function, badly quantized."""
    rng = np.random.default_rng(1)
    operators = list(graph_of.operators)
    for i, second in enumerate(graph_of.operators[1:]):
        first = operators[i]
        if not (isinstance(first, Weighted) and isinstance(second, Weighted)):
            continue
        factors = np.exp(spread * rng.normal(size=first.bias.size)).astype(np.float32)
        weight = first.weight * factors.reshape(first.along_channels)
        operators[i] = replace(first, weight=weight, bias=first.bias * factors)
        operators[i + 1] = replace(second, weight=second.weight / factors)
    return replace(graph_of, operators=tuple(operators))


@pytest.mark.parametrize(
    ("name", "spread"),
    [("dscnn", 1.2), ("mlp", 1.2), ("mlp", 1.5)],
)
def test_training_lowers_the_loss_where_quantization_is_bad(name, spread):
    graph_of = unbalanced(lowered(name), spread)
    x, labels = samples(shape_of(name), 640, seed=5)
    fresh, fresh_labels = samples(shape_of(name), 500, seed=6)
    np.testing.assert_allclose(evaluate(graph_of, fresh), evaluate(lowered(name), fresh), rtol=0, atol=1e-3)
    network = FakeQuantized(graph_of, calibrate(graph_of, x))

    def loss() -> float:
        logits = torch.from_numpy(on_the_device(network.graph(), fresh))
        return nn.functional.cross_entropy(logits, torch.from_numpy(fresh_labels)).item()

    in_float = torch.from_numpy(evaluate(graph_of, fresh))
    least = nn.functional.cross_entropy(in_float, torch.from_numpy(fresh_labels)).item()
    before = loss()
    assert before > 2 * least
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, nesterov=True)
    for _ in range(4):
        for part, wanted in zip(np.split(x, 10), np.split(labels, 10), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(torch.from_numpy(part)), torch.from_numpy(wanted)).backward()
            optimizer.step()
    assert loss() - least < 0.7 * (before - least)


def test_training_leaves_the_ranges_and_the_float_graph_as_they_were():
    graph_of = lowered("mlp")
    network = fake_quantized("mlp")
    before = [op.weight.copy() for op in graph_of.operators if isinstance(op, Weighted)]
    with torch.no_grad():
        for value in network.values:
            value *= 1.01
    trained = network.float_graph()
    for old, op, now in zip(before, graph_of.operators, trained.operators, strict=True):
        np.testing.assert_array_equal(op.weight, old)
        np.testing.assert_array_equal(now.weight, np.float32(1.01) * old)
    assert tflite_bytes(network.graph()) == tflite_bytes(quantize_within(trained, network.ranges))
    first, later = networks.graph("mlp", SMALL["mlp"]), network.graph()
    assert [tensor.scale for tensor in later.tensors] == [tensor.scale for tensor in first.tensors]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(128, 3)

    def forward(self, x):
        return self.last(self.shared(torch.relu(self.shared(x))).flatten(1))


def test_a_module_called_twice_stays_one():
    graph_of = lower(Twice(), (2, 8, 8))
    network = FakeQuantized(graph_of, calibrate(graph_of, samples((2, 8, 8), 50)[0]))
    assert len(network.values) == 4
    network(torch.from_numpy(samples((2, 8, 8), 8)[0])).square().sum().backward()
    with torch.no_grad():
        for value in network.values:
            value -= 0.01 * value.grad
    first, second, _ = network.float_graph().operators
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.bias, second.bias)
    assert not np.array_equal(first.weight, graph_of.operators[0].weight)


@dataclass(frozen=True, eq=False)
class Cube(Operator):
    """An operator that nobody has told how to compute."""


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 40), (12,)])
def test_an_operator_that_cannot_be_trained_is_named(shape):
    graph_of = lower(nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3)), shape)
    check_trainable(graph_of)
    cube = Cube("head.cube", (graph_of.output,), replace(graph_of.output, name="cubed"))
    odd = replace(graph_of, operators=(*graph_of.operators, cube), output=cube.output)
    assert isinstance(odd.operators[0], FullyConnected)
    with pytest.raises(UnsupportedError, match=r"operator head\.cube: Cube") as error:
        check_trainable(odd)
    assert "\n" not in str(error.value)
