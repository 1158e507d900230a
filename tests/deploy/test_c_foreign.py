"""C packages of the operators of models from elsewhere."""

import numpy as np
import pytest
from c_packages import TRAPS, Library, needs_compiler
from foreign_files import Chain, every_operator
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreters import tflm

from edgegrow.deploy.c import write_c
from edgegrow.deploy.graph import (
    Concatenation,
    Graph,
    HardSwish,
    Logistic,
    Mean,
    Mul,
    Pad,
    Relu,
    Reshape,
    Softmax,
    Tanh,
    Tensor,
    UpsampleNearest2D,
)
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError, UnsupportedError

pytestmark = needs_compiler
SHARES = float(np.float32(1 / 256)), -128


def one(kind, shape, scale, ends, **fields):
    """A graph of one operator."""
    source = Tensor("input", shape, float(np.float32(scale)), 5)
    result = Tensor("output", fields.pop("result", shape), *ends)
    return Graph(source, result, (kind("op", (source,), result, **fields),))


def chain(shape, build):
    """A graph of several operators, where places of the arena are used again."""
    operators = Chain((1, *shape), seed=1)
    build(operators, operators.add(Relu))
    operators.add(Relu)
    return operators.graph()


def gain(chain, shape, scale):
    """An output whose scale decides how sums are shifted."""
    return chain.tensor((1, *shape), float(np.float32(scale)), 3)


GRAPHS = {
    "softmax": one(Softmax, (1, 12), 0.1, SHARES),
    "softmax, steep": one(Softmax, (1, 12), 3.0, SHARES, beta=2.0),
    "softmax, flat": one(Softmax, (1, 1000), 1e-4, SHARES),
    "softmax of one": one(Softmax, (1, 1), 0.5, SHARES),
    "softmax of rows": one(Softmax, (1, 3, 4, 7), 0.2, SHARES),
    "logistic": one(Logistic, (1, 4, 4, 3), 0.06, SHARES),
    "tanh": one(Tanh, (1, 4, 4, 3), 0.06, (1 / 128, 0)),
    "upsample": one(UpsampleNearest2D, (1, 3, 4, 5), 0.06, (float(np.float32(0.06)), 5), result=(1, 6, 12, 5),
                    factor=(2, 3)),
    "hard swish": one(HardSwish, (1, 4, 4, 3), 0.06, (float(np.float32(0.04)), -9)),
    "relu": one(Relu, (1, 4, 4, 3), 0.06, (float(np.float32(0.04)), -128)),
    "reshape": one(Reshape, (1, 4, 4, 3), 0.06, (float(np.float32(0.06)), 5), result=(1, 48)),
    "mean": one(Mean, (1, 5, 4, 3), 0.06, (float(np.float32(0.02)), -9), result=(1, 3)),
    "mean, gain above 1": one(Mean, (1, 5, 4, 3), 0.06, (1e-4, -9), result=(1, 3)),
    "mean of one": one(Mean, (1, 1, 1, 3), 0.06, (0.06, 9), result=(1, 1, 1, 3), keep_dims=True),
    "pad": one(Pad, (1, 3, 4, 2), 0.06, (float(np.float32(0.06)), 5), result=(1, 3, 7, 2),
               pads=((0, 0), (0, 0), (2, 1), (0, 0))),
    "pad, nothing": one(Pad, (1, 6), 0.06, (float(np.float32(0.06)), 5), pads=((0, 0), (0, 0))),
    "mul in place": chain((4, 5, 3), lambda c, x: c.add(Mul, x, c.add(Relu, x), activation="relu")),
    "mul of a square": chain((7,), lambda c, x: c.add(Mul, x, x)),
    "mul by a gate": chain((4, 5, 3), lambda c, x: c.add(Mul, c.add(Mean, x, keep_dims=True), x)),
    "mul by a small gate": chain((1, 2, 8), lambda c, x: c.add(Mul, c.add(Mean, x, keep_dims=True), x)),
    "mul, gain of 1": chain((9,), lambda c, x: c.add(Mul, x, x, output=gain(c, (9,), x.scale**2))),
    "mul, gain above 1": chain((9,), lambda c, x: c.add(Mul, x, x, output=gain(c, (9,), x.scale**2 / 300))),
    "mul, all rounded to 0": chain((9,), lambda c, x: c.add(Mul, x, x, output=gain(c, (9,), 1e5))),
    "concatenation with itself": chain((2, 3, 5), lambda c, x: c.add(Concatenation, x, x, x, axis=2)),
    "every operator": every_operator(),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_operators_bit_for_bit(name, tmp_path):
    graph = GRAPHS[name]
    rng = np.random.default_rng(0)
    q = rng.integers(-128, 128, (200, *graph.input.shape[1:]), np.int8)
    q[:100] //= rng.integers(1, 100, (100, *[1] * (q.ndim - 1)), np.int8)  # close ones too
    write_c(graph, tmp_path)
    library = Library(tmp_path, graph, *TRAPS)
    np.testing.assert_array_equal(library.run(q).reshape(200, -1), simulate(graph, q).reshape(200, -1))


@st.composite
def products(draw):
    """A product of two tensors that repeat along some axes; padding, concatenation and a mean after it."""
    rank = draw(st.integers(1, 3))
    size = [draw(st.integers(1, 5)) for _ in range(rank)]
    repeated = [[draw(st.booleans()) for _ in size] for _ in range(2)]
    start = [1 if any(either) else n for n, either in zip(size, zip(*repeated, strict=True), strict=True)]
    operators = Chain((1, *start), draw(st.integers(0, 2**16)))
    factors = []
    for which in repeated:
        operators.add(Relu, operators.input)
        for axis, n in enumerate(size, 1):
            if start[axis - 1] != n and not which[axis - 1]:
                operators.add(Concatenation, *[operators.last] * n, axis=axis)
        factors.append(operators.last)
    operators.add(Mul, *factors, activation=draw(st.sampled_from(["none", "relu", "relu6"])))
    pads = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in size]
    padded = operators.add(Pad, pads=((0, 0), *pads))
    clipped = operators.add(Relu, activation="relu6")
    operators.add(Concatenation, padded, clipped, padded, axis=draw(st.integers(1, rank)))
    if rank == 3:
        operators.add(Mean, keep_dims=draw(st.booleans()))
    return operators.graph()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(products())
