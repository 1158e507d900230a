"""The process that runs artifacts, as seen from edgegrow: ``worker.py``, wherever a command can start it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from typing import Any

from edgegrow.errors import InputError
from edgegrow.measure import worker as program

PACKAGES = {"ai_edge_litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}
"""What to install for each runtime's module."""


class Worker:
    """A process that opens artifacts; it starts when needed, and again after an artifact has crashed it.

    Parameters
    ----------
    command : sequence of str
        What starts ``worker.py``, connected to its stdin and stdout.
    """

    def __init__(self, command: Sequence[str] = (sys.executable, "-P", program.__file__)) -> None:
        self._command = tuple(command)
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
        if "missing" in answer:
            package = PACKAGES[answer["missing"]]
            raise InputError(f"its runtime cannot be imported ({answer['error']}): pip install {package}")
        if "error" in answer:
            raise InputError(answer["error"])
        return answer, content

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise InputError(f"worker {self._command[0]}: cannot start it: {error.strerror}") from error
        self._process = process
        self._finalizer = weakref.finalize(self, _end, process)
        return process

    def _ended(self) -> str:
        process = self._process
        self._process = self.holds = None
        assert process is not None
        _end(process)
        code = process.returncode
        if -code == getattr(signal, "SIGALRM", None):
            return f"it took longer than {program.OPEN_SECONDS} s to open and run once"
        if code < 0:
            return f"its runtime crashed ({signal.Signals(-code).name}): the file is damaged, export it again"
        return f"the process that ran it ended (exit code {code}): see edgegrow doctor"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._finalizer()
            self._process = self.holds = None


def _end(process: subprocess.Popen[bytes]) -> None:
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
