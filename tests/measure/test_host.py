import os
import threading
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgegrow.errors import InputError
from edgegrow.measure.device import LocalDevice
from edgegrow.measure.process import Worker
from edgegrow.measure.protocol import Profile, TargetRef
from edgegrow.measure.remote import measure_on
from edgegrow.measure.runner.request import KEYS
from edgegrow.measure.runner.timed import REOPENED
from edgegrow.measure.session import open_artifact, predict
from edgegrow.measure.timing_plan import TimingPlan

HOST = TargetRef(name="host", sha256="0" * 64)


@pytest.fixture(scope="module")
def profiles(files):
    lines = SimpleNamespace(progress=[], warn=[])
    options = {
        "target": HOST,
        "plan": TimingPlan(min_seconds=0.05),
        "progress": lines.progress.append,
        "warn": lines.warn.append,
    }
    return {
        kind: measure_on(LocalDevice(), getattr(files, kind), **options) for kind in ("tflite", "onnx")
    }, lines


def write_onnx_model(path, nodes, inputs, outputs):
    def values(tensors):
        return [helper.make_tensor_value_info(*tensor) for tensor in tensors]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_session_describes_the_artifact(files):
    graph = files.graph
    with open_artifact(files.tflite) as session:
        assert session.input.shape == graph.input.shape == (1, 9, 6, 1)
        assert (session.input.dtype, session.output.dtype) == ("int8", "int8")
        assert np.float32(session.input.scale) == np.float32(graph.input.scale)
        assert session.input.zero_point == graph.input.zero_point
        assert session.output.zero_point == graph.output.zero_point
        assert (session.identity.runtime, session.identity.threads) == ("litert", 1)
    with open_artifact(files.onnx) as session:
        assert session.input.shape == (1, 1, 9, 6)
        assert session.input.dtype == "uint8"
        assert session.input.zero_point == graph.input.zero_point + 128
        assert session.output.scale == graph.output.scale
        assert session.identity.runtime == "onnxruntime"


@pytest.mark.parametrize("network", ["files", "signal_files", "vector_files"])
@pytest.mark.parametrize("kind", ["tflite", "onnx", "int8"])
def test_predictions_are_the_simulators(request, network, kind, ort_saturates):
    if kind == "int8" and ort_saturates:
        pytest.skip("ONNX Runtime saturates products of int8 on this processor")
    made = request.getfixturevalue(network)
    with open_artifact(getattr(made, kind)) as session:
        logits = predict(session, made.x)
    assert logits.shape == made.logits.shape == (40, 3)
    assert logits.dtype == np.float32
    assert len(np.unique(logits, axis=0)) > 10
    # The runtimes round to even in floating point, the simulator as TensorFlow Lite Micro.
    assert np.abs(logits - made.logits).max() <= 3 * made.graph.output.scale


def test_input_is_quantized_as_firmware_does(files):
    with open_artifact(files.tflite) as session:
        outputs = session.run(files.graph.quantize_input(files.x))
        expected = files.graph.dequantize_output(outputs).reshape(40, -1)
        np.testing.assert_array_equal(predict(session, files.x), expected)
        np.testing.assert_array_equal(predict(session, files.x[7:8])[0], expected[7])
        none = session.run(np.zeros((0, *session.input.shape[1:]), np.int8))
        assert none.shape == (0, *session.output.shape[1:])


def test_kernels_are_those_that_ran(files, vector_files):
    with open_artifact(vector_files.tflite) as session:
        assert session.identity.kernels == "XNNPACK"
    with open_artifact(files.tflite) as session:  # its delegate leaves int8 AVERAGE_POOL_2D to LiteRT
        assert session.identity.kernels == "XNNPACK in part, built-in"


def test_wrong_samples(files):
    with open_artifact(files.tflite) as session:
        with pytest.raises(InputError, match=r"samples are int8 \(3,\), its input is int8 \(9, 6, 1\)"):
            session.run(np.zeros((2, 3), np.int8))
        with pytest.raises(InputError, match="float32"):
            session.run(np.zeros((2, 9, 6, 1), np.float32))
        with pytest.raises(InputError, match="not finite"):
            predict(session, np.full((1, 1, 9, 6), np.nan))
        with pytest.raises(InputError, match="samples are"):
            predict(session, np.zeros((1, 1, 6, 9)))


def test_profile_of_both_formats(profiles, files):
    for kind, profile in profiles[0].items():
        assert profile.artifact.format == kind
        assert profile.target == HOST
        figures = {m.aggregation: m for m in profile.measurements if m.metric == "latency"}
        values = {name: m.value for name, m in figures.items()}
        assert 0 < values["min"] <= values["median"] <= values["p90"] <= values["p99"]
        assert 50 <= len(figures["median"].samples) <= KEYS["max_samples"]
        assert "load average" in figures["median"].method
        assert len(profile.find("load").samples) == 1 + REOPENED
        assert profile.find("flash").value == getattr(files, kind).stat().st_size
        assert {m.evidence for m in profile.measurements} == {"measured"}
        assert ("energy", "no meter") in {(u.metric, u.reason) for u in profile.unavailable}
        memory = profile.find("peak_memory", "max")
        assert (memory is None) == ("peak_memory" in {u.metric for u in profile.unavailable})
        assert memory is None or 0 < memory.value < 2**28


