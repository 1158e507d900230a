"""Devices over a real ssh server, and over a real adb server: what both promise."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegrow.measure.adb import AdbDevice
from edgegrow.measure.device import DeviceError, DeviceTimeout
from edgegrow.measure.ssh import SshDevice

HOSTILE = [
    "two words",
    'it\'s "quoted"',
    "line\nbreak",
    "-rf",
    "$(touch pwned)",
    "`touch pwned`; touch pwned & touch pwned | * ? ~ # \\",
    "ünï日本",
    "",
]


ENOUGH_S = 120
"""For what ends by itself: a busy machine may be slow, and it is waited for no longer than needed."""

SOON_S = 8
"""For what we end: less than `shell_device.SPARE_S`, after which a device would end it."""


class Way:
    """A way to a device on this machine: what it is reached by, and what is left there."""

    def __init__(self, kind, server):
        self.kind, self.server, self.place = kind, server, server.place
        # Programs are told from others by an argument that is unique to the test.
        self.mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"

    def connect(self):
        return SshDevice(self.server.address) if self.kind == "ssh" else AdbDevice(self.server.serial)

    def running(self):
        """Return the command lines of this test's programs, and of what guards them."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (process / "cmdline").read_bytes()
                if self.mark.encode() in line and b"shell_device" not in line:  # the `client`, which names it
                    found.append(line)
        return found

    def ended(self, within_s=SOON_S):
        """Wait until this test's programs are gone: a process that is killed takes a moment to go."""
        deadline = time.monotonic() + within_s
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.running()

    def left(self):
        """Return all that the device still runs, guards and clocks too, and the folders there."""
        found = list(self.place.iterdir())
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (process / "environ").read_bytes()
                if b"TMPDIR=" + os.fsencode(self.place) in environment:
                    found.append((process / "cmdline").read_bytes())
        return [each for each in found if b"adbd.py" not in os.fsencode(each)]

    def nothing_is_left(self, within_s=60):
        deadline = time.monotonic() + within_s
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.left() == []

    def starts(self):
        """Wait until a `script` of this test runs."""
        deadline = time.monotonic() + 120
        while not any(line.startswith(b"sh\0-c\0#") for line in self.running()):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def script(self, text):
        """Return a command that runs a shell script, told by the mark."""
        return ("sh", "-c", f"# {self.mark}\n{text}")


@pytest.fixture(params=["ssh", "adb"])
def way(request):
    if request.param == "ssh":
        pytest.importorskip("asyncssh")
    return Way(request.param, request.getfixturevalue("sshd" if request.param == "ssh" else "phone"))


@pytest.fixture
def device(way):
    with way.connect() as device:
        yield device


def message(caught, device_name):
    """One line that names the device."""
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(device_name)
    assert len(text) < 400


def test_a_program_and_what_it_writes(way, device):
    done = device.run(way.script("echo out; echo err >&2; exit 3"), timeout_s=ENOUGH_S)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert device.run(("true",), timeout_s=ENOUGH_S).exit_code == 0
    assert device.run(("sh", "-c", "kill -SEGV $$"), timeout_s=ENOUGH_S).exit_code == -signal.SIGSEGV
    way.nothing_is_left()


def test_much_output_comes_whole(device):
    script = (
        "import os, sys; b = os.urandom(3_000_000); sys.stderr.buffer.write(b); sys.stdout.buffer.write(b)"
    )
    done = device.run((sys.executable, "-c", script), timeout_s=ENOUGH_S)
    assert len(done.stdout) == 3_000_000
    assert done.stdout == done.stderr


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(blacklist_characters="\0", codec="utf-8"), max_size=12), max_size=4))
def test_arguments_arrive_unchanged(device, arguments):
    done = device.run(("printf", "<%s>", *arguments), timeout_s=ENOUGH_S)
    assert done.stdout.decode() == ("".join(f"<{each}>" for each in arguments) or "<>")


