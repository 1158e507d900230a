"""The program that lets tflite-micro say what it allocates for a model, in a process of its own.

A damaged model can crash the runtime; here it takes only this process with it. The model comes on stdin, the
runtime prints to stderr. It needs nothing of edgegrow: tflite-micro suffices.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Open the model, and have its allocations printed."""
    from tflite_micro import runtime

    recording = runtime.InterpreterConfig.kAllocationRecording
    # The keyword is misspelt there.
    interpreter = runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), intrepreter_config=recording)
    interpreter.print_allocations()


if __name__ == "__main__":
    main()
