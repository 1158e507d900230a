"""Getting to Android devices over a real adb server: which there are, what it says, and what goes wrong."""

import os
import shutil
import socket
import subprocess
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegrow.errors import EdgegrowError, InputError
from edgegrow.measure import adb_link
from edgegrow.measure.adb import AdbDevice
from edgegrow.measure.device import DeviceError


def fails(serial, match, kind=DeviceError):
    """Connecting fails, with one line that names the device."""
    with pytest.raises(kind, match=match) as caught:
        AdbDevice(serial)
    text = str(caught.value)
    assert text.startswith(f"adb:{serial}: ")
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_the_stand_in_satisfies_the_real_client(adb_server, phone, tmp_path):
    """What is measured through is adb's own server; its own client gets on with the daemon too."""
    assert b"connected to" in adb_server.run("connect", phone.serial).stdout
    done = adb_server.run("-s", phone.serial, "shell", "cat; echo err >&2; exit 7", input=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in", b"err\n")
    content = os.urandom(700_001)
    (tmp_path / "sent").write_bytes(content)
    for arguments in (
        ("push", tmp_path / "sent", phone.place / "a b"),
        ("pull", phone.place / "a b", tmp_path / "got"),
    ):
        assert adb_server.run("-s", phone.serial, *map(str, arguments)).returncode == 0
    assert (tmp_path / "got").read_bytes() == content
    (phone.place / "a b").unlink()


def test_a_device_is_connected_where_it_is_not_yet(adb_server, phone):
    assert phone.serial.encode() not in adb_server.run("devices").stdout
    for _ in range(2):
        with AdbDevice(phone.serial) as device:
            assert device.run(("echo", "hello"), timeout_s=20).stdout == b"hello\n"
    assert f"{phone.serial}\tdevice".encode() in adb_server.run("devices").stdout


def test_a_device_that_is_not_there(phone):
    AdbDevice(phone.serial)
    fails("0123456789ABCDEF", f"there is no such device .there are: {phone.serial}.: see its cable")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    fails(f"127.0.0.1:{port}", "there is no such device .there are: ")


def test_a_device_that_does_not_trust_this_computer(phones, monkeypatch):
    monkeypatch.setattr(adb_link, "READY_S", 0.5)
    fails(phones("--unauthorized").serial, "does not trust this computer: unlock its screen")


def test_a_device_that_is_too_old(phones):
    fails(phones("--features", "cmd").serial, "has no shell v2: Android 7 or newer")


@pytest.mark.parametrize("serial", ["", "two words", "line\nbreak", "\0"])
def test_what_is_no_serial(serial):
    with pytest.raises(InputError, match="this is no serial number"):
        AdbDevice(serial)


def test_a_path_that_is_too_long(phone):
    with AdbDevice(phone.serial) as device, pytest.raises(DeviceError, match="too long") as caught:
        device.put(b"x", "/tmp/" + 1100 * "x")
    assert len(str(caught.value)) < 200


@pytest.fixture
def free_port(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    return port


def test_no_server_and_no_adb(free_port, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    fails("X", rf"no adb server answers at 127\.0\.0\.1:{free_port}: .*: install adb")


def test_an_adb_that_does_not_start(free_port, monkeypatch, tmp_path):
    (tmp_path / "adb").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fails("X", "no adb server answers")


def test_a_server_is_started(free_port, monkeypatch, tmp_path):
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed: apt install adb")
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        fails("X", "there is no such device .there are: none.")
    finally:
        subprocess.run(
            ["adb", "-P", str(free_port), "kill-server"], timeout=120, check=True, capture_output=True
        )


@pytest.mark.parametrize("port", ["many", "0", "70000", "-1", "5037 "])
def test_a_port_that_is_none(monkeypatch, port):
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    fails("X", "it must be a port", InputError)


class Liar:
    """A server that answers each connection with the next of its answers."""

    def __init__(self):
        self.answer = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._lie, args=(link,), daemon=True).start()

    def _lie(self, link):
        try:
            with link:
                link.sendall(self.answer)
                link.shutdown(socket.SHUT_WR)
                while link.recv(1 << 16):
                    pass
        except OSError:
            pass

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def liar(monkeypatch, tmp_path):
    server = Liar()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    monkeypatch.setenv("PATH", str(tmp_path))  # nothing is started in its place
    monkeypatch.setattr(adb_link, "READY_S", 0.0)
    yield server
    server.close()


PIECES = st.sampled_from(
    [
        b"OKAY",
        b"FAIL",
        b"0004",
        b"0029",
        b"ffff",
        b"zzzz",
        b"-001",
        b"device offline",
        b"not found",
        b"shell_v2",
        b"\xff\n\0",
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES | st.binary(max_size=8), max_size=8))
def test_a_server_that_answers_anything(liar, pieces):
    liar.answer = b"".join(pieces)
    try:
        device = AdbDevice("127.0.0.1:1")
        device.run(("true",), timeout_s=2)
    except EdgegrowError as error:
        text = str(error)
    else:
        text = ""  # an answer that makes sense by chance
    assert "\n" not in text
    assert len(text) < 600


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1) | st.just(3), st.binary(max_size=5)),
        max_size=4,
    )
)
def test_a_shell_that_answers_anything(liar, packets):
    """OKAY to every request, then packets of any kind and length."""
    told = b"".join(
        bytes([kind]) + length.to_bytes(4, "little") + content for kind, length, content in packets
    )
    device = AdbDevice.__new__(AdbDevice)
    device.name, device.python = "adb:X", ("python3",)
    device._link = adb_link.AdbLink.__new__(adb_link.AdbLink)
    device._link._name, device._link._serial = "adb:X", "X"
    liar.answer = b"OKAY00020029"
    device._link._server = adb_link.AdbServer("adb:X")
    liar.answer = b"OKAYOKAY" + told
    text = ""
    try:
        finished = device.run(("true",), timeout_s=2)
    except DeviceError as error:
        text = str(error)
    else:
        assert -32 < finished.exit_code < 256
    assert "\n" not in text
    assert len(text) < 400
