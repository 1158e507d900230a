"""Measuring on a device, with real runtimes in real processes; and devices that fail in every way."""

import ast
import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgegrow.errors import EdgegrowError, InputError
from edgegrow.measure.answers import Answer
from edgegrow.measure.device import DeviceError, DeviceTimeout, Finished, LocalDevice
from edgegrow.measure.expected import expect
from edgegrow.measure.outputs import compare_outputs
from edgegrow.measure.protocol import Identity, TargetRef
from edgegrow.measure.remote import _read, measure_on, run_on
from edgegrow.measure.runner.machine import processors
from edgegrow.measure.runner.timed import REOPENED
from edgegrow.measure.runner_archive import runner_archive
from edgegrow.measure.timing_plan import TimingPlan

PI = TargetRef(name="raspberry-pi-4", sha256="0" * 64)
QUICK = {"min_iterations": 3, "min_seconds": 0, "settle_seconds": 0}


def python(code):
    """A device whose Python does something else than running the runner."""
    return LocalDevice((sys.executable, "-c", code), "board")


def refused(path, device, kind=InputError, timeout_s=600, **options):
    plan = TimingPlan(**{"min_seconds": 0, **options})
    with pytest.raises(kind) as caught:
        measure_on(device, path, target=PI, plan=plan, timeout_s=timeout_s)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700 + len(str(path))
    return message


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_profile_says_how_the_outputs_compare(files, kind):
    lines = []
    device = LocalDevice(name="board")
    plan = TimingPlan(min_seconds=0.05, affinity=(processors()[0],))
    profile = measure_on(device, getattr(files, kind), target=PI, plan=plan, warn=lines.append)
    latency = profile.find("latency")
    assert len(latency.samples) >= 50
    assert latency.identity.affinity == str(processors()[0])
    assert latency.identity.runtime == {"tflite": "litert", "onnx": "onnxruntime"}[kind]
    assert "on board" in latency.method
    assert "the simulator's" in latency.method
    assert "not compared" not in latency.method
    assert all(line in latency.method for line in lines if "LSB" not in line)
    assert profile.target == PI


@pytest.mark.parametrize("network", ["signal_files", "vector_files"])
@pytest.mark.parametrize("kind", ["tflite", "onnx", "int8"])
def test_outputs_are_the_simulators(request, network, kind, tmp_path, ort_saturates):
    if kind == "int8" and ort_saturates:
        pytest.skip("ONNX Runtime saturates products of int8 on this processor")
    made = request.getfixturevalue(network)
    path = tmp_path / f"it's a $(name).{getattr(made, kind).suffix}"
    shutil.copy(getattr(made, kind), path)
    shutil.copy(made.tflite, path.with_suffix(".tflite"))
    form = path.suffix[1:]
    expected = expect(path, form, path.read_bytes())
    device = LocalDevice()
    answer = run_on(device, path.read_bytes(), form, QUICK, expected.inputs)
    compared = compare_outputs(answer, device, expected)
    runtime = {"tflite": "(TensorFlow Lite Micro|XNNPACK)", "onnx": "ONNX Runtime"}[form]
    how = rf"outputs of 4 random inputs .* the simulator's \(rounded as {runtime} does\)"
    assert re.match(how, compared.words)
    assert compared.steps <= 1
    assert (compared.doubt, compared.unavailable) == (None, ())
    assert len(answer.latency_ns) == 3
    assert len(answer.load_ns) == 1 + REOPENED
    assert len(answer.warmup_ns) == 5


@pytest.mark.parametrize("network", ["files", "signal_files", "vector_files"])
def test_an_onnx_file_alone_is_compared_with_the_reference_evaluator(request, network, tmp_path):
    alone = tmp_path / "model.onnx"
    shutil.copy(request.getfixturevalue(network).onnx, alone)
    profile = measure_on(LocalDevice(), alone, target=PI, plan=TimingPlan(min_seconds=0))
    deviation = profile.find("output_deviation", "max")
    assert deviation.value <= 2
    assert (deviation.unit, deviation.evidence) == ("LSB", "measured")
    assert deviation.identity == profile.find("latency").identity
    assert "those of onnx's reference evaluator" in deviation.method
    assert deviation.method in profile.find("latency").method


