"""A container as a device: Docker's or Podman's, without network, rights, or a place to write but ``/tmp``.

The container lives as long as its standard input is open, which is ours: it ends with this process, however
that ends. Programs are started in it by ``exec``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from edgegrow.errors import InputError
from edgegrow.measure.device import (
    MAX_OUTPUT_BYTES,
    Device,
    DeviceError,
    DeviceTimeout,
    Finished,
    LocalDevice,
    last_line,
)

ENGINES = ("docker", "podman")
"""Programs that run containers; the first that is installed."""

TMP_BYTES = 512 << 20
"""Size of the container's ``/tmp``, in its memory."""

MEMORY_BYTES = 4 << 30
"""Memory of the container."""

_START_SECONDS, _END_SECONDS, _PUT_SECONDS = 60.0, 10.0, 120.0
_OPTIONS = (
    *("--init", "--interactive", "--network=none", "--read-only", "--cap-drop=ALL"),
    *("--security-opt=no-new-privileges", "--user=65534:65534", "--pids-limit=256"),
    *(f"--memory={MEMORY_BYTES}", f"--tmpfs=/tmp:rw,nosuid,nodev,size={TMP_BYTES},mode=1777"),
)
_MARK = b"ready"
_HOLD = f"echo {_MARK.decode()}; exec cat"  # ends when its input does


class ContainerDevice(Device):
    """A container of an image that is on this machine; it is started when it is first needed.

    Parameters
    ----------
    image : str
        Its name; it is not fetched.
    python : sequence of str
        Command that starts Python in it.
    engine : str, optional
        ``docker`` or ``podman``; by default the first that is installed.

    Raises
    ------
    InputError
        If no engine is installed, or the name could be an option.
    """

    def __init__(self, image: str, python: Sequence[str] = ("python3",), engine: str | None = None) -> None:
        found = engine or next((name for name in ENGINES if shutil.which(name)), None)
        if found is None:
            raise InputError("container: neither docker nor podman is installed: install one")
        if not image or image.startswith("-"):
            raise InputError(f"container {image!r}: it is no image's name")
        self.name, self.python = f"container:{image}", tuple(python)
        self._image, self._engine = image, found
        self._local = LocalDevice(name=self.name)
        self._container = ""
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, command: Sequence[str], *, timeout_s: float, max_output_bytes: int = MAX_OUTPUT_BYTES
    ) -> Finished:
        """Run a program in the container to its end; where it does not come to it, the container ends."""
        called = (self._engine, "exec", self._started(), *command)
        try:
            return self._local.run(called, timeout_s=timeout_s, max_output_bytes=max_output_bytes)
        except BaseException as error:  # the engine's client has ended, the program has not
            self._end(at_once=True)
            if isinstance(error, DeviceTimeout):
                late = f"{self.name}: {command[0]} did not end within {timeout_s:g} s: it was ended"
                raise DeviceTimeout(late) from error
            raise

    def put(self, content: bytes, path: str) -> None:
        """Write a file in the container."""
        # The path is an argument, not a part of the program.
        called = (self._engine, "exec", "-i", self._started(), "sh", "-c", 'cat > "$1"', "sh", path)
        try:
            done = subprocess.run(
                called, input=content, capture_output=True, timeout=_PUT_SECONDS, check=False
            )
        except BaseException as error:
            self._end(at_once=True)
            if isinstance(error, subprocess.TimeoutExpired):
                raise DeviceError(f"{self.name}: cannot write {path}: it takes too long") from error
            raise
        if done.returncode:
            raise DeviceError(f"{self.name}: cannot write {path}: {last_line(done.stderr)}")

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Make a temporary folder in the container; it is removed at the end, or with the container."""
        # As long a name as on this machine: paths have a part in what is counted.
        made = self.run(("mktemp", "-d", "/tmp/edgegrow-XXXXXXXX"), timeout_s=_START_SECONDS)
        path = made.stdout.decode(errors="replace").strip()
        if made.exit_code or not path.startswith("/tmp/edgegrow-"):
            raise DeviceError(f"{self.name}: cannot make a temporary folder: {last_line(made.stderr)}")
        try:
            yield path
        finally:
            if self._process is not None:
                self.run(("rm", "-rf", path), timeout_s=_START_SECONDS)

    def close(self) -> None:
        """End the container."""
        self._end(at_once=False)

    def _started(self) -> str:
        """Return the name of the container, which runs."""
        if self._process is not None:
            return self._container
        self._container = f"edgegrow-{uuid.uuid4().hex}"
        options = (*_OPTIONS, f"--name={self._container}", "--rm", "--pull=never", "--entrypoint=/bin/sh")
        called = (self._engine, "run", *options, self._image, "-c", _HOLD)
        with tempfile.TemporaryFile() as said:
            try:
                # In a session of its own: an interrupt must not reach the engine before it does us.
                self._process = subprocess.Popen(
                    called,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    start_new_session=True,
                )
                if not self._answers(self._process.stdout):
                    said.seek(0)
                    raise DeviceError(
                        f"{self.name}: {self._engine} cannot start it: {last_line(said.read())}"
                    )
            except OSError as error:
                raise DeviceError(f"{self.name}: cannot start {self._engine}: {error.strerror}") from error
            except BaseException:
                self._end(at_once=True)
                raise
        return self._container

    def _answers(self, stream: IO[bytes] | None) -> bool:
        import select

        assert stream is not None
        ready, _, _ = select.select([stream], [], [], _START_SECONDS)
        return bool(ready) and stream.readline().strip() == _MARK

    def _end(self, at_once: bool) -> None:
        """End the container, and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        if not at_once:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
        if process.poll() is None:
            removing = (self._engine, "rm", "--force", self._container)
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(removing, capture_output=True, timeout=_START_SECONDS, check=False)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
