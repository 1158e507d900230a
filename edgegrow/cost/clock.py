"""The host as a clock of networks: artifacts written and timed in turn with one that is always the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgegrow.deploy.graph import Graph
from edgegrow.deploy.tflite import write_tflite
from edgegrow.measure.process import Worker
from edgegrow.measure.protocol import Identity
from edgegrow.measure.windows import time_in_turn

Windows = tuple[tuple[float, ...], float]
"""Windows of an artifact in ns, and the median of the reference's windows in the same run."""


class HostClock:
    """Times graphs as ``.tflite`` files on this machine, in a process of their own.

    Parameters
    ----------
    reference : Graph
        What every run times too: its time tells how fast the machine is just then.
    threads : int
        Threads the runtime may use.
    """

    def __init__(self, reference: Graph, threads: int) -> None:
        self.threads = threads
        self._worker = Worker()
        self._kept = tempfile.TemporaryDirectory(prefix="edgegrow-")
        self._reference = Path(self._kept.name) / "reference.tflite"
        write_tflite(reference, self._reference)

    def identity(self) -> Identity:
        """Tell what figures depend on now."""
        identity, _ = time_in_turn(
            [self._reference], threads=self.threads, rounds=1, seconds=0.0, worker=self._worker
        )
        return identity

    def time(
        self,
        graphs: Sequence[Graph],
        rounds: int,
        seconds: float,
        done: Callable[[int], None] | None = None,
    ) -> list[Windows]:
        """Time graphs in turn with the reference.

        Parameters
        ----------
        graphs : sequence of Graph
        rounds, seconds : int, float
            Windows of each, and the length of one in s.
        done : callable, optional
            Called with the number of windows that are done, the reference's too.
        """
        with tempfile.TemporaryDirectory(prefix="edgegrow-") as folder:
            paths = [self._reference]
            for number, graph in enumerate(graphs):
                paths.append(Path(folder) / f"{number}.tflite")
                write_tflite(graph, paths[-1])
            _, windows_ns = time_in_turn(
                paths, threads=self.threads, rounds=rounds, seconds=seconds, worker=self._worker, done=done
            )
        reference_ns = float(np.median(windows_ns[0]))
        return [(tuple(row.tolist()), reference_ns) for row in windows_ns[1:]]

    def close(self) -> None:
        """End the process, and remove the reference."""
        self._worker.close()
        self._kept.cleanup()
