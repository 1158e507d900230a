from dataclasses import replace

import numpy as np
import pytest
from networks import graph, samples

from edgegrow.deploy.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    FloatGraph,
    FullyConnected,
    Graph,
    Tensor,
    Window,
    channels_last,
)
from edgegrow.errors import InputError

INPUT = Tensor("input", (1, 4, 4, 2), 0.5, 3)
MAP = Tensor("map", (1, 2, 2, 3), 0.25, -128)
CONV = Conv2D(
    "conv",
    (INPUT,),
    MAP,
    weight=np.ones((3, 3, 3, 2), np.int8),
    bias=np.zeros(3, np.int32),
    weight_scales=np.ones(3, np.float32),
    window=Window((3, 3), (1, 1), "VALID"),
)
LOGITS = Tensor("logits", (1, 2), 0.1, 0)
LINEAR = FullyConnected(
    "linear",
    (MAP,),
    LOGITS,
    weight=np.ones((2, 12), np.int8),
    bias=np.zeros(2, np.int32),
    weight_scales=np.ones(1, np.float32),
)


def test_a_valid_graph():
    valid = Graph(INPUT, LOGITS, (CONV, LINEAR))
    assert valid.macs == 4 * 54 + 24
    assert valid.tensors == (INPUT, MAP, LOGITS)


@pytest.mark.parametrize(
    ("operators", "words"),
    [
        ((LINEAR, CONV), "made by no one"),
        ((CONV,), "made by no operator"),
        ((CONV, CONV, LINEAR), "exists already"),
        ((replace(CONV, bias=np.zeros(4, np.int32)), LINEAR), "output has shape"),
        ((CONV, replace(LINEAR, weight=np.ones((2, 11), np.int8))), "weights have shape"),
        ((CONV, replace(LINEAR, weight=np.ones((2, 12), np.float32))), "int8 weights"),
        ((CONV, replace(LINEAR, bias=np.zeros(2, np.int64))), "int32 biases"),
        ((CONV, replace(LINEAR, weight_scales=np.zeros(1, np.float32))), "positive weight scales"),
        ((replace(CONV, weight_scales=np.ones(1, np.float32)), LINEAR), "3 positive weight scales"),
        ((CONV, replace(LINEAR, bias=np.full(2, 2**31 - 1, np.int32))), "overflow 32 bits"),
        ((CONV, replace(LINEAR, inputs=(replace(MAP, scale=0.5),))), "made by no one"),
        ((CONV, replace(LINEAR, output=replace(LOGITS, zero_point=200))), "out of range"),
        ((CONV, replace(LINEAR, output=replace(LOGITS, scale=float("nan")))), "out of range"),
        ((CONV, Add("add", (MAP, INPUT), Tensor("sum", MAP.shape, 1.0, 0))), "adds shapes"),
        (
            (
                CONV,
                AveragePool2D(
                    "pool", (MAP,), Tensor("p", (1, 1, 1, 3), 1.0), Window((2, 2), (2, 2), "VALID")
                ),
            ),
            "must keep the scale",
        ),
    ],
)
def test_graphs_that_do_not_fit_together(operators, words):
    with pytest.raises(InputError, match=words):
        Graph(INPUT, LOGITS, operators)


def test_a_graph_without_its_output():
    with pytest.raises(InputError, match="made by no operator"):
        FloatGraph(INPUT, LOGITS, ())


@pytest.mark.parametrize(
    ("size", "window", "pads", "output"),
    [
        ((28, 28), Window((3, 3), (2, 2), "SAME"), ((0, 1), (0, 1)), (14, 14)),
        ((7, 5), Window((3, 2), (2, 1), "SAME"), ((1, 1), (0, 1)), (4, 5)),
        ((7, 5), Window((3, 2), (2, 1), "VALID"), ((0, 0), (0, 0)), (3, 4)),
        ((5, 5), Window((1, 1), (3, 3), "SAME"), ((0, 0), (0, 0)), (2, 2)),
    ],
)
def test_windows(size, window, pads, output):
    assert window.pads(size) == pads
    assert window.output_size(size) == output


def test_macs_of_mlperf_tiny():
    assert graph("resnet8", (3, 32, 32)).macs == 12_501_632


def test_quantize_and_dequantize():
    quantized = graph("conv1d", (1, 40))
    x, _ = samples((1, 40), 20)
    q = quantized.quantize_input(x)
    assert q.dtype == np.int8
    assert q.shape == (20, 1, 40, 1)
    real = (q[:, 0, :, 0].astype(float) - quantized.input.zero_point) * quantized.input.scale
    inside = (q[:, 0, :, 0] > -128) & (q[:, 0, :, 0] < 127)
    assert np.abs(real - x[:, 0])[inside].max() <= quantized.input.scale / 2 * (1 + 1e-5)
    logits = quantized.dequantize_output(np.array([[-128, 127]], np.int8))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(np.diff(logits)[0], 255 * quantized.output.scale, rtol=1e-6)


def test_inputs_out_of_range_are_clipped():
    quantized = graph("mlp", (1, 8, 8))
    assert set(quantized.quantize_input(np.full((1, 1, 8, 8), 1e9)).ravel()) == {127}
    assert set(quantized.quantize_input(np.full((1, 1, 8, 8), -1e9)).ravel()) == {-128}


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 1, 8, 7), (5, 64), (64,)])
def test_inputs_of_another_shape(shape):
    with pytest.raises(InputError, match="do not suit"):
        graph("mlp", (1, 8, 8)).quantize_input(np.zeros(shape))


def test_inputs_that_are_not_finite():
    with pytest.raises(InputError, match="not finite"):
        graph("mlp", (1, 8, 8)).quantize_input(np.full((1, 1, 8, 8), np.nan))


def test_layouts():
    x = np.arange(24).reshape(1, 2, 3, 4)
    assert channels_last(x, (1, 3, 4, 2))[0, 1, 2, 1] == x[0, 1, 1, 2]
    signal = np.arange(6).reshape(1, 2, 3)
    assert channels_last(signal, (1, 1, 3, 2))[0, 0, 2, 1] == signal[0, 1, 2]