def test_what_the_reference_evaluator_cannot_run_is_said(files, tmp_path):
    model = onnx.load(files.onnx)
    model.opset_import[0].version = 7  # there are no such operators in it
    strange, damaged, absurd = (tmp_path / f"{name}.onnx" for name in ("strange", "damaged", "absurd"))
    onnx.save(model, strange)
    damaged.write_bytes(files.onnx.read_bytes()[:1000])
    node = helper.make_node("Expand", ["x", "shape"], ["y"])
    ends = [[helper.make_tensor_value_info(name, onnx.TensorProto.INT8, [1, 4])] for name in "xy"]
    large = onnx.numpy_helper.from_array(np.array([1 << 20, 1 << 20, 4], np.int64), "shape")
    onnx.save(helper.make_model(helper.make_graph([node], "g", *ends, [large])), absurd)
    for path in (strange, damaged, absurd):
        reason = expect(path, "onnx", path.read_bytes())
        assert reason.startswith("onnx's reference evaluator cannot run it: "), reason
        assert "\n" not in reason
        assert len(reason) < 300
    compared = compare_outputs(None, LocalDevice(), reason)
    assert (compared.steps, compared.measurements(Identity(), "measured")) == (None, ())
    (missing,) = compared.unavailable
    assert missing.reason == f"outputs not compared: {reason}"


def test_another_network_beside_it_is_not_taken_for_it(files, vector_files, tmp_path):
    for source in (files.onnx, vector_files.tflite):
        shutil.copy(source, tmp_path)
    assert "another network" in expect(tmp_path / "model.onnx", "onnx", files.onnx.read_bytes())


def test_marked_inferences_read_no_clock(files):
    expected = expect(files.tflite, "tflite", files.tflite.read_bytes())
    request = {"marks": True, "iterations": 3}
    answer = run_on(LocalDevice(), files.tflite.read_bytes(), "tflite", request, expected.inputs)
    assert answer.latency_ns == answer.warmup_ns == answer.load_ns == ()
    assert "random inputs" in compare_outputs(answer, LocalDevice(), expected).words


# What fails on the device.


def test_a_runner_that_hangs(files):
    message = refused(files.tflite, python("import time; time.sleep(600)"), DeviceTimeout, timeout_s=1)
    assert "did not end within 1 s" in message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('hello, world')", "no JSON ('hello, world')"),
        ("print('[' * 100000)", "no JSON"),
        ("print('{}')", "not a runner's: "),
        ("print('{\"error\": 3}'); import sys; sys.exit(3)", "not a runner's: error"),
        ("import os; os.write(1, bytes(range(256)))", "no JSON"),
        ("print('x' * (1 << 25))", "wrote more than 16,777,216 bytes"),
        ("import sys; sys.exit('Illegal option -\\x1b[31m')", "exit code 1: Illegal option -?[31m"),
        ("pass", "no JSON ('')"),
    ],
)
def test_what_is_no_answer(files, code, words):
    assert words in refused(files.tflite, python(code), DeviceError)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "its runtime crashed (SIGSEGV)"),
        ("import os; os.kill(os.getpid(), 9)", "too little memory"),
        ("import os; os._exit(137)", "too little memory"),  # as a shell tells of signal 9
        ("import os; os._exit(1)", "exit code 1"),
        ("import os; os._exit(142)", "longer than 60 s to open"),
    ],
)
def test_a_runner_that_ends(files, code, words):
    assert words in refused(files.tflite, python(code))


def test_no_python(files):
    device = LocalDevice(("/nonexistent/python3",), "board")
    assert "board: cannot start /nonexistent/python3" in refused(files.tflite, device, DeviceError)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An environment without numpy and runtimes."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder


def test_an_environment_without_numpy(files, bare):
    device = LocalDevice((str(bare / "bin/python"), "-E"), "board")
    message = refused(files.tflite, device, DeviceError)
    assert "No module named 'numpy'" in message
    assert "with numpy, and the artifact's runtime" in message


def test_an_environment_without_a_runtime(files, bare):
    (packages,) = (bare / "lib").glob("python*/site-packages")
    installed = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (installed / name).exists() and not (packages / name).exists():
            (packages / name).symlink_to(installed / name)
    device = LocalDevice((str(bare / "bin/python"), "-E"), "board")
    message = refused(files.tflite, device)
    assert "its runtime cannot be imported (No module named 'ai_edge_litert'): pip install" in message
    assert "pip install onnxruntime" in refused(files.onnx, device)


@pytest.mark.parametrize(("kind", "other"), [("tflite", "onnx"), ("onnx", "tflite")])
def test_an_artifact_of_the_other_format(files, tmp_path, kind, other):
    path = tmp_path / f"model.{kind}"
    shutil.copy(getattr(files, other), path)
    assert f"artifact {path} on board: " in refused(path, LocalDevice(name="board"))


