"""What a run was made with: the versions that its results may depend on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgegrow import __version__

_VERSIONED = ("torch", "numpy", "onnx", "onnxruntime", "ai-edge-litert", "tflite", "safetensors")


def versions() -> dict[str, str]:
    """Return ``{package: version}`` of edgegrow, Python and what computes; in a checkout the commit too."""
    found = {"edgegrow": __version__, "python": platform.python_version()}
    if (commit := _commit()) is not None:
        found["edgegrow_commit"] = commit
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Git's name for the state of edgegrow, ``-dirty`` where it is changed; ``None`` outside a checkout."""
    source = Path(__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
