"""Runs that crash again and again, at any write, and what is left of them."""

import hashlib
import json

import pytest

from edgegrow import run as run_module


class Crash(BaseException):
    """As a kill is: nothing may catch it."""


def until_finished(begin, resume, monkeypatch, first=6):
    """Crash before some write of the run folder, go on, crash a little later, until it ends by itself.

    Returns what `resume` gave, and how many crashes there were.
    """
    write, record = run_module.write_atomic, run_module.RunFolder.record
    left = 0

    def spend():
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    def write_atomic(path, content):
        spend()
        write(path, content)

    def recorded(self, event, values):
        spend()
        record(self, event, values)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "write_atomic", write_atomic)
        patched.setattr(run_module.RunFolder, "record", recorded)
        for crashes in range(200):
            left = first + crashes
            try:
                return (begin if crashes == 0 else resume)(), crashes
            except Crash:
                continue
    pytest.fail("it never ends")


def fingerprint(folder):
    """Everything of a run folder that has to repeat: artifacts, and events without clock readings."""
    clocks = ("seconds", "scoring_seconds")
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.suffix in (".tflite", ".onnx"):
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        elif file.name == "history.jsonl":
            events = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [{k: v for k, v in event.items() if k not in clocks} for event in events]
    return found
