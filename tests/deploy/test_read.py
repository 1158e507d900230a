import struct
from time import perf_counter

import numpy as np
import pytest
from foreign_files import REFERENCE_MODELS, Chain, every_operator, pack, schema, unpack
from interpreters import tflm
from mutations import mutated, structure
from networks import CASES, NAMES, graph

from edgegrow.deploy.flatbuffer import Flatbuffer
from edgegrow.deploy.graph import (
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Relu,
    Softmax,
    UpsampleNearest2D,
    Window,
)
from edgegrow.deploy.read import LARGEST_FILE, read_tflite
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.deploy.tflite_schema import SubGraph
from edgegrow.errors import InputError, UnsupportedError

OPERATOR, TYPE = schema.BuiltinOperator, schema.TensorType


def inputs(of: Graph, n: int = 50) -> np.ndarray:
    shape = (n, *of.input.shape[1:])
    return np.random.default_rng(0).integers(-128, 128, size=shape, dtype=np.int8)


@pytest.mark.parametrize("path", REFERENCE_MODELS)
def test_mlperf_tiny(path):
    read = read_tflite(path)
    q = inputs(read)
    expected = tflm(path.read_bytes(), q)
    np.testing.assert_array_equal(simulate(read, q), expected)
    np.testing.assert_array_equal(tflm(tflite_bytes(read), q), expected)
    assert read.macs == {"kws_ref_model": 2_656_768, "ad01_int8": 264_192}[path.stem]


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_our_own_files(name, shape):
    original = graph(name, shape)
    data = tflite_bytes(original)
    read = read_tflite(data)
    q = inputs(original, 10)
    np.testing.assert_array_equal(simulate(read, q), simulate(original, q))
    assert [type(op) for op in read.operators] == [type(op) for op in original.operators]
    assert read.macs == original.macs
    assert read.input.scale == original.input.scale


def test_every_operator():
    original = every_operator()
    read = read_tflite(tflite_bytes(original))
    q = inputs(original)
    np.testing.assert_array_equal(simulate(read, q), simulate(original, q))
    assert [type(op) for op in read.operators] == [type(op) for op in original.operators]


def test_a_path(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_bytes(small()))
    assert read_tflite(path).macs == read_tflite(str(path)).macs == small().macs
    assert [op.name for op in read_tflite(path).operators] == [
        "0 (CONV_2D)", "1 (DEPTHWISE_CONV_2D)", "2 (FULLY_CONNECTED)", "3 (SOFTMAX)",
    ]  # fmt: skip


def small() -> Graph:
    chain = Chain((1, 5, 5, 2))
    chain.weighted(Conv2D, (3, 3, 3, 2), 3, window=Window((3, 3), (1, 1), "SAME"))
    chain.weighted(DepthwiseConv2D, (1, 3, 3, 3), 3, window=Window((3, 3), (2, 2), "SAME"))
    chain.weighted(FullyConnected, (4, 27), 4)
    chain.add(Softmax)
    return chain.graph()


def changed(change) -> bytes:
    """Change the small file: its model, its one graph, and the graph's tensors and operators."""
    model = unpack(tflite_bytes(small()))
    change(model, model.subgraphs[0], model.subgraphs[0].tensors, model.subgraphs[0].operators)
    return pack(model)


# ---- what is accepted


def test_packing_again_changes_nothing():
    q = inputs(small())
    read = read_tflite(changed(lambda *_: None))
    np.testing.assert_array_equal(simulate(read, q), simulate(small(), q))


def test_an_open_batch():
    def change(_model, _graph, tensors, _operators):
        for tensor in tensors[:1]:
            tensor.shapeSignature = [-1, *tensor.shape[1:]]

    assert read_tflite(changed(change)).input.shape == (1, 5, 5, 2)


def test_biases_left_out_and_one_scale_for_a_convolution():
    def change(_model, _graph, tensors, operators):
        operators[0].inputs = operators[0].inputs[:2]
        operators[2].inputs = [*operators[2].inputs[:2], -1]
        weight = tensors[operators[0].inputs[1]].quantization
        weight.scale, weight.zeroPoint = weight.scale[:1], weight.zeroPoint[:1]

    data = changed(change)
    q = inputs(small())
    np.testing.assert_array_equal(simulate(read_tflite(data), q), tflm(data, q))


