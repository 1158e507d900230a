import dataclasses

import numpy as np
import pytest
from c_packages import ALIGNMENT, TRAPS, Layers, Library, constant, needs_compiler, selftest, selftest_on
from interpreters import tflm
from networks import CASES, NAMES, float_graph, graph, samples

from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.c import c_package, write_c
from edgegrow.deploy.c_scale import pack_products
from edgegrow.deploy.graph import AveragePool2D, Graph, MaxPool2D, Operator, Tensor
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError, UnsupportedError

pytestmark = needs_compiler
SMALL = ("dscnn", (1, 8, 8))

ODD = {
    "stride 2, same": Layers(9, 7, 3).conv(5, (3, 3), (2, 2)),
    "stride 2, valid": Layers(9, 8, 4).conv(8, (3, 3), (2, 2), "VALID", activation="relu"),
    "strides 1 and 3": Layers(7, 10, 2).conv(6, (2, 5), (1, 3)),
    "one channel": Layers(8, 8, 1).conv(1, (3, 3)),
    "one position": Layers(3, 3, 5).conv(7, (3, 3), (1, 1), "VALID"),
    "a kernel greater than the map": Layers(2, 2, 3).conv(4, (5, 5), activation="relu6"),
    "pointwise": Layers(5, 5, 16).conv(12, (1, 1), activation="relu"),
    "pointwise, stride 2": Layers(5, 6, 7).conv(9, (1, 1), (2, 2)),
    "a signal": Layers(1, 40, 3).conv(6, (1, 7), (1, 2)).conv(6, (1, 3), depthwise=True),
    "depthwise": Layers(7, 9, 5).conv(5, (3, 3), depthwise=True, activation="relu"),
    "depthwise, even width": Layers(6, 8, 4).conv(4, (3, 3), (1, 1), "VALID", depthwise=True),
    "depthwise, stride 2": Layers(9, 8, 6).conv(6, (3, 3), (2, 2), depthwise=True, activation="relu6"),
    "depthwise, multiplier 3": Layers(6, 7, 2).conv(6, (5, 4), (1, 1), "VALID", depthwise=True),
    "depthwise, 2 x 2": Layers(6, 7, 3).conv(3, (2, 2), (3, 1), depthwise=True),
    "depthwise, several bands": Layers(60, 50, 2).conv(2, (3, 3), depthwise=True),
    "depthwise, several bands, between others": Layers(60, 50, 2)
    .conv(2, (1, 1))
    .conv(2, (3, 3), depthwise=True)
    .conv(2, (1, 1)),
    "depthwise, several bands, stride 2": Layers(60, 51, 1).conv(2, (5, 5), (2, 2), depthwise=True),
    "relu with another zero point": Layers(5, 5, 4).conv(8, (3, 3), activation="relu", zero_point=-60),
    "relu6 with another zero point": Layers(5, 5, 4).conv(8, (3, 3), activation="relu6", zero_point=-100),
    "in place, odd positions": Layers(5, 5, 8)
    .conv(8, (1, 1))
    .conv(8, (1, 1))
    .conv(6, (1, 1))
    .conv(6, (3, 3), (2, 2), depthwise=True)
    .linear(4),
    "linear": Layers(37).linear(11),
    "linear, one feature": Layers(1).linear(3, activation="relu"),
    "linear of a map": Layers(3, 3, 3).linear(10),
    "linear, sums of 25 bits": Layers(3000).linear(4, spread=1000),
    "weights of -128": Layers(4, 4, 8).conv(8, (3, 3), extreme=-128),
    "gains above 1": Layers(4, 4, 3).conv(8, (3, 3), gain=400.0),
    "gains about 1": Layers(4, 4, 3).conv(8, (1, 1), gain=30.0),
    "gains that round to 0": Layers(4, 4, 3).conv(8, (3, 3), gain=1e-12),
    "average": Layers(6, 7, 5).pool(AveragePool2D, (2, 3), (2, 2)),
    "average, padded": Layers(6, 7, 5).pool(AveragePool2D, (3, 3), (2, 2), "SAME"),
    "global average": Layers(6, 7, 5).pool(AveragePool2D, (6, 7), (6, 7)),
    "maximum": Layers(6, 7, 5).pool(MaxPool2D, (2, 2), (2, 2)),
    "maximum, padded": Layers(6, 7, 5).pool(MaxPool2D, (3, 3), (1, 2), "SAME"),
    "add": Layers(5, 5, 3).conv(3, (3, 3)).add_input(0.07),
    "add, relu": Layers(5, 5, 3).conv(3, (3, 3), gain=0.3).add_input(0.03, "relu"),
    "add, relu6": Layers(5, 5, 3).add_input(0.05, "relu6"),
}


def random_inputs(quantized: Graph, n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-128, 128, (n, *quantized.input.shape[1:]), np.int8)


def check(quantized: Graph, folder, q: np.ndarray, *flags: str) -> None:
    write_c(quantized, folder)
    np.testing.assert_array_equal(Library(folder, quantized, *flags).run(q), simulate(quantized, q))


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_networks_bit_for_bit(name, shape, tmp_path):
    quantized = graph(name, shape)
    real = quantized.quantize_input(samples(shape, 20, seed=3)[0])
    check(quantized, tmp_path, np.concatenate([real, random_inputs(quantized, 20)]))
    assert selftest(tmp_path) == 0


@pytest.mark.parametrize("name", ODD)
def test_odd_layers_bit_for_bit(name, tmp_path):
    quantized = ODD[name].graph()
    q = random_inputs(quantized, 50)
    q[0], q[1] = -128, 127
    check(quantized, tmp_path, q, *TRAPS)