def test_another_processor_than_the_targets(files):
    assert "CPU part 0xfff, this" in refused(files.tflite, LocalDevice(), cpu_part="0xfff")


def test_processors_that_are_not_there(files):
    assert "it cannot run on the processors [5000]" in refused(files.tflite, LocalDevice(), affinity=(5000,))


@pytest.fixture(scope="module")
def answer_line(files):
    """What the runner prints of `files.tflite`."""
    expected = expect(files.tflite, "tflite", files.tflite.read_bytes())
    device, kept = LocalDevice(), []
    device.run = lambda *args, **kwargs: kept.append(LocalDevice.run(device, *args, **kwargs)) or kept[-1]
    run_on(device, files.tflite.read_bytes(), "tflite", QUICK, expected.inputs)
    return kept[0].stdout


def with_outputs(outputs):
    """An answer's outputs and their hash."""
    return {
        "outputs": base64.b64encode(outputs).decode(),
        "outputs_sha256": hashlib.sha256(outputs).hexdigest(),
    }


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda a: with_outputs(bytes(b ^ 0x55 for b in base64.b64decode(a["outputs"]))),
         InputError, "16 are allowed"),
        (lambda a: with_outputs(b""), InputError, "another size than they should"),
        (lambda a: {"outputs": a["outputs"][4:]}, DeviceError, "not those of their hash"),
        (lambda a: {"outputs": "%"}, DeviceError, "not those of their hash"),
        (lambda a: {"latency_ns": []}, DeviceError, "no timings"),
        (lambda a: {"latency_ns": [1] * 100000}, DeviceError, "latency_ns"),
        (lambda a: {"latency_ns": [-1]}, DeviceError, "latency_ns"),
        (lambda a: {"peak_bytes": float("nan")}, DeviceError, "peak_bytes"),
        (lambda a: {"schema": 2}, DeviceError, "schema"),
        (lambda a: {"surprise": 2}, DeviceError, "surprise"),
        (lambda a: {"version": "v" * 500}, DeviceError, "version"),
    ],
)  # fmt: skip
def test_answers_that_are_wrong(files, answer_line, tmp_path, change, kind, words):
    told = tmp_path / "answer.json"
    told.write_text(json.dumps(json.loads(answer_line)))
    device = python(f"print(open({str(told)!r}).read())")
    assert measure_on(device, files.tflite, target=PI).find("latency").value > 0
    answer = json.loads(answer_line)
    told.write_text(json.dumps({**answer, **change(answer)}))
    assert words in refused(files.tflite, device, kind)


def test_terminals_are_not_driven_by_a_device(files, answer_line, tmp_path):
    told = tmp_path / "answer.json"
    told.write_text(json.dumps({**json.loads(answer_line), "version": "2\x1b[31m\n"}))
    device = python(f"print(open({str(told)!r}).read())")
    assert measure_on(device, files.tflite, target=PI).find("latency").identity.version == "2?[31m?"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_answers(answer_line, data):
    """Cut short or overwritten anywhere: an answer, or one line."""
    content = bytearray(answer_line)
    place = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(
        st.one_of(st.binary(max_size=3), st.sampled_from([b"null", b"1e999", b"[]", b"{", b"NaN"]))
    )
    content[place : place + data.draw(st.sampled_from([1, 2, 5, len(content)]))] = new
    device = LocalDevice()
    try:
        assert isinstance(
            _read(device, Finished(data.draw(st.sampled_from([0, 3])), bytes(content), b""), Answer), Answer
        )
    except EdgegrowError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 1000


# What the file is that is copied to devices.


@pytest.fixture(scope="module")
def sources():
    """The modules that are copied to devices, by their names in the archive."""
    with zipfile.ZipFile(io.BytesIO(runner_archive())) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_runner_needs_nothing_but_numpy_and_python_3_9(sources):
    assert "__main__.py" in sources
    imported = set()
    for source in sources.values():
        for node in ast.walk(ast.parse(source, feature_version=(3, 9))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "runner"}


def test_annotations_of_the_runner_are_not_evaluated(sources):
    """``int | None`` is an error in Python 3.9 where it is."""
    for name, source in sources.items():
        assert "from __future__ import annotations" in source or "->" not in source, name


def test_the_archive_is_the_same_each_time():
    code = "import sys; from edgegrow.measure.runner_archive import runner_archive as r; "
    code += "sys.stdout.buffer.write(r())"
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    again = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=60
    )
    assert again.stdout == runner_archive()


def test_the_answer_is_one_line_of_json(answer_line):
    assert answer_line.count(b"\n") == 1
    assert json.loads(answer_line)["schema"] == 1
