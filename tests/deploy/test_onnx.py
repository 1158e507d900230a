import json
import platform
import re
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from interpreters import LiteRT, ort
from networks import CASES, NAMES, graph, samples
from torch import nn

from edgegrow.deploy.c import c_package
from edgegrow.deploy.lower import lower
from edgegrow.deploy.onnx import write_onnx
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.rounding import ONNX_RUNTIME
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import UnsupportedError

FUSED = {"QLinearConv", "QGemm", "QLinearAdd", "QLinearGlobalAveragePool"}
LAYOUT = {"Flatten", "Transpose"}  # of the fused kernels, which are NHWC
X86 = platform.machine() in ("x86_64", "AMD64")


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_everything_is_fused_and_agrees(name, shape, tmp_path, ort_saturates):
    quantized = graph(name, shape)
    q = quantized.quantize_input(samples(shape, 100, seed=3)[0])
    outputs = {}
    for kind in "uint8", "int8":
        path = tmp_path / f"{kind}.onnx"
        write_onnx(quantized, path, kind)
        outputs[kind], operators = ort(path, q)
        assert outputs[kind].dtype == np.dtype(kind)
        if kind == "uint8" and X86:
            assert set(operators) <= FUSED | LAYOUT
            assert sum(operators[name] for name in FUSED) == len(quantized.operators)
    unsigned = outputs["uint8"].astype(int) - 128
    if not ort_saturates:  # on x86 ONNX Runtime computes part of S8S8 in float
        assert np.abs(unsigned - outputs["int8"]).max() <= (2 if name == "resnet8" else 1)
    litert = LiteRT(tflite_bytes(quantized)).run(q).astype(int)
    exact = simulate(quantized, q)
    # Sums of two tensors at the border between two steps: a float32 more or less decides.
    assert np.abs(unsigned - simulate(quantized, q, ONNX_RUNTIME)).max() <= (name == "resnet8")
    assert np.abs(unsigned - litert).max() <= 2
    assert np.mean(unsigned.argmax(1) == litert.argmax(1)) >= 0.99
    assert np.mean(unsigned.argmax(1) == exact.argmax(1)) >= 0.99


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_equal_graphs_give_equal_bytes(kind, tmp_path):
    quantized = graph("dscnn", (1, 28, 28))
    for name in "first.onnx", "second.onnx":
        write_onnx(quantized, tmp_path / name, kind)
    first = (tmp_path / "first.onnx").read_bytes()
    assert first == (tmp_path / "second.onnx").read_bytes()
    assert len(first) < 1.1 * len(tflite_bytes(quantized))
    assert {path.name for path in tmp_path.iterdir()} == {"first.onnx", "second.onnx"}


@pytest.mark.parametrize(("kind", "offset"), [("uint8", 128), ("int8", 0)])
def test_ends_and_metadata(kind, offset, tmp_path):
    quantized = graph("conv1d", (1, 40))
    path = tmp_path / "model.onnx"
    write_onnx(quantized, path, kind)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    entry, end = session.get_inputs()[0], session.get_outputs()[0]
    assert (entry.shape, entry.type) == ([1, 1, 1, 40], f"tensor({kind})")
    assert (end.shape, end.type) == ([1, 10], f"tensor({kind})")
    noted = json.loads(session.get_modelmeta().custom_metadata_map["edgegrow.quantization"])
    for which, tensor in ("input", quantized.input), ("output", quantized.output):
        assert noted[which]["name"] == tensor.name
        assert np.float32(noted[which]["scale"]) == np.float32(tensor.scale)
        assert noted[which]["zero_point"] == tensor.zero_point + offset


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(2, 4, 3), nn.ReLU6(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)),
        (nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.AvgPool2d(2), nn.Conv2d(4, 4, 4), nn.Flatten()),
        (nn.MaxPool2d(3, 1, 1), nn.Conv2d(2, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
)
def test_other_operators(layers, kind, tmp_path, ort_saturates):
    shape = (2, 8, 8)
    torch.manual_seed(0)
    for layer in layers:  # made when the module was imported, from whatever had been drawn by then
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    quantized = quantize(lower(nn.Sequential(*layers), shape), samples(shape, 64)[0])
    q = quantized.quantize_input(samples(shape, 100, seed=3)[0])
    write_onnx(quantized, tmp_path / "model.onnx", kind)
    outputs, _ = ort(tmp_path / "model.onnx", q)
    offset = 128 if kind == "uint8" else 0
    if kind == "int8" and ort_saturates:
        pytest.skip("ONNX Runtime saturates products of int8 on this processor")
    assert np.abs(outputs.astype(int) - offset - simulate(quantized, q, ONNX_RUNTIME)).max() <= 1


class NamedLayers(nn.Module):
    """Linear layers of these names, one after the other."""

    def __init__(self, names) -> None:
        super().__init__()
        for name in names:
            at, _, last = name.rpartition(".")
            if at and not hasattr(self, at):
                self.add_module(at, nn.Module())
            self.get_submodule(at).add_module(last, nn.Linear(4, 4))
        self.names = names

    def forward(self, x):
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x


@pytest.mark.parametrize(
    "names",
    [
        [f"c{i}" for i in range(12)],
        [f"{i}" for i in range(8)],
        ["c1", "c1_", "c1__", "_c1", "c2"],
        ["input", "output", "constant", "int", "main", "model"],
        ["a_b", "a.b", "a_b_1", "out", "memory"],
    ],
    ids=" ".join,
)
def test_layers_may_have_any_names(names, tmp_path):
    shape = (4,)
    named = NamedLayers(names)
    plain = nn.Sequential(*(named.get_submodule(name) for name in names))
    quantized, expected = (quantize(lower(module, shape), samples(shape, 64)[0]) for module in (named, plain))
    q = quantized.quantize_input(samples(shape, 20, seed=3)[0])
    write_onnx(quantized, tmp_path / "named.onnx", "uint8")
    write_onnx(expected, tmp_path / "plain.onnx", "uint8")
    (found, _), (wanted, _) = (ort(tmp_path / f"{name}.onnx", q) for name in ("named", "plain"))
    np.testing.assert_array_equal(found, wanted)
    assert np.array_equal(LiteRT(tflite_bytes(quantized)).run(q), LiteRT(tflite_bytes(expected)).run(q))
    comments = re.compile(r"/\*.*?\*/", re.DOTALL)  # alone name layers
    written, other = (comments.sub("", c_package(g)["src/model.c"]) for g in (quantized, expected))
    assert written == other


def test_what_the_checker_refuses_is_said_in_one_line(tmp_path):
    quantized = quantize(lower(nn.Linear(4, 3), (4,)), samples((4,), 64)[0])
    (op,) = quantized.operators
    nameless = replace(op.output, name="")
    quantized = replace(quantized, operators=(replace(op, output=nameless),), output=nameless)
    with pytest.raises(UnsupportedError) as caught:
        write_onnx(quantized, tmp_path / "model.onnx", "int8")
    assert "ONNX's checker refuses the model" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
