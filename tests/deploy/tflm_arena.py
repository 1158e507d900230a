"""What TFLM itself says of its arena."""

import os
import re
import tempfile

from tflite_micro import runtime


def head(model: bytes) -> int:
    """Bytes of TFLM's non-persistent arena, which it only prints to standard error."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            recording = runtime.InterpreterConfig.kAllocationRecording
            interpreter = runtime.Interpreter.from_bytes(model, intrepreter_config=recording)
            interpreter.print_allocations()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        printed = file.read().decode()
    found = re.search(r"Arena allocation head (\d+) bytes", printed)
    assert found, printed
    return int(found[1])
