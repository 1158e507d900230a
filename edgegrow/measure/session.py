"""Artifacts, opened in a process of their own and run sample by sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.measure.answers import Opened, TensorInfo
from edgegrow.measure.identity import identity_of
from edgegrow.measure.process import Worker
from edgegrow.measure.protocol import Artifact, Identity, explain
from edgegrow.measure.runner.runtimes import RUNTIMES

Array = NDArray[Any]

METADATA_KEY = "edgegrow.quantization"
"""Where an ``.onnx`` file keeps the scales and zero points of its input and output, as JSON."""


class Session:
    """An open artifact. Use it in ``with``, or `close` it.

    Attributes
    ----------
    path : pathlib.Path
    artifact : Artifact
    input, output : TensorInfo
    threads : int
    identity : Identity
        This machine's, and the runtime's.
    metadata : dict of str
        What the artifact says of itself.
    """

    def __init__(self, worker: Worker, path: Path, artifact: Artifact, threads: int, opened: Opened):
        self._worker = worker
        self._held = worker.holds = object()
        self.path, self.artifact, self.threads = path, artifact, threads
        self.metadata = opened.metadata
        self.input = _quantized(opened.input, self.metadata, "input")
        self.output = _quantized(opened.output, self.metadata, "output")
        self.identity: Identity = identity_of(opened, threads)

    def ask(self, request: dict[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Send a request to the worker; an error names the artifact."""
        if self._worker.holds is not self._held:
            raise InputError(f"artifact {self.path}: it is not open any more: open it again")
        try:
            return self._worker.ask(request, payload)
        except InputError as error:
            raise InputError(f"artifact {self.path}: {error}") from error

    def run(self, x: Array) -> Array:
        """Run samples one by one.

        Parameters
        ----------
        x : ndarray
            ``(n, ...)`` of the input's type, shaped as the input without its batch.

        Returns
        -------
        ndarray
            ``(n, ...)`` of the output's type, shaped as the output without its batch.

        Raises
        ------
        InputError
            If type or shape are not the input's, or the runtime fails.
        """
        shape = self.input.shape[1:]
        if x.dtype.name != self.input.dtype or x.shape[1:] != shape:
            raise InputError(
                f"artifact {self.path}: samples are {x.dtype} {x.shape[1:]}, "
                f"its input is {self.input.dtype} {shape}"
            )
        _, content = self.ask({"do": "run", "n": len(x)}, np.ascontiguousarray(x).tobytes())
        return np.frombuffer(content, self.output.dtype).reshape(len(x), *self.output.shape[1:]).copy()

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _quantized(info: TensorInfo, metadata: dict[str, str], which: str) -> TensorInfo:
    """Fill in scale and zero point of the input or output, where an ``.onnx`` file's metadata has them."""
    if METADATA_KEY not in metadata:
        return info
    try:
        given = json.loads(metadata[METADATA_KEY])[which]
        told = {"scale": given["scale"], "zero_point": given["zero_point"]}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"its metadata {METADATA_KEY} is damaged: export it again") from error
    return TensorInfo.model_validate({**info.model_dump(), **told})


def read_artifact(path: str | Path, threads: int = 1) -> tuple[Artifact, bytes]:
    """Read a file that a runtime is to run with so many threads; neither is checked further.

    Raises
    ------
    InputError
        If it cannot be read, is empty or is of no runtime's format; or there is no thread.
    """
    path = Path(path)
    if path.is_dir():
        hint = "give a .tflite or .onnx file, or a microcontroller's target"
        raise InputError(f"artifact {path}: it is a directory: {hint}")
    if path.suffix.lower()[1:] not in RUNTIMES:
        raise InputError(f"artifact {path}: this target runs .tflite and .onnx files")
    if threads < 1:
        raise InputError(f"threads {threads}: it takes 1 or more")
    try:
        content = read_regular(path)
    except OSError as error:
        raise InputError(f"artifact {path}: cannot read it: {error.strerror}") from error
    if not content:
        raise InputError(f"artifact {path}: it is empty: export it again")
    return Artifact.of(path, content), content


def open_artifact(path: str | Path, threads: int = 1, worker: Worker | None = None) -> Session:
    """Open a ``.tflite`` or ``.onnx`` file with the runtime of its format, and run it once.

    Parameters
    ----------
    path : str or Path
    threads : int
        Threads the runtime may use.
    worker : Worker or None
        Where to open it; by default a new process on this machine. A worker holds one artifact at a time:
        the session of the one before is closed.

    Raises
    ------
    InputError
        If the file cannot be read, is of another format, is damaged, or is not a network of one input and
        one output with fixed sizes.
    """
    path = Path(path)
    artifact, content = read_artifact(path, threads)
    owned = worker is None
    worker = worker or Worker()
    try:
        answer, _ = worker.ask({"do": "open", "format": artifact.format, "threads": threads}, content)
        del answer["bytes"]
        return Session(worker, path, artifact, threads, Opened.model_validate(answer))
    except (InputError, ValidationError) as error:
        if owned:
            worker.close()
        reason = explain(error) if isinstance(error, ValidationError) else error
        raise InputError(f"artifact {path}: {reason}") from error


def predict(session: Session, x: Array) -> NDArray[np.float32]:
    """Logits of float samples: quantized, run and dequantized with the artifact's own scales.

    Parameters
    ----------
    session : Session
    x : ndarray
        float ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``, as the data gives them. An artifact
        takes a signal as a map that is 1 high, and a ``.tflite`` artifact takes channels last.

    Returns
    -------
    ndarray
        float32 ``(n, classes)``.

    Raises
    ------
    InputError
        If the samples' shape is not the artifact's, or they are not finite.
    """
    if x.ndim == 3 and len(session.input.shape) == 4:
        x = x[:, :, None]
    if session.artifact.format == "tflite" and x.ndim == 4:
        x = x.transpose(0, 2, 3, 1)
    if not np.isfinite(x).all():
        raise InputError("samples: they have values that are not finite: clean the data")
    info = session.input
    if info.scale is not None and info.zero_point is not None:
        kind = np.iinfo(info.dtype)
        x = np.rint(x.astype(np.float32) / np.float32(info.scale)) + info.zero_point
        x = np.clip(x, kind.min, kind.max)
    elif not info.dtype.startswith("float"):
        raise InputError(
            f"artifact {session.path}: its {info.dtype} input has no scale: export it with edgegrow"
        )
    y = session.run(x.astype(info.dtype))
    y = y.reshape(len(y), -1).astype(np.float32)
    if session.output.scale is None or session.output.zero_point is None:
        return y
    return (y - np.float32(session.output.zero_point)) * np.float32(session.output.scale)