@pytest.mark.parametrize("name", ["depthwise, stride 2", "add", "weights of -128", "linear, sums of 25 bits"])
def test_odd_layers_are_those_of_tflite_micro(name):
    quantized = ODD[name].graph()
    q = random_inputs(quantized, 50)
    np.testing.assert_array_equal(simulate(quantized, q), tflm(tflite_bytes(quantized), q))


@pytest.mark.parametrize("core", ["cortex_m0plus", "cortex_m3", "cortex_m4", "cortex_m7", "cortex_m33+dsp"])
def test_networks_on_a_microcontroller(core, tmp_path):
    for name, shape in [("dscnn", (1, 8, 8)), ("resnet8", (1, 8, 8)), ("conv1d", (1, 40)), ("mlp", (1, 40))]:
        write_c(graph(name, shape), tmp_path)
        assert selftest_on(core, tmp_path) == 0


def test_odd_layers_on_a_cortex_m4(tmp_path):
    for name, layers in ODD.items():
        write_c(layers.graph(), tmp_path)
        assert selftest_on("cortex_m4", tmp_path) == 0, name


@pytest.mark.parametrize("optimization", ["-O0", "-O1", "-Os", "-O3"])
def test_every_optimization(optimization, tmp_path):
    write_c(graph("mobilenet", (1, 28, 28)), tmp_path)
    assert selftest_on("cortex_m4", tmp_path, optimization, "-DMODEL_PROFILE") == 0


@pytest.mark.parametrize("core", [None, "cortex_m4"])
def test_selftest_finds_a_wrong_output(core, tmp_path):
    write_c(graph(*SMALL), tmp_path)
    source = tmp_path / "src/model_selftest.c"
    before, expected = source.read_text().split("expected[10] = {\n    ")
    first, rest = expected.split(",", 1)
    source.write_text(f"{before}expected[10] = {{\n    {int(first) ^ 1},{rest}")
    assert (selftest_on(core, tmp_path) if core else selftest(tmp_path)) == 1


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_equal_graphs_give_equal_packages(name, shape):
    again = quantize(float_graph(name, shape), samples(shape, 128, seed=2)[0])
    assert c_package(graph(name, shape)) == c_package(again)


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_arena_is_hardly_more_than_that_of_tflite_micro(name, shape, tmp_path):
    write_c(graph(name, shape), tmp_path)
    assert constant(tmp_path, "MODEL_ARENA_BYTES") <= plan_arena(graph(name, shape)).peak_bytes + 2304


def test_arena_of_a_separable_network_is_half_that_of_tflite_micro(tmp_path):
    layers = Layers(25, 6, 1).conv(64, (3, 3))
    for _ in range(4):
        layers.conv(64, (3, 3), depthwise=True, activation="relu").conv(64, (1, 1), activation="relu")
    quantized = layers.linear(5).graph()
    check(quantized, tmp_path, random_inputs(quantized, 10))
    assert constant(tmp_path, "MODEL_ARENA_BYTES") < 0.6 * plan_arena(quantized).peak_bytes


def test_input_and_output_may_lie_in_the_arena(tmp_path):
    quantized = graph(*SMALL)
    q = random_inputs(quantized, 5)
    write_c(quantized, tmp_path)
    library = Library(tmp_path, quantized)
    places = [constant(tmp_path, f"MODEL_{end}_OFFSET") for end in ("INPUT", "OUTPUT")]
    for sample, expected in zip(q, simulate(quantized, q), strict=True):
        room = np.zeros(library.arena_bytes + ALIGNMENT, np.int8)
        start = -room.ctypes.data % ALIGNMENT
        arena = room[start:]
        inside = arena[places[0] :][: sample.size]
        outside = arena[places[1] :][: expected.size]
        inside[:] = sample.reshape(-1)
        assert library.invoke(inside, outside, room, start) == 0
        np.testing.assert_array_equal(outside, expected)


def test_an_arena_that_is_not_aligned(tmp_path):
    quantized = graph(*SMALL)
    write_c(quantized, tmp_path)
    library = Library(tmp_path, quantized)
    room = np.zeros(library.arena_bytes + 2 * ALIGNMENT, np.int8)
    start = 4 - room.ctypes.data % ALIGNMENT % 4 + ALIGNMENT
    start += (start + room.ctypes.data) % ALIGNMENT == 0
    assert library.invoke(random_inputs(quantized, 1), np.zeros(10, np.int8), room, start) == 1


def test_only_the_kernels_used_are_there(tmp_path):
    write_c(graph("resnet8", (1, 8, 8)), tmp_path)
    write_c(graph("mlp", (1, 40)), tmp_path)
    kernels = {path.name for path in (tmp_path / "src").glob("edgegrow_*.h")}
    assert kernels == {
        f"edgegrow_{name}.h" for name in ("fully_connected", "mve", "product", "scale", "simd")
    }


def test_weights_that_cannot_be_packed():
    weights = np.zeros((4, 2), np.int8)
    weights[1, 0] = -128
    assert pack_products(weights)[1]
    weights[0, 0] = -1  # borrows from the byte above it
    assert not pack_products(weights)[1]


def test_an_operator_without_a_kernel(tmp_path):
    source, result = Tensor("input", (1, 4)), Tensor("output", (1, 4))
    with pytest.raises(UnsupportedError, match=r"operator 0 \(strange\): there is no C kernel for Operator"):
        write_c(Graph(source, result, (Operator("strange", (source,), result),)), tmp_path)


def test_names_that_would_end_a_comment(tmp_path):
    layers = Layers(4).linear(3)
    (op,) = layers.operators
    layers.operators = [dataclasses.replace(op, name="*/ #error /* \\")]
    write_c(layers.graph(), tmp_path)
    assert selftest(tmp_path) == 0


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write it"):
        write_c(graph(*SMALL), tmp_path / "file")
