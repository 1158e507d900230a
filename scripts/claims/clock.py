"""CPU time of pieces of work, taken in turns so that the machine's noise meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median


def cpu_ms(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU time of each piece of work in ms, after one run that does not count.

    CPU time, not wall time: other processes on the same cores stretch the latter many times over. With one
    thread the two are equal on an idle machine.
    """
    for piece in work.values():
        piece()
    samples: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, piece in work.items():
            started = time.process_time()
            piece()
            samples[name].append(1e3 * (time.process_time() - started))
    return {name: median(values) for name, values in samples.items()}
