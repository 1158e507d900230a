"""Each operator's part in what is counted: where a network can be cut, and what comes of it."""

import shutil

import pytest

from edgegrow.deploy.graph import Add, Tensor
from edgegrow.deploy.tflite import write_tflite
from edgegrow.errors import InputError
from edgegrow.measure.arm.operators import count_operators, stretches
from edgegrow.measure.arm.sysroot import find_sysroot
from edgegrow.measuring import Options, measure_artifact

from .deploy.c_packages import Layers
from .profiles import figure, profile


def test_a_chain_is_cut_behind_each_operator_and_branches_where_they_meet():
    layers = Layers(8, 8, 3).conv(4, (3, 3))
    assert list(stretches(layers.conv(4, (1, 1)).graph())) == [(0, 0), (1, 1)]
    fork = layers.output
    one = layers.conv(4, (1, 1)).output
    layers.output = fork
    other = layers.conv(4, (3, 3)).output
    sum_of_both = Tensor("sum", one.shape, one.scale, one.zero_point)
    layers.operators.append(Add("sum", (one, other), sum_of_both))
    layers.output = sum_of_both
    assert list(stretches(layers.linear(4).graph())) == [(0, 0), (1, 1), (2, 2), (3, 4), (5, 5)]


@pytest.mark.skipif(
    find_sysroot("aarch64") is None or shutil.which("qemu-aarch64") is None,
    reason="the emulator is not prepared: edgegrow doctor --fix emulator",
)
def test_operators_that_are_alike_have_equal_parts_and_all_sum_up(tmp_path):
    path = tmp_path / "model.tflite"
    write_tflite(Layers(8, 8, 3).conv(8, (3, 3)).conv(8, (1, 1)).conv(8, (1, 1)).graph(), path)
    counted = measure_artifact(path, "raspberry-pi-4", options=Options(iterations=3, operators=True))
    parts = {m.metric: m.value for m in counted.measurements if m.metric.startswith("instructions:op")}
    assert list(parts) == [f"instructions:op_{n:02}_conv2d" for n in range(3)]
    assert sum(parts.values()) == counted.find("instructions").value
    first, second, third = parts.values()
    assert 0 < second < first
    assert second == pytest.approx(third, abs=50), "some instructions are the call's"


def test_files_whose_counts_vary_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"--operators takes a \.tflite file"):
        count_operators(tmp_path / "model.onnx", pytest.fail)


def test_a_file_that_takes_something_else_as_edgegrow_writes_it_has_no_parts(tmp_path):
    path = tmp_path / "model.tflite"
    write_tflite(Layers(8, 8, 3).conv(8, (3, 3)).graph(), path)
    counts = iter((2000, 1000))
    counted = count_operators(path, lambda _: profile(figure("instructions", next(counts), "instructions")))
    assert [m.metric for m in counted.measurements] == ["instructions"]
    (missing,) = counted.unavailable
    assert missing.reason == "as edgegrow writes it, it takes 1,000 instructions, not 2,000"
