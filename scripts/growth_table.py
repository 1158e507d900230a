"""Compare growing with training from scratch and with pruning: tasks x arms x seeds, one process a cell.

    python scripts/growth_table.py [--tasks NAME,...] [--arms NAME,...] [--seeds 0,1,2] [--epochs N] [--list]

Two cells run at a time. A finished cell is ``runs/growth-table/TASK/ARM/seed-N.json`` and is not made again;
a growth that was interrupted goes on. Cells that others need (the default's training decides that of the
controls from scratch) are added. At the end all that is finished is written to ``docs/results/growth.md``,
and ``.json`` for machines; cells that this file has from before need not be made again elsewhere.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from growth.arguments import check_known, check_seeds, names
from growth.tasks import ARMS, SMOKE, TASKS
from results import FOLDER, write_results

from edgegrow.errors import EdgegrowError, InputError

KNOWN = TASKS | SMOKE


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=names, default=list(TASKS), help="comma-separated; see --list")
    parser.add_argument("--arms", type=names, default=list(ARMS), help="comma-separated; see --list")
    parser.add_argument("--seeds", type=names, default=["0", "1", "2"], help="comma-separated numbers")
    parser.add_argument("--epochs", type=float, help="of every whole training; by default edgegrow's own")
    parser.add_argument(
        "--keywords", type=Path, default=Path("runs/keywords.npz"), help="made by keywords.py"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/growth-table"), help="where the cells are")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of growth.md and growth.json")
    parser.add_argument("--list", action="store_true", help="show tasks, arms and what is finished")
    parser.add_argument("--cell", action="store_true", help=argparse.SUPPRESS)  # make one cell, here
    options = parser.parse_args(given)
    check_known("task", options.tasks, KNOWN)
    check_known("arm", options.arms, ARMS)
    check_seeds(options.seeds)
    return options


def main() -> None:
    """Run what is missing, then write the results."""
    options = arguments()
    from growth.cells import Cell, run_cell  # PyTorch: not for --help
    from growth.claims import Results
    from growth.report import contents, markdown
    from growth.restoring import restore
    from growth.runner import Failure, run_cells, with_needs

    def cell(task: str, arm: str, seed: str | int) -> Cell:
        return Cell(task, KNOWN[task], arm, int(seed), options.epochs, options.keywords, options.runs)

    chosen = [cell(*key) for key in
              ((t, a, s) for t in options.tasks for s in options.seeds for a in options.arms)]  # fmt: skip
    if options.cell:
        run_cell(chosen[0])
        return
    restored = restore(options.results / "growth.json", options.runs, lambda t, a: t in KNOWN and a in ARMS)
    if restored:
        _say(f"{restored} cells are published: they count as finished")
    failures, possible = [], []
    for one in chosen:
        try:
            one.config  # noqa: B018 - an arm whose setting does not exist yet says so, once
            possible.append(one)
        except InputError as error:
            failure = Failure(f"arm {one.arm_name}", str(error))
            if failure not in failures:
                failures.append(failure)
                _say(f"{failure.what}: left out: {failure.reason}")
    cells = with_needs(possible)
    if options.list:
        for one in cells:
            print(f"{one.label}: {'finished' if one.result() else 'not finished'}")
        return

    def command(one: Cell) -> list[str]:
        epochs = [] if options.epochs is None else ["--epochs", str(options.epochs)]
        return [__file__, "--cell", "--tasks", one.task_name, "--arms", one.arm_name,
                "--seeds", str(one.seed), "--keywords", str(options.keywords),
                "--runs", str(options.runs), *epochs]  # fmt: skip

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failures += run_cells(cells, command, _say)
    results: dict[str, dict[str, dict[int, dict]]] = {}
    for task in [name for name in KNOWN if name in TASKS or name in options.tasks]:
        for arm in ARMS:
            for file in sorted((options.runs / task / arm).glob("seed-*.json")):
                found = _finished(cell(task, arm, file.stem.removeprefix("seed-")))
                if found is not None:
                    results.setdefault(task, {}).setdefault(arm, {})[found["seed"]] = found
    if not results:
        raise InputError(f"{options.runs}: no cell is finished: nothing to write")
    checked: Results = results
    line = f"python scripts/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
    write_results("growth", contents(checked, failures), markdown(checked, failures, line), options.results)


def _finished(cell) -> dict | None:
    """Read a cell for the table, with its growth steps; one made with other settings is left out."""
    from growth.restoring import told

    from edgegrow.run import RunFolder

    try:
        found = cell.result()
        if found is not None and cell.arm.kind == "grow" and cell.folder.exists():
            found["growth"] = told(list(RunFolder(cell.folder).history("growth")))
        return found
    except InputError as error:
        _say(f"{cell.label}: left out: {error}")
        return None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except EdgegrowError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