def bordered(kind: int, *, input_end: bool = True, output_end: bool = True):
    """Put QUANTIZE and DEQUANTIZE around the small model; `kind` is what comes in and out."""

    def change(model, graph, tensors, operators):
        codes = []
        for code in OPERATOR.QUANTIZE, OPERATOR.DEQUANTIZE:
            made = schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = code, code, 1
            model.operatorCodes.append(made)
            codes.append(len(model.operatorCodes) - 1)
        for first, wanted in (True, input_end), (False, output_end):
            if not wanted:
                continue
            end = int((graph.inputs if first else graph.outputs)[0])
            inside = tensors[end]
            border = schema.TensorT()
            border.shape, border.type, border.buffer = inside.shape, kind, 0
            if kind == TYPE.UINT8:
                border.quantization = schema.QuantizationParametersT()
                border.quantization.scale = inside.quantization.scale
                border.quantization.zeroPoint = [int(inside.quantization.zeroPoint[0]) + 128]
            tensors.append(border)
            op = schema.OperatorT()
            op.opcodeIndex = codes[0] if first or kind == TYPE.UINT8 else codes[1]
            op.inputs, op.outputs = [len(tensors) - 1], [end]
            if not first:
                op.inputs, op.outputs = op.outputs, op.inputs
            operators.insert(0 if first else len(operators), op)
            setattr(graph, "inputs" if first else "outputs", [len(tensors) - 1])

    return changed(change)


@pytest.mark.parametrize("kind", [TYPE.FLOAT32, TYPE.UINT8])
@pytest.mark.parametrize(("first", "last"), [(True, True), (True, False), (False, True)])
def test_borders_are_dropped(kind, first, last):
    read = read_tflite(bordered(kind, input_end=first, output_end=last))
    assert len(read.operators) == 4
    q = inputs(small())
    np.testing.assert_array_equal(simulate(read, q), simulate(small(), q))


# ---- what is refused


def set_options(position, **values):
    def change(_model, _graph, _tensors, operators):
        for name, value in values.items():
            setattr(operators[position].builtinOptions, name, value)

    return change


def set_tensor(role, **values):
    """Change tensor `role`: input, weight, bias or output of the convolution."""

    def change(_model, _graph, tensors, operators):
        index = operators[0].outputs[0] if role == 3 else operators[0].inputs[role]
        for name, value in values.items():
            target = (
                tensors[index].quantization if name in ("scale", "zeroPoint", "details") else tensors[index]
            )
            setattr(target, "quantizedDimension" if name == "axis" else name, value)

    return change


def set_axis(_model, _graph, tensors, operators):
    tensors[operators[0].inputs[1]].quantization.quantizedDimension = 3


def set_code(code, version=1):
    def change(model, *_):
        made = model.operatorCodes[0]
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), version

    return change


def custom(model, *_):
    set_code(OPERATOR.CUSTOM)(model)
    model.operatorCodes[0].customCode = "My\nOp"


def swap(_model, _graph, _tensors, operators):
    operators[0], operators[1] = operators[1], operators[0]


def setting(target, name, value):
    def change(model, graph, _tensors, operators):
        setattr({"model": model, "graph": graph, "conv": operators[0]}[target], name, value)

    return change


def shorten(model, _graph, tensors, operators):
    buffer = model.buffers[tensors[operators[0].inputs[1]].buffer]
    buffer.data = buffer.data[:-1]


def overflowing(model, _graph, tensors, operators):
    model.buffers[tensors[operators[0].inputs[2]].buffer].data = [255, 255, 255, 127] * 3


def per_channel(_model, _graph, tensors, operators):
    quantization = tensors[operators[2].inputs[1]].quantization
    quantization.scale, quantization.zeroPoint = [0.01] * 4, [0] * 4


def short_bias(model, _graph, tensors, operators):
    bias = tensors[operators[0].inputs[2]]
    bias.shape, model.buffers[bias.buffer].data = [2], [0] * 8