def test_hostile_names(way, device):
    with device.folder() as folder:
        for name in HOSTILE[:-1]:
            path = f"{folder}/{name.replace('/', '_')}"
            device.put(name.encode(), path)
            assert device.run(("cat", path), timeout_s=ENOUGH_S).stdout == name.encode()
        assert len(list(Path(folder).iterdir())) == len(HOSTILE) - 1
        done = device.run(("printf", "%s\\0", *HOSTILE), timeout_s=ENOUGH_S)
        assert done.stdout.decode().split("\0")[:-1] == HOSTILE
    assert not Path("pwned").exists()
    assert not Path("~/pwned").expanduser().exists()
    way.nothing_is_left()
    with pytest.raises(DeviceError, match="zero byte") as caught:
        device.run(("echo", "a\0b"), timeout_s=ENOUGH_S)
    message(caught, device.name)


@pytest.mark.parametrize("size", [0, 5_000_001])
def test_files_arrive_whole(device, size):
    content = os.urandom(size)
    with device.folder() as folder:
        device.put(content, f"{folder}/file")
        assert Path(folder, "file").read_bytes() == content
        device.put(b"over", f"{folder}/file")
        assert Path(folder, "file").read_bytes() == b"over"


def test_a_folder_goes_with_all_that_is_in_it(way, device):
    with device.folder() as folder, device.folder() as other:
        assert folder != other
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        device.run(("mkdir", "-p", f"{folder}/a/b"), timeout_s=ENOUGH_S)
        device.put(b"x", f"{folder}/a/b/c")
    way.nothing_is_left()
    with pytest.raises(ZeroDivisionError), device.folder():
        raise ZeroDivisionError
    way.nothing_is_left()


def test_a_hanging_program_is_ended(way, device):
    with device.folder() as folder:
        for script in (
            "sleep 300",
            "trap '' TERM HUP INT; sleep 300 & (sleep 300; true) & wait",
            "exec sleep 300",
        ):
            with pytest.raises(DeviceTimeout, match=r"sh did not end within 0\.3 s: it was ended") as caught:
                device.run(way.script(script), timeout_s=0.3)
            message(caught, device.name)
            assert way.ended()
        assert Path(folder).is_dir()
        assert device.run(("echo", "still here"), timeout_s=ENOUGH_S).stdout == b"still here\n"
    way.nothing_is_left()


def test_what_a_program_leaves_behind_is_ended_with_it(way, device):
    child = f"sh -c '# {way.mark}\nsleep 300; true' >/dev/null 2>&1 &"
    assert device.run(way.script(child), timeout_s=ENOUGH_S).exit_code == 0
    assert way.ended()


def test_too_much_output(way, device):
    with pytest.raises(DeviceError, match="wrote more than 100,000 bytes") as caught:
        device.run(("sh", "-c", f"yes {way.mark}"), timeout_s=ENOUGH_S, max_output_bytes=100_000)
    message(caught, device.name)
    assert way.ended()


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "/etc/passwd"])
def test_a_program_that_is_not_there(device, program):
    with pytest.raises(DeviceError, match=f"cannot start {program}: ") as caught:
        device.run((program,), timeout_s=ENOUGH_S)
    message(caught, device.name)


def test_a_program_of_another_architecture(way, device):
    with device.folder() as folder:
        # The head of an ELF file for AArch64, or for x86-64 on a machine that is one.
        machine = b"\x3e\x00" if os.uname().machine == "aarch64" else b"\xb7\x00"
        device.put(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine + bytes(44), f"{folder}/program")
        device.run(("chmod", "755", f"{folder}/program"), timeout_s=ENOUGH_S)
        assert device.run((f"{folder}/program",), timeout_s=ENOUGH_S).exit_code != 0
    way.nothing_is_left()


@pytest.mark.parametrize("path", ["/no/such/folder/file", "/", "/proc/version"])
def test_a_file_that_cannot_be_written(device, path):
    with pytest.raises(DeviceError, match=f"cannot write {path}: ") as caught:
        device.put(b"x", path)
    message(caught, device.name)


