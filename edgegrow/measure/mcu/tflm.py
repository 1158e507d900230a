"""What TensorFlow Lite for Microcontrollers (TFLM) would take of a device's RAM for a model.

The runtime from PyPI is built for 64 bits. Its head, the activations and kernels' scratch, has no pointers
and is the same on a device. Its tail, structures that live as long as the interpreter, shrinks on 32 bits:
what is counted of that here is sure, so that the total is an upper bound.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.measure.mcu import allocations
from edgegrow.measure.protocol import Identity, Measurement

METHOD = (
    "head + 64-bit tail - 12 B a tensor - 32 B an operator - 72 B, of tflite-micro's recorded allocations"
)
"""How the total of a 32-bit device is bounded from above."""

_TENSOR_BYTES = 12  # by which an evaluation tensor is smaller with 32-bit pointers
_OPERATOR_BYTES = 32  # and a node with its registration
_OTHER_BYTES = 72  # and what there is once
_SECONDS = 60

_PRINTED = {
    "head": r"Arena allocation head (\d+) bytes",
    "tail": r"Arena allocation tail (\d+) bytes",
    "tensors": r"'TfLiteEvalTensor data' used .* for (\d+) allocations",
    "operators": r"'NodeAndRegistration struct' used .* for (\d+) NodeAndRegistration",
}


@dataclass(frozen=True)
class TflmArena:
    """An arena of TFLM on a 32-bit device.

    Attributes
    ----------
    head_bytes : int
        Activations and kernels' scratch; exact, for the reference kernels.
    total_bytes : int
        Head and tail; an upper bound.
    method : str
        How the total was obtained.
    version : str
        Of tflite-micro.
    """

    head_bytes: int
    total_bytes: int
    method: str
    version: str

    def measurement(self) -> Measurement:
        """Report the total as a profile's ``tflm_arena``."""
        return Measurement(
            metric="tflm_arena",
            value=self.total_bytes,
            unit="bytes",
            evidence="predicted",
            identity=Identity(runtime="tflite-micro", version=self.version, kernels="reference"),
            method=f"{self.method}; of these {self.head_bytes} B are the head",
        )


def tflm_arena(path: str | Path) -> TflmArena:
    """Ask tflite-micro what it allocates for a model.

    Parameters
    ----------
    path : str or Path
        A ``.tflite`` file.

    Raises
    ------
    InputError
        If the file cannot be read, tflite-micro is not installed, or it cannot run the model.
    """
    try:
        model = read_regular(path)
    except OSError as error:
        raise InputError(f"model {path}: cannot read it: {error.strerror}") from error
    if importlib.util.find_spec("tflite_micro") is None:
        raise InputError("tflite-micro is not installed: pip install 'edgegrow[mcu]'")
    printed = _allocations(path, model)
    found = {name: re.search(pattern, printed) for name, pattern in _PRINTED.items()}
    numbers = {name: int(match[1]) for name, match in found.items() if match}
    if len(numbers) < len(_PRINTED):
        raise InputError(
            f"model {path}: tflite-micro cannot allocate it: it is damaged or uses other operators"
        )
    smaller = _TENSOR_BYTES * numbers["tensors"] + _OPERATOR_BYTES * numbers["operators"] + _OTHER_BYTES
    total = numbers["head"] + numbers["tail"] - smaller
    return TflmArena(numbers["head"], total, METHOD, version("tflite-micro"))


def _allocations(path: str | Path, model: bytes) -> str:
    try:
        done = subprocess.run(
            (sys.executable, "-P", allocations.__file__),
            input=model,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"model {path}: tflite-micro took longer than {_SECONDS} s: it is damaged"
        ) from error
    # After a failure it prints figures too, of an interpreter that is not whole.
    return done.stderr.decode(errors="replace") if done.returncode == 0 else ""
