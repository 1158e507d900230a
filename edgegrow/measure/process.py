"""The process that runs artifacts, as seen from edgegrow: its runner, wherever a command can start it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgegrow.errors import InputError
from edgegrow.measure.answers import Refused
from edgegrow.measure.runner.bounds import OPEN_SECONDS
from edgegrow.measure.runner_archive import FILE_NAME, runner_archive

PACKAGES = {"ai_edge_litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}
"""What to install for each runtime's module."""


def explain_refusal(refused: Refused) -> str:
    """Say why a runner does not run an artifact, and what to do; the words follow the artifact's name."""
    if refused.missing is None:
        return refused.error
    return f"its runtime cannot be imported ({refused.error}): pip install {PACKAGES[refused.missing]}"


def explain_end(exit_code: int) -> str:
    """Say why a runner ended before it had answered; the words follow the artifact's name.

    Parameters
    ----------
    exit_code : int
        Negative is a signal's number, and so is 128 and more, as shells have it.
    """
    number = exit_code - 128 if exit_code > 128 else -exit_code
    if number == getattr(signal, "SIGALRM", None):
        return f"it took longer than {OPEN_SECONDS} s to open and run once"
    if number == getattr(signal, "SIGKILL", None):
        return "it was killed (SIGKILL): there was too little memory for it, or someone ended it"
    name = next((known.name for known in signal.Signals if known == number), None)
    if name is not None:
        return f"its runtime crashed ({name}): the file is damaged, export it again"
    return f"the process that ran it ended (exit code {exit_code}): see edgegrow doctor"


class Worker:
    """A process that opens artifacts; it starts when needed, and again after an artifact has crashed it.

    Parameters
    ----------
    python : sequence of str
        Command that starts Python; the runner's file is its last argument.
    """

    def __init__(self, python: Sequence[str] = (sys.executable, "-P")) -> None:
        self._python = tuple(python)
        self._process: subprocess.Popen[bytes] | None = None
        self.holds: object = None
        """Stands for the artifact that is open in the process."""

    def ask(self, request: dict[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Send a request, and wait for its answer and payload.

        Raises
        ------
        InputError
            If the worker refuses it, or ends before it has answered; the message names no file.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({**request, "bytes": len(payload)}).encode() + b"\n" + payload)
            process.stdin.flush()
            line = process.stdout.readline()
            answer = json.loads(line) if line.endswith(b"\n") else None
            content = process.stdout.read(answer["bytes"]) if answer else b""
        except BrokenPipeError:
            answer, content = None, b""
        except BaseException:  # interrupted between request and answer: the next answer would be this one's
            self.close()
            raise
        if answer is None:
            raise InputError(self._ended())
        if "error" in answer:
            raise InputError(explain_refusal(Refused.model_validate(answer)))
        return answer, content

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            folder = tempfile.TemporaryDirectory(prefix="edgegrow-", ignore_cleanup_errors=True)
            runner = Path(folder.name) / FILE_NAME
            runner.write_bytes(runner_archive())
            process = subprocess.Popen(
                (*self._python, str(runner)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise InputError(f"worker {self._python[0]}: cannot start it: {error.strerror}") from error
        self._process = process
        self._finalizer = weakref.finalize(self, _end, process, folder)
        return process

    def _ended(self) -> str:
        process = self._process
        self._process = self.holds = None
        assert process is not None
        self._finalizer()
        return explain_end(process.returncode)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._finalizer()
            self._process = self.holds = None


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:  # what is still buffered cannot be sent to a process that has ended
            pass
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    folder.cleanup()
