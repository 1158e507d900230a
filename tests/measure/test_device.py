"""A device: programs that end, that do not, that flood us, and files that do not fit."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.measure.device import DeviceError, DeviceTimeout, LocalDevice

ECHO = "import os, sys; os.write(1, os.fsencode(chr(0).join(sys.argv[1:]))); os.write(2, b'err'); sys.exit(7)"


@pytest.fixture
def device():
    with LocalDevice() as device:
        yield device


def gone(pid_file):
    """Whether the process that has written its number there has ended."""
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_arguments_arrive_unchanged(arguments):
    device = LocalDevice()
    finished = device.run([*device.python, "-c", ECHO, *arguments], timeout_s=120)
    assert (finished.exit_code, finished.stderr) == (7, b"err")
    assert finished.stdout == b"\0".join(argument.encode() for argument in arguments)


def test_a_signal_is_told(device):
    finished = device.run(["sh", "-c", "kill -SEGV $$"], timeout_s=120)
    assert finished.exit_code == -signal.SIGSEGV


def test_nothing_is_left_after_its_time(device, tmp_path):
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait"
    for timeout_s in (0.5, 5, 50):
        with pytest.raises(DeviceTimeout, match=rf"local: sh did not end within {timeout_s} s"):
            device.run(["sh", "-c", script], timeout_s=timeout_s)
        if (tmp_path / "self").exists():  # else a busy machine had not come to it yet
            break
    assert gone(tmp_path / "child")
    assert gone(tmp_path / "self")


def test_words_without_end_do_not_stop_the_clock(device):
    with pytest.raises(DeviceTimeout):
        device.run(["sh", "-c", "while :; do echo .; sleep 0.01; done"], timeout_s=0.3)


def test_a_flood_is_ended(device):
    with pytest.raises(DeviceError, match="yes wrote more than 1,048,576 bytes"):
        device.run(["yes"], timeout_s=60, max_output_bytes=1 << 20)


def test_nothing_is_left_after_an_interrupt(tmp_path):
    script = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 300"
    code = (
        "from edgegrow.measure.device import LocalDevice\n"
        f"LocalDevice().run(['sh', '-c', {script!r}], timeout_s=300)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (tmp_path / "pid").exists():
        assert caller.poll() is None
        time.sleep(0.02)
    caller.send_signal(signal.SIGINT)
    assert caller.wait(120) != 0
    assert gone(tmp_path / "pid")


@pytest.mark.parametrize("command", [["/nonexistent/python3", "x"], ["a\0b"], [str(Path(__file__).parent)]])
def test_what_cannot_start(device, command):
    with pytest.raises(DeviceError, match="local: cannot start") as caught:
        device.run(command, timeout_s=1)
    assert "\n" not in str(caught.value)


def test_a_folder_lives_as_long_as_it_is_used(device):
    with device.folder() as folder:
        device.put(b"\0content", f"{folder}/a file")
        assert (Path(folder) / "a file").read_bytes() == b"\0content"
    assert not Path(folder).exists()
    held = contextlib.ExitStack()
    folder = held.enter_context(device.folder())
    device.put(b"x", f"{folder}/file")
    held.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not Path(folder).exists()


def test_files_that_do_not_fit(device, tmp_path):
    with pytest.raises(DeviceError, match=r"cannot write /dev/full: No space left on device"):
        device.put(b"x" * 5000, "/dev/full")
    with pytest.raises(DeviceError, match="No such file"):
        device.put(b"x", f"{tmp_path}/none/file")
