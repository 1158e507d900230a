"""Boards at a serial port: real firmware in QEMU, and pseudo-terminals between it and edgegrow."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from edgegrow.errors import InputError
from edgegrow.measure.mcu.cores import find_core
from edgegrow.measure.mcu.toolchain import FLAGS, find_compiler

Change = Callable[[bytes], bytes]
PORT = "ports/mps2-an386"


def compile_firmware(package: Path, elf: Path, **replaced: str) -> Path:
    """Compile a package's port to the MPS2 board; `replaced` texts of it are changed before."""
    source = elf.with_suffix(".c")
    text = (package / PORT / "port.c").read_text()
    for before, after in replaced.values():
        assert before in text
        text = text.replace(before, after)
    source.write_text(text)
    sources = [package / "src/model.c", package / "src/model_serial.c", source]
    command = (
        *find_compiler("zig").command,
        *find_core("cortex-m4").zig,
        *FLAGS,
        "-Wall",
        "-Wextra",
    )
    script = f"-Wl,-T,{package / PORT / 'mps2-an386.ld'},-e,reset"
    done = subprocess.run(
        [*command, "-Werror", f"-I{package / 'src'}", *map(str, sources), script, "-o", str(elf)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return elf


class Qemu:
    """An emulated board with its serial line on a pseudo-terminal of QEMU's, or on a socket."""

    def __init__(self, elf: Path, folder: Path, pty: bool = False) -> None:
        self.serial, self.control = folder / "serial", folder / "control"
        line = "pty" if pty else f"unix:{self.serial},server=on,wait=off"
        arguments = ["-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", line]
        arguments += ["-qmp", f"unix:{self.control},server=on,wait=off", "-kernel", str(elf)]
        self.process = subprocess.Popen(["qemu-system-arm", *arguments], stdout=subprocess.PIPE, text=True)
        self.connection: socket.socket | None = None
        if pty:
            said = self.process.stdout.readline()
            self.port = re.search(r"redirected to (\S+)", said)[1]
        else:
            self.connection = connect(self.serial, self.process)

    def reset(self) -> None:
        """Press the reset button."""
        with connect(self.control, self.process) as control:
            lines = control.makefile("rw")
            for command in ("qmp_capabilities", "system_reset"):
                lines.readline()
                lines.write(json.dumps({"execute": command}))
                lines.flush()
            lines.readline()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if self.connection:
            self.connection.close()


def connect(path: Path, process: subprocess.Popen) -> socket.socket:
    """Connect to a socket that a process is about to open."""
    connection = socket.socket(socket.AF_UNIX)
    while process.poll() is None:
        with suppress(OSError):
            connection.connect(str(path))
            return connection
        time.sleep(0.02)
    raise AssertionError("QEMU ended")


class Line:
    """A pseudo-terminal whose other end a function serves in a thread, until it is cut."""

    def __init__(self) -> None:
        import tty  # not on Windows

        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.port = os.ttyname(self.slave)
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def bridge(self, connection: socket.socket, to_host: Change = bytes, to_board: Change = bytes) -> None:
        """Carry what a board says and what it is told, changed by functions."""
        self.serve(lambda: self._carry(connection, to_host, to_board))

    def serve(self, once: Callable[[], bool]) -> None:
        """Call a function until it returns False."""

        def run() -> None:
            with suppress(OSError):
                while not self.ended.is_set() and once():
                    pass
            self._hang_up()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def _carry(self, connection: socket.socket, to_host: Change, to_board: Change) -> bool:
        ready, _, _ = select.select([connection, self.master], [], [], 0.05)
        if connection in ready:
            content = connection.recv(4096)
            if not content:
                return False
            os.write(self.master, to_host(content))
        if self.master in ready:
            connection.sendall(to_board(os.read(self.master, 4096)))
        return True

    def send(self, content: bytes) -> bool:
        """Say something, if there is room for it."""
        if select.select([], [self.master], [], 0.05)[1]:
            os.write(self.master, content)
        return True

    def _hang_up(self) -> None:
        os.close(self.master)
        os.close(self.slave)

    def stop(self) -> None:
        self.ended.set()
        if self.thread is None:
            self._hang_up()
        else:
            self.thread.join(10)


class Noise:
    """A line of garbage after every third one, and a byte changed in every so many of them."""

    def __init__(self, damaged_every: int) -> None:
        self.rng, self.lines, self.every = np.random.default_rng(3), 0, damaged_every
        self.begun = b""

    def __call__(self, content: bytes) -> bytes:
        *lines, self.begun = (self.begun + content).split(b"\n")
        return b"".join(map(self.disturb, lines))

    def disturb(self, line: bytes) -> bytes:
        self.lines += 1
        if self.lines % self.every == 0:
            line = bytes([line[0] ^ 0x80]) + line[1:]
        garbage = bytes(self.rng.integers(1, 256, 40, np.uint8)) + b"\n" if self.lines % 3 == 0 else b""
        return line + b"\n" + garbage


class Flip:
    """The first digit of an input changes on its way to the board, so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, content: bytes) -> bytes:
        changed = re.sub(
            rb"db ([0-9a-f])(?=[0-9a-f]{63}%)", lambda m: b"db %x" % (int(m[1], 16) ^ 1), content
        )
        if changed == content or self.times == 0:
            return content
        self.times -= 1
        return changed


ATTEMPTS_SECONDS = 1.0, 5.0, 20.0
"""Patience where it is waited out, as no answer comes: more of it if a busy machine has answered too late."""


def patiently(attempt: Callable[[float], None]) -> None:
    """Try with more and more patience."""
    *short, longest = ATTEMPTS_SECONDS
    for patience_seconds in short:
        try:
            return attempt(patience_seconds)
        except (AssertionError, InputError, pytest.fail.Exception):
            continue
    return attempt(longest)