def tiny_step(_model, _graph, tensors, operators):
    tensors[operators[2].outputs[0]].quantization.scale = [1e-12]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_options(0, dilationHFactor=2), r"operator 0 \(CONV_2D\): it is dilated"),
        (set_options(0, fusedActivationFunction=4), r"operator 0 \(CONV_2D\): its fused activation 4"),
        (set_options(0, strideH=0), r"operator 0 \(CONV_2D\): its window .* out of range"),
        (set_options(0, padding=7), r"operator 0 \(CONV_2D\): its padding is number 7"),
        (set_options(0, strideW=2), r"operator 0 \(CONV_2D\): its output has shape"),
        (set_options(1, depthMultiplier=2), r"operator 1 \(DEPTHWISE_CONV_2D\): 3 filters are not 2"),
        (set_options(2, weightsFormat=1), r"operator 2 \(FULLY_CONNECTED\): its weights are shuffled"),
        (set_options(3, beta=0.0), r"operator 3 \(SOFTMAX\): its beta"),
        (set_options(3, beta=NAN), r"operator 3 \(SOFTMAX\): its beta"),
        (set_code(OPERATOR.TRANSPOSE), r"operator 0 \(TRANSPOSE\): edgegrow cannot deploy it"),
        (set_code(OPERATOR.CONV_2D, 5), r"operator 0 \(CONV_2D\): it has version 5"),
        (set_code(100_000), r"operator 0 \(code 100000\)"),
        (set_code(OPERATOR.FULLY_CONNECTED, 4), r"operator 0 \(FULLY_CONNECTED\): it has options of kind"),
        (custom, r"operator 0 \(CUSTOM 'My\\nOp'\)"),
        (swap, r"operator 0 \(DEPTHWISE_CONV_2D\): its input tensor \d+ is made by no one"),
        (shorten, r"operator 0 \(CONV_2D\): tensor \d+ of shape .* has 53 bytes, not 54"),
        (overflowing, r"operator 0 \(CONV_2D\): its sums can overflow"),
        (per_channel, r"operator 2 \(FULLY_CONNECTED\): it has a scale for each output"),
        (set_axis, r"operator 0 \(CONV_2D\): tensor \d+ has scales along axis 3"),
        (set_tensor(0, type=TYPE.FLOAT32), r"operator 0 \(CONV_2D\): tensor 0 is FLOAT32, not INT8"),
        (set_tensor(0, type=99), r"tensor 0 is of type 99"),
        (set_tensor(0, shape=[2, 5, 5, 2]), r"batch size 1"),
        (set_tensor(0, shape=[1, -5, 5, 2]), r"fixed, positive sizes"),
        (set_tensor(0, shape=[1, 2**16, 2**16, 2]), r"fixed, positive sizes"),
        (set_tensor(0, shape=[]), r"batch size 1"),
        (set_tensor(0, shapeSignature=[-1, -1, 5, 2]), r"leaves a size open"),
        (set_tensor(0, shapeSignature=[1, 4, 5, 2]), r"disagree"),
        (set_tensor(0, isVariable=True), r"a constant or a state"),
        (set_tensor(0, scale=[0.0]), r"not positive and finite"),
        (set_tensor(0, scale=[INF]), r"not positive and finite"),
        (set_tensor(0, scale=[1e30]), r"not positive and finite"),
        (set_tensor(0, zeroPoint=[128]), r"zero point 128"),
        (set_tensor(0, quantization=None), r"needs one scale"),
        (set_tensor(0, scale=[0.1, 0.1], zeroPoint=[0, 0]), r"needs one scale"),
        (set_tensor(1, zeroPoint=[0, 1, 0]), r"zero points 0"),
        (set_tensor(1, scale=[0.1, NAN, 0.1]), r"not positive and finite"),
        (set_tensor(1, scale=[0.1, 0.1]), r"needs 1 or 3 scales"),
        (set_tensor(1, type=TYPE.INT16), r"is INT16, not INT8"),
        (set_tensor(1, buffer=0), r"must be constant"),
        (set_tensor(1, buffer=999), r"buffer 999 of"),
        (set_tensor(1, shape=[54]), r"weights have 4 axes"),
        (set_tensor(1, shape=[3, 3, 6, 1]), r"without groups"),
        (set_tensor(2, scale=[0.5] * 3), r"input scale times weight scale"),
        (set_tensor(2, scale=[NAN] * 3), r"input scale times weight scale"),
        (short_bias, r"operator 0 \(CONV_2D\): tensor \d+: a bias of 3 outputs has shape \(2,\)"),
        (set_tensor(2, zeroPoint=[0, 0, 1]), r"bias needs zero points 0"),
        (tiny_step, r"operator 2 \(FULLY_CONNECTED\): its scales differ too much"),
        (setting("model", "version", 2), r"schema version 2"),
        (setting("model", "subgraphs", []), r"0 subgraphs"),
        (setting("graph", "operators", []), r"no operators"),
        (setting("graph", "inputs", [0, 1]), r"2 inputs"),
        (setting("graph", "outputs", []), r"0 outputs"),
        (setting("graph", "outputs", [999]), r"the graph's ends: it uses tensor 999"),
        (setting("graph", "outputs", [-1]), r"the graph's ends: it uses tensor -1"),
        (setting("conv", "opcodeIndex", 9), r"operator 0: its kind 9"),
        (setting("conv", "inputs", [0]), r"operator 0 \(CONV_2D\): it has 1 inputs"),
        (setting("conv", "inputs", [0] * 300), r"operator 0 \(CONV_2D\): it has 300 inputs"),
        (setting("conv", "inputs", [-1, 1, 2]), r"operator 0 \(CONV_2D\): it uses tensor -1"),
        (setting("conv", "outputs", [0]), r"operator 0 \(CONV_2D\): its output tensor 0 exists already"),
        (setting("conv", "builtinOptions", None), r"operator 0 \(CONV_2D\): it has no options"),
    ],
)
def test_refusals(change, words):
    with pytest.raises(InputError, match=words) as refusal:
        read_tflite(changed(change))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_quantize_in_the_middle():
    def change(model, graph, tensors, operators):
        set_code(OPERATOR.QUANTIZE)(model)
        operators[0].inputs = [3]

    with pytest.raises(UnsupportedError, match=r"operator 0 \(QUANTIZE\)"):
        read_tflite(changed(change))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 12, 40, 1000])
