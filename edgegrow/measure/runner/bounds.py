"""Bounds on what opening an artifact may take, and what it takes."""

from __future__ import annotations

import signal
from pathlib import Path

OPEN_BYTES = 2**31
"""Memory that opening an artifact may take beyond eight times its size; damaged ones ask for any amount."""

OPEN_SECONDS = 60
"""Time that opening an artifact and running it once may take."""


def status_bytes(field: str) -> int | None:
    """Bytes of a field of Linux's ``/proc/self/status``, e.g. ``VmRSS``; None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
    except (OSError, StopIteration):
        return None


def reset_peak() -> int | None:
    """Start a new peak of resident memory; returns where it starts, in bytes, or None where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return status_bytes("VmHWM")


class Bounds:
    """Bounds on time and address space, while an artifact is opened."""

    def __init__(self, extra_bytes: int) -> None:
        self.extra = extra_bytes

    def __enter__(self) -> None:
        if hasattr(signal, "alarm"):
            signal.alarm(OPEN_SECONDS)
        size = status_bytes("VmSize")
        if size is not None:
            import resource

            self._before = resource.getrlimit(resource.RLIMIT_AS)
            limit = size + self.extra
            hard = self._before[1]
            resource.setrlimit(
                resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
            )

    def __exit__(self, *exception: object) -> None:
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        if hasattr(self, "_before"):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, self._before)
