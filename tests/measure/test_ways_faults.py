"""What goes wrong on the way to a device, or on it, as a user meets it: one line, and nothing is left."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import onnx
import pytest
from metered import plant
from onnx import TensorProto, helper
from sshd import make_key
from test_shell_devices import Way

from edgegrow.measure.device import DeviceError, DeviceTimeout
from edgegrow.measure.meters.opening import make_meter
from edgegrow.measure.protocol import Profile, TargetRef
from edgegrow.measure.remote import measure_on
from edgegrow.measure.timing_plan import TimingPlan
from edgegrow.measure.window_plan import Windows

BOARD = TargetRef(name="board", sha256="0" * 64)
NO_RUNTIME = """\
import sys
for name in ("ai_edge_litert", "tflite_runtime", "onnxruntime"):
    sys.modules[name] = None
import runpy
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


class Device(Way):
    """A device whose Python is a program of the test's, behind a way that a user names."""

    def __init__(self, kind, server, folder):
        super().__init__(kind, server)
        self.python = folder / "python"
        self.runs(f'exec {sys.executable} "$@"')
        self.target = folder / "board.toml"
        self.target.write_text(
            'name = "board"\nkind = "linux"\ndescription = "this machine, from afar"\n'
            '[runtime]\nnames = ["litert", "onnxruntime"]\nthreads = 1\n'
            f'[transport]\nkind = "{kind}"\npython = "{self.python}"\n'
        )
        self.via = server.address if kind == "ssh" else f"adb:{server.serial}"

    def runs(self, script):
        """Make a script the device's Python."""
        self.python.write_text(f"#!/bin/sh\n{script}\n")
        self.python.chmod(0o755)

    def connect(self):
        device = super().connect()
        device.python = (str(self.python),)
        return device

    def wait_for_the_runner(self):
        """Wait until the runner runs there."""
        deadline = time.monotonic() + 120
        started = os.fsencode(sys.executable) + b"\0"
        while not any(line.startswith(started) and b"runner.pyz" in line for line in self.lines()):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def nothing_is_left(self, within_s=60):
        super().nothing_is_left(within_s)

    def lines(self):
        """Return the command lines of what the device runs."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if b"TMPDIR=" + os.fsencode(self.place) in (process / "environ").read_bytes():
                    yield (process / "cmdline").read_bytes()


@pytest.fixture(params=["ssh", "adb"])
def board(request, tmp_path):
    if request.param == "ssh":
        pytest.importorskip("asyncssh")
    server = request.getfixturevalue("sshd" if request.param == "ssh" else "phone")
    return Device(request.param, server, tmp_path)


@pytest.fixture
def refused(board, run_cli, tmp_path):
    """Measure, which fails: return its line."""

    def refused(path, *options):
        out = tmp_path / "profile.json"
        asked = ("--target", board.target, "--via", board.via, "--seconds", "0", "--out", out, *options)
        code, printed, error = run_cli("measure", path, *asked, "-q")
        assert (code, printed) == (2, ""), error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert not out.exists()
        board.nothing_is_left()
        return error

    return refused


def test_the_device_is_unplugged(board, refused, files):
    cutter = threading.Thread(target=lambda: (board.wait_for_the_runner(), board.server.cut()))
    cutter.start()
    error = refused(files.tflite, "--seconds", "600")
    cutter.join()
    assert f"{board.via}: the connection was lost: see " in error


def test_what_was_measured_before_is_kept(board, files, tmp_path):
    """The latency is measured, and its profile made, when the device is unplugged while energy is."""
    rail = plant(tmp_path / "sys", {"hwmon0": {"name": "meter", "power1_input": "2000000"}}) / "hwmon0"
    cutter = threading.Thread(target=lambda: (board.wait_for_the_runner(), board.server.cut()))

    def progress(line):
        if line.startswith("energy: "):
            cutter.start()

    with board.connect() as device, contextlib.closing(make_meter(f"hwmon:{rail}")) as meter:
        meter.setup()
        profile = measure_on(
            device,
            files.tflite,
            target=BOARD,
            plan=TimingPlan(min_iterations=5, min_seconds=0),
            meter=meter,
            windows=Windows(min_seconds=5),
            progress=progress,
        )
    cutter.join()
    board.nothing_is_left()
    assert profile.find("latency").value > 0
    (missing,) = [each for each in profile.unavailable if each.metric == "energy"]
    assert "the connection was lost" in missing.reason


def test_its_disk_is_full(board, refused, files):
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(board.place)]
    if subprocess.run(mount, capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: it takes root")
    try:
        assert "No space left on device" in refused(files.tflite)
    finally:
        subprocess.run(["umount", "-l", str(board.place)], timeout=60, check=True)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f'exec {sys.executable} -c "$NO_RUNTIME" "$@"', "pip install ai-edge-litert"),
        (f'exec {sys.executable} -S "$@"', "No module named 'numpy'"),
        ("echo hello, world", "its answer is no JSON ('hello, world')"),
        ("kill -11 $$", "its runtime crashed (SIGSEGV)"),
    ],
    ids=["no runtime", "no numpy", "no JSON", "a crash"],
)
def test_its_python_does_not_do_what_it_should(board, refused, files, script, words):
    board.runs(f"NO_RUNTIME='{NO_RUNTIME}'\n{script}")
    assert words in refused(files.tflite)


def test_it_has_no_python(board, refused, files):
    board.python.unlink()
    error = refused(files.tflite)
    assert board.via in error
    assert "python" in error


def test_its_python_is_of_another_architecture(board, refused, files):
    # The head of an ELF file for AArch64, or for x86-64 on a machine that is one.
    machine = b"\x3e\x00" if os.uname().machine == "aarch64" else b"\xb7\x00"
    board.python.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine + bytes(44))
    assert "it takes Python 3.9 or newer with numpy" in refused(files.tflite)


def test_the_model_is_too_large(board, refused, tmp_path):
    """It asks for 16 GiB."""
    ends = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2**31])] for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", *ends)
    path = tmp_path / "big.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    assert "it asks for more than 2 GiB of memory" in refused(path)


def test_the_runner_hangs(board, files):
    board.runs("sleep 600 & exec sleep 600")
    with (
        board.connect() as device,
        pytest.raises(DeviceTimeout, match=r"not end within 1 s: it was ended$"),
    ):
        measure_on(device, files.tflite, target=BOARD, plan=TimingPlan(min_seconds=0), timeout_s=1)
    board.nothing_is_left()


def test_the_host_key_has_changed(sshd, files, run_cli, tmp_path):
    pytest.importorskip("asyncssh")
    sshd.know(make_key(tmp_path / "other"))
    board = Device("ssh", sshd, tmp_path)
    code, _, error = run_cli("measure", files.tflite, "--target", board.target, "--via", board.via, "-q")
    assert (code, error.count("\n")) == (2, 1)
    assert "is not the one in known_hosts: another machine may answer" in error
    board.nothing_is_left()


@pytest.mark.parametrize("name", ['it\'s a $(touch pwned) `touch pwned`; "x" & |.tflite', "-rf\n日本.onnx"])
def test_hostile_file_names(board, files, run_cli, tmp_path, name):
    path = tmp_path / name
    shutil.copy(getattr(files, path.suffix[1:]), path)
    out = tmp_path / "profile.json"
    asked = ("--target", board.target, "--via", board.via, "--seconds", "0", "--out", out)
    code, _, error = run_cli("measure", path, *asked, "-q")
    assert code == 0, error
    assert Profile.read(out).artifact.path == str(path)
    assert not list(tmp_path.rglob("pwned"))
    assert not list(board.place.rglob("pwned"))
    board.nothing_is_left()


def test_a_lost_device_is_a_device_error(board, files):
    """What is asked of it afterwards is refused too, at once."""
    device = board.connect()
    board.server.cut()
    with pytest.raises(DeviceError) as caught:
        measure_on(device, files.tflite, target=BOARD)
    assert str(caught.value).startswith(device.name)
    device.close()
