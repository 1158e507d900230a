"""Requests in, answers out."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .bounds import OPEN_BYTES
from .holder import Holder
from .machine import pin
from .marked import mark
from .request import KEYS
from .runtimes import RUNTIMES
from .tensors import Unusable
from .timed import measure
from .turns import apart, take_turns
from .windows import repeat

MAX_OUTPUT_BYTES = 1 << 20
"""Outputs that are part of the answer; of larger ones it has the digest alone."""


def fulfil(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer one request about files in a folder."""
    if request["affinity"] is not None:
        pin(request["affinity"])
    holder = Holder()
    content = (folder / request["artifact"]).read_bytes()
    least = {name: request[name] for name in ("min_iterations", "min_seconds")}
    if request["sizes"] is not None:
        how = {name: request[name] for name in ("format", "threads", "rounds", "max_samples")}
        return {"schema": 1, **take_turns(holder, apart(content, request["sizes"]), **how, **least)}
    settle = {"settle_seconds": request["settle_seconds"]}
    opened = holder.open(content, request["format"], request["threads"])
    if request["inputs"] is None:
        x = holder.random_sample()
    else:
        x = np.load(folder / request["inputs"], allow_pickle=False)
        if (x.dtype.name, [1, *x.shape[1:]]) != (opened["input"]["dtype"], opened["input"]["shape"]):
            raise Unusable(f"its input is {opened['input']['dtype']} {opened['input']['shape']} here")
    outputs = holder.run(x)
    if request["marks"]:
        measured = mark(holder, x[:1], request["iterations"])
    elif request["windows"]:
        pauses = {name: request[name] for name in ("windows", "pause_seconds")}
        measured = repeat(holder, x[:1], **pauses, **least, **settle)
    else:
        measured = measure(holder, x[:1], max_samples=request["max_samples"], **least, **settle)
    return {
        "schema": 1,
        **opened,
        **measured,
        "outputs_sha256": hashlib.sha256(outputs).hexdigest(),
        "outputs": base64.b64encode(outputs).decode() if len(outputs) < MAX_OUTPUT_BYTES else None,
    }


def answer(holder: Holder, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Answer one request of several, with a payload of its own."""
    if request["do"] == "open":
        return holder.open(payload, request["format"], request["threads"]), b""
    details = holder.opened().input
    x = np.frombuffer(payload, details["dtype"]).reshape(request["n"], *details["shape"])
    return {"n": request["n"]}, holder.run(x)


JOINED = re.compile(
    r"(?<=[\w)])\.?(?=(Node number \d|Tensor \d|[Ff]ailed to |unsupported |Encountered |tflite/\w+/))"
)
"""Where LiteRT has put its next message right behind the last one: it keeps no separator."""


def refusal(error: Exception, format: str) -> dict[str, Any]:
    """Say in one line why a request is not answered; which runtime is missing, where it is that."""
    text = JOINED.sub("; ", " ".join(str(error).split()))[:200] or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"it asks for more than {OPEN_BYTES // 2**30} GiB of memory"
    if isinstance(error, ImportError):
        return {"error": text, "missing": RUNTIMES[format][0]}
    return {"error": text}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    holder = Holder()
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        content = requests.read(request.get("bytes", 0))
        try:
            found, payload = answer(holder, request, content)
        except Exception as error:  # a runtime refuses an artifact with exceptions of any class
            found, payload = refusal(error, request.get("format", "tflite")), b""
        answers.write(json.dumps({**found, "bytes": len(payload)}).encode() + b"\n" + payload)
        answers.flush()


def main() -> int:
    """Answer the request that is named, or those on stdin; what the runtimes themselves print is stderr's."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        if len(sys.argv) < 2:
            serve(sys.stdin.buffer, answers)
            return 0
        path = Path(sys.argv[1])
        request = {**KEYS, **json.loads(path.read_text(encoding="utf-8"))}
        try:
            found = fulfil(request, path.parent)
        except Exception as error:  # as in serve
            found = refusal(error, request["format"])
        answers.write(json.dumps(found).encode() + b"\n")
        return 3 if "error" in found else 0
