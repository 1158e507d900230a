"""Ladders and goals against their alternatives: one training a rung, and a search over widths from scratch.

    python scripts/goal_and_ladder.py [--tasks NAME,...] [--seeds 0,1,2] [--epochs N] [--goals TASK=90,...]

A ladder of five rungs competes with uniform networks that are trained from scratch for all epochs, one for
every rung; growing to a goal with a bisection over uniform widths, each trained from scratch. Two cells run
at a time, each in a process of its own; a finished cell is ``runs/goal-and-ladder/TASK/KIND/seed-N.json``
and is not made again; a growth that was interrupted goes on. At the end all that is finished of these tasks
and kinds, of whichever seeds, is written to ``docs/results/goal-and-ladder.md``, and ``.json`` for machines.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from goals.cells import AIMS, DEFAULT, KINDS, Cell
from goals.report import claims, markdown
from growth.arguments import check_known, check_seeds, names
from growth.claims import POINTS
from growth.runner import run_cells
from results import FOLDER, write_results

from edgegrow.budget import Goal
from edgegrow.errors import EdgegrowError, InputError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=names, default=list(DEFAULT), help=f"of {', '.join(AIMS)}")
    parser.add_argument("--kinds", type=names, default=list(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seeds", type=names, default=["0", "1", "2"], help="comma-separated numbers")
    parser.add_argument("--epochs", type=float, help="of every whole training; by default edgegrow's own")
    parser.add_argument("--goals", type=names, default=[], help="TASK=PERCENT,... instead of the defaults")
    parser.add_argument("--runs", type=Path, default=Path("runs/goal-and-ladder"), help="where the cells are")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--cell", action="store_true", help=argparse.SUPPRESS)  # make one cell, here
    options = parser.parse_args()
    check_known("task", options.tasks, AIMS)
    check_known("kind", options.kinds, KINDS)
    check_seeds(options.seeds)
    return options


def _goals(given: Sequence[str]) -> dict[str, float]:
    goals = {name: aims.goal for name, aims in AIMS.items()}
    for item in given:
        name, _, percent = item.partition("=")
        try:
            goals[name] = POINTS * Goal.parse(f"accuracy={percent.removesuffix('%')}%").accuracy
        except InputError as error:
            raise InputError(f"--goals {item}: write TASK=PERCENT, e.g. {DEFAULT[0]}=90") from error
    return goals


def main() -> None:
    """Run what is missing, then write the results."""
    options = _arguments()
    goals = _goals(options.goals)
    cells = [
        Cell(task, kind, int(seed), options.epochs, goals[task], options.runs)
        for task in options.tasks
        for seed in options.seeds
        for kind in options.kinds
    ]
    if options.cell:
        cells[0].run()
        return

    def command(cell: Cell) -> list[str]:
        epochs = [] if options.epochs is None else ["--epochs", str(options.epochs)]
        return [__file__, "--cell", "--tasks", cell.task_name, "--kinds", cell.kind,
                "--seeds", str(cell.seed), "--goals", f"{cell.task_name}={cell.goal:g}",
                "--runs", str(options.runs), *epochs]  # fmt: skip

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failures = run_cells(cells, command, _say)
    results: dict[str, dict[str, dict[int, Any]]] = {}
    for cell in {(cell.task_name, cell.kind): cell for cell in cells}.values():
        for one in cell.of_all_seeds():
            if (found := one.result()) is not None:
                results.setdefault(one.task_name, {}).setdefault(one.kind, {})[one.seed] = found
    if not results:
        raise InputError(f"{options.runs}: no cell is finished: nothing to write")
    line = f"python scripts/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
    contents = {
        "claims": [asdict(claim) for claim in claims(results)],
        "cells": {
            task: {kind: list(cells.values()) for kind, cells in kinds.items()}
            for task, kinds in results.items()
        },
        "not_run": [asdict(failure) for failure in failures],
    }
    write_results("goal-and-ladder", contents, markdown(results, failures, line), options.results)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except EdgegrowError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
