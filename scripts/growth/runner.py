"""Runs cells, each in a process of its own, two at a time, those that others need first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from growth.cells import Cell

PROCESSES = 2

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Failure:
    """A cell that did not finish, or an arm that cannot run, and why in one line."""

    what: str
    reason: str


def with_needs(cells: Sequence[Cell]) -> list[Cell]:
    """Add the cells that others need, each before those."""
    found: dict[str, Cell] = {}
    for cell in cells:
        for needed in (*(cell.of(name) for name in cell.arm.needs), cell):
            found.setdefault(needed.label, needed)
    return list(found.values())


def run_cells(
    cells: Sequence[Cell], command: Callable[[Cell], Sequence[str]], say: Callable[[str], None]
) -> list[Failure]:
    """Run the cells that are not finished.

    Parameters
    ----------
    cells : sequence of Cell
        As of `with_needs`.
    command : callable
        Arguments of the Python that makes a cell.
    say : callable
        Is told what starts and ends.

    Returns
    -------
    list of Failure
        Those that did not finish, or could not start since another did not.
    """
    waiting = [cell for cell in cells if cell.result() is None]
    ahead = {cell.label for cell in waiting}
    failures: dict[str, Failure] = {}
    running: dict[Future[str], Cell] = {}
    started: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(PROCESSES) as pool:
        try:
            while waiting or running:
                for cell in list(waiting):
                    needs = [cell.of(name).label for name in cell.arm.needs]
                    lost = next((failures[need] for need in needs if need in failures), None)
                    if lost is not None:
                        waiting.remove(cell)
                        failures[cell.label] = Failure(cell.label, f"{lost.what} did not finish")
                    elif len(running) < PROCESSES and not ahead.intersection(needs):
                        waiting.remove(cell)
                        say(f"{cell.label}: started")
                        running[pool.submit(_run, command(cell), started)] = cell
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    cell = running.pop(future)
                    ahead.discard(cell.label)
                    if problem := future.result():
                        failures[cell.label] = Failure(cell.label, problem)
                    say(f"{cell.label}: {problem or 'finished'}")
        except BaseException:
            for process in started:
                process.terminate()
            raise
    return list(failures.values())


def _run(arguments: Sequence[str], started: list[subprocess.Popen[str]]) -> str:
    """Run one process; return why it failed, or nothing."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stderr=subprocess.PIPE, text=True, env={**os.environ, **_ONE_THREAD}
    )
    started.append(process)
    _, errors = process.communicate()
    if process.returncode == 0:
        return ""
    last = (errors.strip().splitlines() or [f"ended with {process.returncode}"])[-1]
    return last.removeprefix("error: ")
