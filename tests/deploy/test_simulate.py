import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreters import tflm
from networks import CASES, NAMES, graph, samples
from torch import nn

from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.fixed_point import fixed_point
from edgegrow.deploy.graph import Graph
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError
from edgegrow.nets.layers import conv_norm


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_bit_for_bit_as_tflite_micro(name, shape):
    quantized = graph(name, shape)
    heavy = quantized.macs > 2_000_000
    q = quantized.quantize_input(samples(shape, 50 if heavy else 1000, seed=3)[0])
    np.testing.assert_array_equal(simulate(quantized, q), tflm(tflite_bytes(quantized), q))


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_extreme_inputs(name, shape):
    quantized = graph(name, shape)
    q = np.random.default_rng(0).choice([-128, 127], size=(10, *quantized.input.shape[1:])).astype(np.int8)
    np.testing.assert_array_equal(simulate(quantized, q), tflm(tflite_bytes(quantized), q))


class RandomNet(nn.Module):
    """Convolutions of many kinds; every block may be residual or pooled."""

    def __init__(self, channels: int, size: list[int], blocks: list[dict[str, object]]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.shortcuts = []
        for block in blocks:
            stride, width = int(block["stride"]), int(block["width"])
            depthwise = bool(block["depthwise"])
            width = channels * (1 + width % 2) if depthwise else width
            layers = conv_norm(
                channels,
                width,
                size,
                kernel=int(block["kernel"]),
                stride=stride,
                groups=channels if depthwise else 1,
            )
            activation = {"none": [], "relu": [nn.ReLU()], "relu6": [nn.ReLU6()]}[str(block["activation"])]
            residual = bool(block["residual"]) and stride == 1 and width == channels
            self.shortcuts.append(residual)
            size = [-(-n // stride) for n in size]
            pool = {"none": None, "max": nn.MaxPool2d, "average": nn.AvgPool2d}[str(block["pool"])]
            pools = []
            if pool is not None and min(size) >= 2 and not residual:
                pools, size = [pool(2)], [n // 2 for n in size]
            self.blocks.append(nn.Sequential(*layers, *activation, *pools))
            channels = width
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(channels * size[0] * size[1], 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block, residual in zip(self.blocks, self.shortcuts, strict=True):
            x = block(x) + x if residual else block(x)
        return self.last(x)


blocks = st.fixed_dictionaries(
    {
        "kernel": st.sampled_from([1, 2, 3, 5]),
        "stride": st.sampled_from([1, 1, 2, 3]),
        "width": st.integers(1, 9),
        "depthwise": st.booleans(),
        "residual": st.booleans(),
        "activation": st.sampled_from(["none", "relu", "relu6"]),
        "pool": st.sampled_from(["none", "none", "max", "average"]),
    }
)


def random_graph(channels: int, size: list[int], described: list[dict[str, object]], seed: int) -> Graph:
    torch.manual_seed(seed)
    module = RandomNet(channels, size, described)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight, 1, 1)
            nn.init.normal_(norm.bias)
            norm.running_mean = torch.randn(norm.num_features)
            norm.running_var = torch.rand(norm.num_features) + 0.01
    shape = (channels, *size)
    return quantize(lower(module, shape), np.random.default_rng(seed).normal(size=(16, *shape)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 5),
    size=st.lists(st.integers(1, 11), min_size=2, max_size=2),
    described=st.lists(blocks, min_size=1, max_size=5),
    seed=st.integers(0, 2**16),
)
def test_random_networks(channels, size, described, seed):
    quantized = random_graph(channels, size, described, seed)
    q = np.random.default_rng(seed).integers(-128, 128, size=(20, *quantized.input.shape[1:]), dtype=np.int8)
    np.testing.assert_array_equal(simulate(quantized, q), tflm(tflite_bytes(quantized), q))


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)])
def test_padded_pools(pool):
    shape = (2, 7, 9)
    with torch.no_grad():
        features = pool(torch.zeros(1, *shape)).numel()
    quantized = quantize(
        lower(nn.Sequential(pool, nn.Flatten(), nn.Linear(features, 3)), shape), samples(shape, 20)[0]
    )
    q = quantized.quantize_input(samples(shape, 50)[0])
    np.testing.assert_array_equal(simulate(quantized, q), tflm(tflite_bytes(quantized), q))


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.5, (2**30, 0)),
        (1.0, (2**30, 1)),
        (0.3, (1288490189, -1)),
        (1 - 2**-40, (2**30, 1)),
        (2.0**-40, (0, 0)),
    ],
)
def test_fixed_point(real, expected):
    assert fixed_point(real) == expected


@pytest.mark.parametrize("q", [np.zeros((1, 8, 8, 1)), np.zeros((1, 1, 8, 8), np.int8)])
def test_inputs_that_are_not_quantized(q):
    with pytest.raises(InputError, match="use quantize_input"):
        simulate(graph("mlp", (1, 8, 8)), q)


def test_close_to_float():
    from networks import float_graph

    x, _ = samples((1, 28, 28), 200, seed=3)
    quantized = graph("dscnn", (1, 28, 28))
    logits = quantized.dequantize_output(simulate(quantized, quantized.quantize_input(x)))
    expected = evaluate(float_graph("dscnn", (1, 28, 28)), x)
    assert np.mean(logits.argmax(1) == expected.argmax(1)) >= 0.99
