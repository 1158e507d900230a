"""tflite-micro, the reference runtime, on many samples."""

from __future__ import annotations

import numpy as np
from tflite_micro import runtime


def micro(model: bytes, q: np.ndarray) -> np.ndarray:
    """Run tflite-micro on int8 samples ``(n, ...)``, one at a time: outputs int8 ``(n, outputs)``."""
    interpreter = runtime.Interpreter.from_bytes(model)
    outputs = []
    for sample in q:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).reshape(-1).copy())
    return np.array(outputs)
