import numpy as np
import pytest
from foreign_files import Chain, every_operator
from interpreters import LiteRT, tflm

from edgegrow.deploy.fixed_point import fixed_point, multiply
from edgegrow.deploy.graph import (
    AveragePool2D,
    Concatenation,
    Conv2D,
    FullyConnected,
    Graph,
    HardSwish,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Relu,
    Softmax,
    Tanh,
    Tensor,
    UpsampleNearest2D,
    Window,
)
from edgegrow.deploy.onnx import write_onnx
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError, UnsupportedError

SIGMOID = 1 / 256, -128


def inputs(graph: Graph, n: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q = rng.integers(-128, 128, size=(n, *graph.input.shape[1:]), dtype=np.int8)
    q[: n // 4] = rng.choice([-128, 127], size=q[: n // 4].shape)
    q[n // 4 : n // 2] = rng.integers(-4, 4, size=q[: n // 4].shape)
    return q


def equal(graph: Graph) -> None:
    q = inputs(graph)
    np.testing.assert_array_equal(simulate(graph, q), tflm(tflite_bytes(graph), q))


def shapes(rng: np.random.Generator) -> tuple[int, ...]:
    return (1, *(int(n) for n in rng.integers(1, 9, rng.integers(1, 4))))


BUILD = {
    "softmax": lambda c, rng: c.add(Softmax, beta=float(rng.choice([0.5, 1.0, 2.0]))),
    "logistic": lambda c, rng: c.add(Logistic),
    "tanh": lambda c, rng: c.add(Tanh),
    "hard swish": lambda c, rng: c.add(HardSwish),
    "relu": lambda c, rng: c.add(Relu, activation="relu"),
    "relu6": lambda c, rng: c.add(Relu, activation="relu6"),
    "reshape": lambda c, rng: c.reshape((1, int(np.prod(c.input.shape)))),
    "pad": lambda c, rng: c.add(
        Pad, pads=((0, 0), *(tuple(map(int, rng.integers(0, 3, 2))) for _ in c.input.shape[1:]))
    ),
    "mul": lambda c, rng: c.add(
        Mul, c.input, c.add(Relu), activation=str(rng.choice(["none", "relu", "relu6"]))
    ),
    "concatenation": lambda c, rng: c.add(
        Concatenation,
        c.add(Relu, activation="relu6"),
        c.input,
        c.last,
        axis=int(rng.integers(1, len(c.input.shape))),
    ),
}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", BUILD)
def test_bit_for_bit_as_tflite_micro(name, seed):
    rng = np.random.default_rng(seed)
    chain = Chain(shapes(rng), seed)
    BUILD[name](chain, rng)
    equal(chain.graph())


@pytest.mark.parametrize("seed", range(20))
def test_maps(seed):
    """Means, gates of one value a channel, repeated elements, and pools with a fused activation."""
    rng = np.random.default_rng(seed)
    chain = Chain((1, *(int(n) for n in rng.integers(2, 12, 3))), seed)
    mean = chain.add(Mean, keep_dims=True)
    chain.add(Mul, *((chain.input, mean) if seed % 2 else (mean, chain.input)))
    kind = MaxPool2D if seed % 3 else AveragePool2D
    chain.add(kind, window=Window((2, 2), (1, 2), "SAME"), activation=("relu", "relu6")[seed % 2])
    chain.add(UpsampleNearest2D, factor=tuple(int(n) for n in rng.integers(1, 6, 2)))
    equal(chain.graph())
    chain.add(Mean)
    equal(chain.graph())


@pytest.mark.parametrize("scale", [2**-20, 2**-10, 0.01, 0.0371, 0.1447, 0.99, 7.9])
def test_scales_of_exponents(scale):
    for kind in Softmax, Logistic, Tanh:
        for zero_point in (-128, -5, 127):
            x = Tensor("x", (1, 256), scale, zero_point)
            ends = (1 / 128, 0) if kind is Tanh else SIGMOID
            graph = Graph(x, y := Tensor("y", x.shape, *ends), (kind("op", (x,), y),))
            q = np.stack([np.arange(-128, 128), np.full(256, 3), np.random.default_rng(0).permuted(
                np.arange(-128, 128)), np.r_[127, np.full(255, -128)]]).astype(np.int8)  # fmt: skip
            np.testing.assert_array_equal(simulate(graph, q), tflm(tflite_bytes(graph), q))


@pytest.mark.parametrize("scale", [2**-12, 0.01, 0.0234, 0.0471, 0.3, 1.7, 100.0])
def test_scales_of_hard_swish(scale):
    scale = float(np.float32(scale))
    for ratio in 1 / 127, 0.1, 0.7, 1.0, 9.0:
        for zero_points in (-128, -110), (0, 4), (127, -128):
            x = Tensor("x", (1, 256), scale, zero_points[0])
            y = Tensor("y", x.shape, float(np.float32(scale * ratio)), zero_points[1])
            graph = Graph(x, y, (HardSwish("op", (x,), y),))
            q = np.arange(-128, 128, dtype=np.int8)[None]
            np.testing.assert_array_equal(simulate(graph, q), tflm(tflite_bytes(graph), q))


def test_every_operator_together():
    equal(every_operator())


def test_litert_takes_every_operator():
    """It rounds otherwise, and steps add up."""
    graph = every_operator()
    q = inputs(graph, 200)
    exact, fast = simulate(graph, q), LiteRT(tflite_bytes(graph)).run(q)
    assert exact.std(axis=0).min() > 0.5
    assert np.abs(exact.astype(int) - fast).max() <= 12


@pytest.mark.parametrize("seed", range(12))
def test_products_of_scales_are_not_rounded(seed):
    """TFLM multiplies the scales in float64: here are the rare sums that tell it from float32."""
    rng = np.random.default_rng(seed)
    step, weight_step, out = (
        float(np.float32(2 ** rng.uniform(*ends))) for ends in ((-6, -2), (-9, -6), (-2, 2))
    )
    sums = np.arange(-1_500_000, 1_500_000)
    rounded = fixed_point(float(np.float32(step) * np.float32(weight_step)) / out)
    exact = fixed_point(step * weight_step / out)
    telling = sums[multiply(sums, *rounded) != multiply(sums, *exact)][:100]
    bias = np.r_[telling, 0].astype(np.int32)
    n = len(bias)
    x, y = Tensor("x", (1, 4), step, 0), Tensor("y", (1, n), out, 0)
    scale = np.array([weight_step], np.float32)
    equal(Graph(x, y, (FullyConnected("op", (x,), y, np.zeros((n, 4), np.int8), bias, weight_scales=scale),)))
    x, y = Tensor("x", (1, 1, 1, 4), step, 0), Tensor("y", (1, 1, 1, n), out, 0)
    weight, scales, window = (
        np.zeros((n, 1, 1, 4), np.int8),
        np.repeat(scale, n),
        Window((1, 1), (1, 1), "SAME"),
    )
    equal(Graph(x, y, (Conv2D("op", (x,), y, weight, bias, weight_scales=scales, window=window),)))


def test_quotients_of_scales_are_not_rounded():
    """As above, of a ReLU alone."""
    q, told = np.arange(-128, 128, dtype=np.int8)[None], 0
    for seed in range(600):
        step, out = (float(np.float32(2**n)) for n in np.random.default_rng(seed).uniform(-6, -2, 2))
        rounded, exact = fixed_point(float(np.float32(step) / np.float32(out))), fixed_point(step / out)
        if (multiply(np.arange(256), *rounded) == multiply(np.arange(256), *exact)).all():
            continue
        x, y = Tensor("x", (1, 256), step, -128), Tensor("y", (1, 256), out, -128)
        graph = Graph(x, y, (Relu("op", (x,), y),))
        np.testing.assert_array_equal(simulate(graph, q), tflm(tflite_bytes(graph), q))
        told += 1
    assert told


X = Tensor("x", (1, 4, 4, 2), 0.5, 3)
SAME = 0.5, 3


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (Softmax("op", (X,), Tensor("y", X.shape, *SAME)), "scale 1/256"),
        (Logistic("op", (X,), Tensor("y", X.shape, 1 / 256, 0)), "scale 1/256"),
        (Tanh("op", (X,), Tensor("y", X.shape, *SIGMOID)), "scale 1/128 and zero point 0"),
        (Relu("op", (X,), Tensor("y", X.shape, *SAME), activation="unit"), "scale 1/255"),
        (UpsampleNearest2D("op", (X,), Tensor("y", (1, 0, 4, 2), *SAME), factor=(0, 1)), "it repeats"),
        (UpsampleNearest2D("op", (X,), Tensor("y", (1, 8, 4, 2), 0.25, 3), factor=(2, 1)), "must keep"),
        (Softmax("op", (X,), Tensor("y", X.shape, *SIGMOID), beta=1e6), "differ too much"),
        (HardSwish("op", (X,), Tensor("y", X.shape, 0.5 / 128, 0)), "differ too much"),
        (Mul("op", (X, X), Tensor("y", X.shape, 1e-9, 0)), "differ too much"),
        (Relu("op", (X,), Tensor("y", X.shape, 1e-9, 0)), "differ too much"),
        (Relu("op", (X,), Tensor("y", X.shape, 0.25, 3), activation="relu6"), "must keep"),
        (Mul("op", (X,), Tensor("y", X.shape, *SAME)), "1 inputs, not 2"),
        (Mean("op", (X,), Tensor("y", (1, 3), *SAME)), "output has shape"),
        (Pad("op", (X,), Tensor("y", (1, 5, 4, 2), *SAME), pads=((0, 0), (1, 0))), "it pads 2 axes"),
        (Pad("op", (X,), Tensor("y", (1, 4, 4, 2), 0.25, 3), pads=((0, 0),) * 4), "must keep"),
        (Pad("op", (X,), Tensor("y", (2, 4, 4, 2), *SAME), pads=((0, 1), *((0, 0),) * 3)), "pads the batch"),
        (Concatenation("op", (X, X), Tensor("y", (2, 4, 4, 2), *SAME), axis=0), "along axis 0"),
        (Concatenation("op", (X, X), Tensor("y", (1, 8, 4, 2), 0.25, 3), axis=1), "must keep"),
    ],
)
def test_operators_that_do_not_fit(op, words):
    with pytest.raises(InputError, match=words):
        Graph(X, op.output, (op,))


def test_onnx_refuses_them(tmp_path):
    with pytest.raises(UnsupportedError, match=r"Pad cannot be written to ONNX"):
        write_onnx(every_operator(), tmp_path / "model.onnx", "int8")
