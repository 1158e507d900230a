"""Outputs of an ``.onnx`` file by the onnx package's own evaluator, which shares nothing with the runtimes.

https://onnx.ai/onnx/api/reference.html: written to be read, in numpy, and slow. A file from elsewhere can ask
for any time and memory, so it runs in a process of its own, within bounds.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.measure import onnx_evaluator
from edgegrow.measure.device import DeviceError, LocalDevice, last_line

REFERENCE = "those of onnx's reference evaluator"
"""How a comparison names them."""

SECONDS = 60.0
"""Time that the evaluator may take: 10 million multiply-accumulates take it about one."""

_MAX_OUTPUT_BYTES = 64 << 20


def reference_outputs(content: bytes, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Evaluate a quantized ``.onnx`` file with random inputs.

    Parameters
    ----------
    content : bytes
        The file's.
    n : int
        Inputs.

    Returns
    -------
    inputs, outputs : ndarray
        int8 or uint8 ``(n, ...)``.

    Raises
    ------
    InputError
        If the evaluator cannot run it, or takes too long; the words say why.
    """
    device = LocalDevice((sys.executable, "-P"), "onnx's reference evaluator")
    try:
        with device.folder() as folder:
            device.put(content, f"{folder}/model.onnx")
            command = (*device.python, onnx_evaluator.__file__, folder, str(n))
            finished = device.run(command, timeout_s=SECONDS)
            if finished.exit_code:
                why = last_line(finished.stderr) or f"exit code {finished.exit_code}"
                raise InputError(f"{device.name} cannot run it: {why}")
            inputs, outputs = (_load(Path(folder) / name) for name in onnx_evaluator.RESULTS)
    except (DeviceError, OSError, ValueError) as error:
        raise InputError(str(error)) from error
    return inputs, outputs


def _load(path: Path) -> NDArray[Any]:
    if path.stat().st_size > _MAX_OUTPUT_BYTES:
        raise InputError("its input or output is too large")
    return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
