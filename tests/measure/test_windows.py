"""Artifacts that are timed in turn: by edgegrow's runner, and by Google's benchmark_model."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_benchmark_model import output, stand_in

from edgegrow.errors import EdgegrowError, InputError
from edgegrow.measure.adb import AdbDevice
from edgegrow.measure.answers import InTurn
from edgegrow.measure.benchmark_turns import take_turns_by_benchmark_model
from edgegrow.measure.device import DeviceError, Finished, LocalDevice
from edgegrow.measure.remote import _read, ask_runner
from edgegrow.measure.runner.machine import processors
from edgegrow.measure.timing_plan import TimingPlan
from edgegrow.measure.windows import time_in_turn

FAST = "count=5 first=2 curr=1 min=1 max=3 avg=1.5 std=1\n" * 2
"""What benchmark_model prints: its warm-up, and then what it has measured."""

QUICK = {"rounds": 3, "seconds": 0.0}


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_each_has_a_window_a_round(files, vector_files, kind):
    contents = [getattr(each, kind).read_bytes() for each in (files, vector_files, files)]
    plan = TimingPlan(affinity=(processors()[0],))
    identity, windows_ns = time_in_turn(LocalDevice(), contents, kind, plan=plan, **QUICK)
    assert windows_ns.shape == (3, 3)
    assert (windows_ns > 0).all()
    assert identity.runtime == {"tflite": "litert", "onnx": "onnxruntime"}[kind]
    assert (identity.affinity, identity.threads) == (str(processors()[0]), 1)


def test_an_artifact_that_does_not_run_is_refused(files):
    contents = [files.tflite.read_bytes(), files.onnx.read_bytes()]
    with pytest.raises(InputError, match=r"^an artifact on board: ") as told:
        time_in_turn(LocalDevice(name="board"), contents, "tflite", plan=TimingPlan(), **QUICK)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"windows_ns": [[1.5, 2.5]]}, "its answer has not 3 windows of 2 artifacts"),
        ({"windows_ns": [[1.5, 2.5, 3.5]]}, "its answer has not 3 windows of 2 artifacts"),
        ({"windows_ns": [[1.5, 2.5, 0], [1, 2, 3]]}, "its answer is not a runner's: windows_ns"),
        ({"windows_ns": [[1.5, 2.5, -1], [1, 2, 3]]}, "its answer is not a runner's: windows_ns"),
        ({"windows_ns": 3}, "its answer is not a runner's: windows_ns"),
        ({"schema": 2}, "its answer is not a runner's: schema"),
    ],
)
def test_an_answer_that_is_none_is_refused(files, change, words, tmp_path):
    content = files.tflite.read_bytes()
    request = {"artifact": "a", "format": "tflite", "sizes": [len(content)], "min_seconds": 0}
    answer = ask_runner(LocalDevice(), {"a": content}, request, InTurn, 600)
    (tmp_path / "answer").write_text(json.dumps({**answer.model_dump(mode="json", by_alias=True), **change}))
    board = LocalDevice((sys.executable, "-c", f"print(open({str(tmp_path / 'answer')!r}).read())"), "board")
    with pytest.raises(DeviceError, match=f"^board: {words}"):
        time_in_turn(board, [content, content], "tflite", plan=TimingPlan(), **QUICK)


@pytest.fixture(scope="module")
def answer_line(files):
    """What the runner prints of two artifacts that took turns."""
    content = files.tflite.read_bytes()
    request = {
        "artifact": "a",
        "format": "tflite",
        "sizes": [len(content)] * 2,
        "rounds": 2,
        "min_seconds": 0,
    }
    answer = ask_runner(LocalDevice(), {"a": 2 * content}, request, InTurn, 600)
    return answer.model_dump_json(by_alias=True).encode()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_answers(answer_line, data):
    """Cut short or overwritten anywhere: an answer, or one line."""
    content = bytearray(answer_line)
    place = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.binary(max_size=3) | st.sampled_from([b"null", b"1e999", b"[]", b"{", b"NaN", b"-1"]))
    content[place : place + data.draw(st.sampled_from([1, 2, 5, len(content)]))] = new
    finished = Finished(data.draw(st.sampled_from([0, 3])), bytes(content), b"")
    try:
        found = _read(LocalDevice(), finished, InTurn)
    except EdgegrowError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 1000
    else:
        assert all(0 < window < 2**53 for windows in found.windows_ns for window in windows)


@pytest.fixture
def handset(phone):
    with AdbDevice(phone.serial, python=("no-python-here",)) as device:
        yield device, phone.place


def test_benchmark_model_takes_one_after_the_other(files, vector_files, handset):
    device, place = handset
    program = stand_in(place, output(newer=True, kernels="XNNPACK"))
    (place / "fast").write_text(FAST)
    small = vector_files.tflite.stat().st_size
    # It keeps in which order they were; the smaller file is the faster one.
    told = f'echo "$*" >>"$0-turns"; [ $(wc -c <"${{1#--graph=}}") -ne {small} ] || exec cat "${{0%/*}}/fast"'
    program.write_text(program.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{told}\n"))
    identity, windows_ns = take_turns_by_benchmark_model(
        device,
        [each.tflite.read_bytes() for each in (files, vector_files)],
        program=str(program),
        plan=TimingPlan(threads=2, affinity=(0,)),
        rounds=2,
        seconds=0.25,
    )
    assert np.array_equal(windows_ns, [[1.24027e9] * 2, [1.5e3] * 2])
    assert (identity.runtime, identity.kernels, identity.threads) == ("benchmark_model", "XNNPACK", 2)
    turns = (place / "benchmark_model-turns").read_text().splitlines()
    assert [turn.split()[0].rpartition("/")[2] for turn in turns] == ["0.tflite", "1.tflite"] * 2
    assert all("--num_threads=2 --num_runs=10 --min_secs=0.25" in turn for turn in turns)
    assert not list(place.glob("edgegrow-*"))


def test_benchmark_model_that_fails_is_one_line(files, handset):
    device, place = handset
    program = stand_in(place, "nothing of use\n")
    how = {"program": str(program), **QUICK}
    for plan, error in ((TimingPlan(), "printed no timings"), (TimingPlan(cpu_part="0xfff"), "0xfff")):
        with pytest.raises(InputError, match=error) as told:
            take_turns_by_benchmark_model(device, [files.tflite.read_bytes()], plan=plan, **how)
        assert "\n" not in str(told.value)
