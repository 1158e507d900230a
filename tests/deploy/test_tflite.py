from collections import Counter

import numpy as np
import pytest
import tflite
from interpreters import LiteRT
from networks import CASES, NAMES, float_graph, graph, samples

from edgegrow.deploy.graph import Weighted
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.rounding import XNNPACK
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes, write_tflite
from edgegrow.errors import InputError

WRITTEN = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
SEPARABLE = ("dscnn", (1, 28, 28))


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_litert_runs_it_in_xnnpack(name, shape):
    quantized = graph(name, shape)
    litert = LiteRT(tflite_bytes(quantized))
    kinds = litert.operators()
    partitions = kinds.pop("DELEGATE")
    assert set(kinds) <= WRITTEN
    assert kinds.total() == len(quantized.operators)
    # XNNPACK has no int8 average pooling.
    assert litert.undelegated() <= {"AVERAGE_POOL_2D"}
    assert partitions == 1 + kinds["AVERAGE_POOL_2D"]


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_litert_agrees_with_the_simulator(name, shape):
    """XNNPACK rounds once, in float, where TFLM rounds twice: simulated so, nothing is left of the steps."""
    quantized = graph(name, shape)
    q = quantized.quantize_input(samples(shape, 200, seed=3)[0])
    exact, fast = simulate(quantized, q), LiteRT(tflite_bytes(quantized)).run(q)
    assert np.abs(simulate(quantized, q, XNNPACK).astype(int) - fast).max() == 0
    assert np.abs(exact.astype(int) - fast).max() <= (5 if name == "mobilenet" else 3)
    assert np.mean(exact.argmax(1) == fast.argmax(1)) >= 0.99


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_size(name, shape):
    quantized = graph(name, shape)
    raw = sum(op.weight.size + 4 * op.bias.size for op in quantized.operators if isinstance(op, Weighted))
    assert len(tflite_bytes(quantized)) <= 1.10 * raw + 8192


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_equal_graphs_give_equal_bytes(name, shape):
    again = quantize(float_graph(name, shape), samples(shape, 128, seed=2)[0])
    assert tflite_bytes(graph(name, shape)) == tflite_bytes(again)


def model(data: bytes) -> tflite.Model:
    return tflite.Model.GetRootAs(data, 0)


def test_buffers_are_aligned():
    data = tflite_bytes(graph(*SEPARABLE))
    read = model(data)
    starts = []
    for i in range(read.BuffersLength()):
        buffer = read.Buffers(i)
        if not buffer.DataIsNone():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(starts) == 2 * sum(isinstance(op, Weighted) for op in graph(*SEPARABLE).operators)
    assert all(start % 16 == 0 for start in starts)


def test_ends_and_description():
    quantized = graph(*SEPARABLE)
    read = model(tflite_bytes(quantized, "a network"))
    assert read.Version() == 3
    assert read.Description() == b"a network"
    assert not read.Buffers(0).DataLength()  # by convention
    subgraph = read.Subgraphs(0)
    for index, tensor in (subgraph.Inputs(0), quantized.input), (subgraph.Outputs(0), quantized.output):
        written = subgraph.Tensors(index)
        assert written.Type() == tflite.TensorType.INT8
        assert tuple(written.ShapeAsNumpy()) == tensor.shape
        assert written.Name().decode() == tensor.name
        assert written.Quantization().Scale(0) == tensor.scale
        assert written.Quantization().ZeroPoint(0) == tensor.zero_point


def test_versions_of_operators():
    read = model(tflite_bytes(graph("resnet8", (1, 8, 8))))
    codes = [read.OperatorCodes(i) for i in range(read.OperatorCodesLength())]
    names = {code.BuiltinCode(): code.Version() for code in codes}
    assert names == {
        tflite.BuiltinOperator.CONV_2D: 3,
        tflite.BuiltinOperator.ADD: 2,
        tflite.BuiltinOperator.AVERAGE_POOL_2D: 2,
        tflite.BuiltinOperator.FULLY_CONNECTED: 4,
    }
    assert all(code.DeprecatedBuiltinCode() == code.BuiltinCode() for code in codes)


def test_parameters_are_shared():
    """Equal quantization vectors are one vector in the file."""
    subgraph = model(tflite_bytes(graph(*SEPARABLE))).Subgraphs(0)
    places = Counter()
    for i in range(subgraph.TensorsLength()):
        quantization = subgraph.Tensors(i).Quantization()
        table = quantization._tab
        zeros = quantization.ZeroPointAsNumpy()
        if len(zeros) > 1:
            places[len(zeros), table.Vector(table.Offset(10))] += 1
    assert len({length for length, _ in places}) == len(places)
    assert max(places.values()) > 2


def test_the_file_is_replaced_whole(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    write_tflite(graph(*SEPARABLE), path)
    assert path.read_bytes() == tflite_bytes(graph(*SEPARABLE))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        write_tflite(graph(*SEPARABLE), tmp_path / "none" / "model.tflite")