def test_truncated_files(size):
    with pytest.raises(InputError):
        read_tflite(tflite_bytes(small())[:size])


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"none\.tflite: no such file"):
        read_tflite(tmp_path / "none.tflite")
    with pytest.raises(InputError, match="no such file"):
        read_tflite(tmp_path)
    (tmp_path / "text.tflite").write_text("a text that is no model")
    with pytest.raises(InputError, match=r"text\.tflite: it does not begin as a TFL3"):
        read_tflite(tmp_path / "text.tflite")
    with (tmp_path / "large.tflite").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(InputError, match="more than 100,000,000 bytes"):
        read_tflite(tmp_path / "large.tflite")


def test_very_many_offsets_to_one_table():
    """Offsets lead forward, so that none goes in a circle; but half a million may lead to one place."""
    count = 500_000
    vtable, table = struct.pack("<HHHH", 8, 8, 4, 0), struct.pack("<iI", 8, 4)
    head = struct.pack("<I4s", 16, b"TFL3") + vtable + table + struct.pack("<I", count)
    end = len(head) + 4 * count  # a table of nothing, whose vtable is the first's
    offsets = np.arange(end - len(head), 0, -4, dtype="<u4").tobytes()
    begun = perf_counter()
    with pytest.raises(InputError, match="more than 65,536 tables"):
        Flatbuffer(head + offsets + struct.pack("<iI", end - 8, 0), b"TFL3").root(SubGraph)
    assert perf_counter() - begun < 1


def test_mutated_files():
    """The script fuzz_read.py does it with ten thousand files, in processes with little memory."""
    files = [tflite_bytes(made) for made in (every_operator(), small(), graph("dscnn", (1, 8, 8)))]
    files += [bordered(TYPE.FLOAT32), changed(lambda *_: None)]
    places = [structure(data) for data in files]
    refused = 0
    for seed in range(600):
        line = ""
        try:
            read_tflite(mutated(files, places, seed))
        except InputError as error:
            line = str(error)
        assert "\n" not in line
        refused += bool(line)
    assert 60 < refused < 600


def test_relu_alone_beside_a_fused_one():
    chain = Chain((1, 6))
    chain.add(Relu)
    data = tflite_bytes(chain.graph())
    q = inputs(chain.graph())
    np.testing.assert_array_equal(simulate(read_tflite(data), q), tflm(data, q))


def resized(**values) -> bytes:
    """Write a file that makes 6x9 of 3x3, and change its options or the sizes that it asks for."""
    chain = Chain((1, 3, 3, 2))
    chain.add(UpsampleNearest2D, factor=(2, 3))
    model = unpack(tflite_bytes(chain.graph()))
    (graph,) = model.subgraphs
    (op,) = graph.operators
    sizes, output = graph.tensors[op.inputs[1]], graph.tensors[op.outputs[0]]
    if "wanted" in values:
        model.buffers[sizes.buffer].data = np.array(values.pop("wanted"), "<i4").view("u1")
    if "output" in values:
        output.shape = values.pop("output")
    for name, value in values.items():
        setattr(op.builtinOptions, name, value)
    return pack(model)


def test_resizing_by_whole_factors():
    for half_pixel_centers in True, False:
        data = resized(halfPixelCenters=half_pixel_centers)
        read = read_tflite(data)
        assert read.operators[0].factor == (2, 3)
        np.testing.assert_array_equal(simulate(read, inputs(read)), tflm(data, inputs(read)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alignCorners": True, "halfPixelCenters": False}, "as often"),
        ({"output": [1, 7, 9, 2], "wanted": [7, 9]}, "as often"),
        ({"output": [1, 2, 9, 2], "wanted": [2, 9]}, "as often"),
        ({"wanted": [9, 6]}, "asks for another"),
        ({"output": [1, 6, 3 * 2**15, 2], "wanted": [6, 3 * 2**15]}, "no map for a device"),
    ],
)
def test_other_resizing_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        read_tflite(resized(**change))