def test_a_full_disk(way, device, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: it takes root")
    try:
        with device.folder(), pytest.raises(DeviceError, match="No space left on device") as caught:
            device.put(bytes(2_000_000), f"{disk}/file")
        message(caught, device.name)
        (disk / "file").unlink(missing_ok=True)
        device.put(b"small", f"{disk}/file")
    finally:
        subprocess.run(["umount", "-l", str(disk)], timeout=20, check=True)
    way.nothing_is_left()


def test_a_connection_that_is_cut(way):
    device = way.connect()
    cutter = threading.Thread(target=lambda: (way.starts(), way.server.cut()))

    def measure():
        with device.folder():
            cutter.start()
            device.run(way.script("sleep 300 & sleep 300"), timeout_s=200)

    with pytest.raises(DeviceError, match="the connection was lost: see ") as caught:
        measure()
    cutter.join()
    message(caught, device.name)
    way.nothing_is_left()
    with pytest.raises(DeviceError) as caught:
        device.put(b"x", f"{way.place}/x")
    message(caught, device.name)
    device.close()


CLIENT = """
from edgegrow.measure import shell_device
shell_device.SPARE_S = {own_s} - {limit_s}
from edgegrow.measure.{module} import {name}
with {name}({address!r}) as device, device.folder() as folder:
    device.run(("sh", "-c", "# {mark}" + chr(10) + "sleep 300 & sleep 300"), timeout_s={limit_s})
"""


@pytest.fixture
def clients(way):
    """Start other processes, which run a hanging program on the device until it, or the device, ends it."""
    kinds = {"ssh": ("ssh", "SshDevice", "address"), "adb": ("adb", "AdbDevice", "serial")}
    module, name, address = kinds[way.kind]
    started = []

    def start(own_s):
        """The device ends the program after `own_s`, the client long after that."""
        source = CLIENT.format(
            module=module, name=name, address=getattr(way.server, address), mark=way.mark, own_s=own_s,
            limit_s=300,
        )  # fmt: skip
        started.append(subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.PIPE, text=True))
        way.starts()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_is_ended(way, clients, number):
    """Ctrl-C, and ends that leave a client no time to clean up."""
    client = clients(own_s=300)
    client.send_signal(number)
    _, error = client.communicate(timeout=ENOUGH_S)
    assert client.returncode in (-number, 130)
    if number == signal.SIGINT:
        assert error.rstrip().endswith("KeyboardInterrupt")
    way.nothing_is_left()


def test_a_client_that_falls_silent(way, clients):
    """As when a network is gone that tells neither end: the device keeps the time itself."""
    client = clients(own_s=6)
    client.send_signal(signal.SIGSTOP)
    assert way.ended(within_s=60)
    assert len(list(way.place.iterdir())) == 1  # the folder goes when the connection does
    client.kill()
    way.nothing_is_left()


def test_an_interrupt_leaves_a_device_that_can_be_used(way, device):
    with device.folder() as folder:
        interrupter = threading.Thread(
            target=lambda: (way.starts(), signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
        )
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            device.run(way.script("sleep 300"), timeout_s=200)
        interrupter.join()
        assert way.ended()
        device.put(b"x", f"{folder}/x")
        assert device.run(("cat", f"{folder}/x"), timeout_s=ENOUGH_S).stdout == b"x"
    way.nothing_is_left()


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox", "mksh"])
def test_the_guards_in_shells_of_devices(shell, way, device, tmp_path):
    """Boards have dash, bash or busybox, phones have mksh: the same scripts run in each."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to(found)

    class InThisShell(type(device)):
        def line(self, script, *arguments):
            return super().line(script, *arguments).replace("exec sh", f"exec {tmp_path}/bin/sh", 1)

    device.__class__ = InThisShell
    with device.folder():
        done = device.run(way.script("echo out; echo err >&2; exit 3"), timeout_s=ENOUGH_S)
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        with pytest.raises(DeviceTimeout):
            device.run(way.script("sleep 300 & sleep 300"), timeout_s=0.3)
        with pytest.raises(DeviceError, match="it is not there"):
            device.run(("no-such-program",), timeout_s=ENOUGH_S)
    way.nothing_is_left(SOON_S)