def test_shapes_equal_tflite_micro(tmp_path_factory, graph):
    folder = tmp_path_factory.mktemp("shapes")
    q = np.random.default_rng(0).integers(-128, 128, (30, *graph.input.shape[1:]), np.int8)
    write_c(graph, folder)
    outputs = Library(folder, graph, *TRAPS).run(q)
    np.testing.assert_array_equal(outputs, tflm(tflite_bytes(graph), q))


def test_a_softmax_whose_sum_overflows_is_refused(tmp_path):
    longest = one(Softmax, (1, 4095), 0.1, SHARES)
    write_c(longest, tmp_path)
    q = np.zeros((1, 4095), np.int8)  # all exponentials are the greatest
    np.testing.assert_array_equal(Library(tmp_path, longest).run(q), simulate(longest, q))
    with pytest.raises(InputError, match="overflow 32 bits"):
        one(Softmax, (1, 4096), 0.1, SHARES)


def test_more_axes_than_the_kernels_take(tmp_path):
    scale = float(np.float32(0.06))
    pads = ((0, 0), *[(1, 0)] * 4)
    graph = one(Pad, (1, 2, 2, 2, 2), scale, (scale, 5), result=(1, 3, 3, 3, 3), pads=pads)
    with pytest.raises(UnsupportedError, match=r"operator 0 \(op\): the C kernel takes 3 axes, not 4"):
        write_c(graph, tmp_path)