def test_profile_survives_its_file(profiles, tmp_path):
    profile = profiles[0]["onnx"]
    profile.write(tmp_path / "profile.json")
    assert Profile.read(tmp_path / "profile.json") == profile


def test_progress_and_warnings_are_told(profiles):
    found, lines = profiles
    assert len(lines.progress) == 4
    method = found["onnx"].find("latency").method
    assert all(line in method or line in found["tflite"].find("latency").method for line in lines.warn)


def test_a_model_of_gigabytes_is_told_apart_from_a_damaged_one(tmp_path):
    tensors = [("x", TensorProto.FLOAT, [1, 2**31])], [("y", TensorProto.FLOAT, [1, 2**31])]
    path = write_onnx_model(tmp_path / "big.onnx", [helper.make_node("Relu", ["x"], ["y"])], *tensors)
    with pytest.raises(InputError, match="2 GiB of memory"):
        open_artifact(path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        (["x", "z"], ["y"], "2 inputs and 1 outputs"),
        (["x"], ["y", "w"], "1 inputs and 2 outputs"),
    ],
)
def test_one_input_and_one_output(tmp_path, inputs, outputs, words):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", [inputs[-1]], ["w"])]
    tensors = ([(name, TensorProto.FLOAT, [1, 4]) for name in names] for names in (inputs, outputs))
    with pytest.raises(InputError, match=words):
        open_artifact(write_onnx_model(tmp_path / "m.onnx", nodes, *tensors))


@pytest.mark.parametrize(
    ("shape", "element", "words"),
    [
        ([1, "n"], TensorProto.FLOAT, "fixed sizes and a batch of 1"),
        ([2, 4], TensorProto.FLOAT, "fixed sizes and a batch of 1"),
        ([1, 4], TensorProto.BOOL, "holds bool"),
    ],
)
def test_shapes_and_types_that_cannot_be_run(tmp_path, shape, element, words):
    tensors = [("x", element, shape)], [("y", element, shape)]
    path = write_onnx_model(tmp_path / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], *tensors)
    with pytest.raises(InputError, match=words):
        open_artifact(path)


@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_float_artifact(tmp_path, element):
    tensors = [("x", element, [1, 4])], [("y", element, [1, 4])]
    path = write_onnx_model(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], *tensors)
    with open_artifact(path) as session:
        x = np.float32([[1, -2, 3, -4], [0, 1, 2, 3]])
        np.testing.assert_array_equal(predict(session, x), np.maximum(x, 0))
    assert (
        measure_on(LocalDevice(), path, target=HOST, plan=TimingPlan(min_seconds=0)).find("latency").value > 0
    )


def test_integer_artifact_without_scales(tmp_path):
    tensors = [("x", TensorProto.INT8, [1, 4])], [("y", TensorProto.INT8, [1, 4])]
    path = write_onnx_model(tmp_path / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], *tensors)
    with open_artifact(path) as session, pytest.raises(InputError, match="int8 input has no scale"):
        predict(session, np.zeros((1, 4)))


def test_wrong_options(files):
    with pytest.raises(InputError, match="threads 0"):
        open_artifact(files.tflite, 0)
    for wrong in ({"min_iterations": 0}, {"min_seconds": -1}, {"min_seconds": float("nan")}):
        with pytest.raises(InputError, match="it takes"):
            TimingPlan(**wrong)


def test_a_worker_holds_one_artifact(files):
    worker = Worker()
    first = open_artifact(files.tflite, worker=worker)
    second = open_artifact(files.onnx, worker=worker)
    with pytest.raises(InputError, match="not open any more"):
        first.run(np.zeros((1, 9, 6, 1), np.int8))
    second.run(np.zeros((1, 1, 9, 6), np.uint8))
    second.close()
    with pytest.raises(InputError, match="not open any more"):
        second.run(np.zeros((1, 1, 9, 6), np.uint8))


def test_worker_that_cannot_start_or_ends():
    with pytest.raises(InputError, match="cannot start"):
        Worker(["/nonexistent/python"]).ask({"do": "run"})
    with pytest.raises(InputError, match="exit code 1"):
        Worker(["false"]).ask({"do": "run"})


def test_missing_runtime_is_named(files, tmp_path):
    """A worker whose runtimes cannot be imported, as on a device that has only the other one."""
    code = "import runpy, sys; sys.modules['onnxruntime'] = None; "
    code += "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    worker = Worker([os.sys.executable, "-c", code])
    with pytest.raises(InputError, match="pip install onnxruntime"):
        open_artifact(files.onnx, worker=worker)
    open_artifact(files.tflite, worker=worker).close()


def test_processes_end_with_their_sessions(files):
    session = open_artifact(files.tflite)
    process = session._worker._process
    session.close()
    assert process.returncode == 0
    process = open_artifact(files.tflite)._worker._process  # dropped at once
    assert process.wait(60) == 0
    assert threading.active_count() < 20
