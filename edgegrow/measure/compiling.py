"""Running compilers, within bounds: zig's clang, which pip installs, and others."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edgegrow.errors import InputError

COMPILE_SECONDS = 300
"""Time that one call of a compiler may take; zig builds its run-time library the first time."""

COMPILE_BYTES = 2**32
"""Address space of a compiler: without a bound, a few lines of macros take all memory."""


def find_zig() -> tuple[str, ...] | None:
    """Return the command of ``zig``, to which ``cc`` is added to compile C; None where it is missing."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return (sys.executable, "-P", "-m", "ziglang")


def compile_shared(compiler: Sequence[str], source: Path, output: Path, what: str) -> None:
    """Compile a C file, which needs no header but those beside it, to a shared library for this machine.

    Raises
    ------
    InputError
        If it does not compile; the message begins with `what`.
    """
    flags = ("-std=c11", "-O2", "-shared", "-fPIC", "-nostdlib")
    run_compiler((*compiler, *flags, str(source), "-o", str(output)), what, output.parent)


def run_compiler(command: Sequence[str], what: str, folder: Path | None = None) -> str:
    """Run a compiler, and return what it prints.

    Parameters
    ----------
    command : sequence of str
    what : str
        What it is for: starts the message of an error.
    folder : Path, optional
        Where it works; files in it are what the messages of errors name.

    Raises
    ------
    InputError
        If it cannot be started, takes too long, or fails.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise InputError(f"{what}: cannot run {command[0]}: {error.strerror}") from error
    with process:
        try:
            _limit_memory(process.pid)
            out, err = process.communicate(timeout=COMPILE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{what}: the compiler took longer than {COMPILE_SECONDS} s") from error
        finally:
            if process.returncode is None:
                _end_all(process)
    if process.returncode:
        raise InputError(f"{what}: it does not compile: {_first_error(err)}")
    return out


def _limit_memory(process_id: int) -> None:
    """Bound what a compiler and the programs that it starts may take, each for itself."""
    if sys.platform != "linux":
        return
    import resource

    with suppress(ProcessLookupError):  # it has ended already
        resource.prlimit(process_id, resource.RLIMIT_AS, (COMPILE_BYTES, COMPILE_BYTES))


def _end_all(process: subprocess.Popen[str]) -> None:
    """End a compiler with the programs that it has started: they share its session."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _first_error(text: str) -> str:
    """Find the line of a compiler's or linker's output that says what is wrong, without its folder."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\berror\b|undefined|overflow|will not fit", line)]
    line = (telling or lines or ["the compiler says nothing"])[0]
    return re.sub(r"(?:/[^\s:/]+)+/", "", line)[:300]
