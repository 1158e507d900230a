"""Artifacts measured over ssh and adb, as a user asks for it."""

import sys

import pytest

from edgegrow.measure.protocol import Profile


@pytest.fixture(params=["ssh", "adb"])
def board(request, tmp_path):
    """A target whose file says how its device is reached, what names the device, and its temporary folder."""
    if request.param == "ssh":
        pytest.importorskip("asyncssh")
        device = request.getfixturevalue("sshd")
        address = device.address.removeprefix("ssh://")
        via = device.address
    else:
        device = request.getfixturevalue("phone")
        address = device.serial
        via = f"adb:{address}"
    target = tmp_path / "board.toml"
    target.write_text(
        'name = "board"\nkind = "linux"\ndescription = "this machine, from afar"\n'
        '[runtime]\nnames = ["litert", "onnxruntime"]\nthreads = 1\n'
        f'[transport]\nkind = "{request.param}"\naddress = "{address}"\npython = "{sys.executable}"\n'
    )
    return target, via, device.place


QUICK = ("--seconds", "0.05", "--json", "-q")


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_an_artifact_is_measured(kind, files, board, run_cli, tmp_path):
    target, via, place = board
    out = tmp_path / "profile.json"
    way = () if kind == "onnx" else ("--via", via)  # else as the target's file says
    code, printed, error = run_cli(
        "measure", getattr(files, kind), "--target", target, *way, *QUICK, "--out", out
    )
    assert code == 0, error
    profile = Profile.model_validate_json(printed)
    assert profile == Profile.read(out)
    latency = profile.find("latency")
    assert latency.evidence == "measured"
    assert latency.identity.runtime == {"tflite": "litert", "onnx": "onnxruntime"}[kind]
    assert f"on {via}, " in latency.method
    assert "the simulator's" in latency.method
    assert list(place.iterdir()) == []


def test_a_device_that_is_not_the_target(files, board, run_cli):
    _, via, place = board
    code, printed, error = run_cli(
        "measure", files.tflite, "--target", "raspberry-pi-2", "--via", via, *QUICK
    )
    assert (code, printed) == (2, "")
    assert error.count("\n") == 1
    assert via in error
    assert list(place.iterdir()) == []


def test_a_device_without_the_runtime(files, board, run_cli, tmp_path):
    target, via, _ = board
    target.write_text(target.read_text().replace(sys.executable, "/no/such/python"))
    code, _, error = run_cli("measure", files.tflite, "--target", target, *QUICK)
    assert code == 2
    assert error.count("\n") == 1
    assert via in error
