"""Test the founding claims of growing by splitting, one by one, and write down what came of each.

    python scripts/claims/run.py [--claims 1,4,5] [--epochs N] [--seeds 0,1,2]

Claims that are finished are kept as ``runs/claims/claim-N.json`` and not examined again, unless what they
depend on has changed; the whole trainings of claims 1 to 3 and 5 are kept under ``runs/claims/cells``. At the
end all finished claims are written to ``docs/results/claims.md``, ``claims.json`` and pictures beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the scripts' own folder, not this package's

from results import FOLDER  # noqa: E402

from claims.effort import Effort  # noqa: E402
from edgegrow.errors import EdgegrowError, InputError  # noqa: E402

MODULES = {
    1: "cheaper_than_pruning",
    2: "more_accurate_than_pruning",
    3: "cheaper_than_search",
    4: "eigenpair_costs",
    5: "cliff",
    6: "dynamic_graphs",
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--claims", type=_numbers, default=list(MODULES), help="comma-separated, 1 to 6")
    parser.add_argument("--epochs", type=float, default=Effort.epochs, help="of the small task's trainings")
    parser.add_argument("--seeds", type=_numbers, default=list(Effort.seeds), help="comma-separated numbers")
    parser.add_argument("--runs", type=Path, default=Effort.runs, help="where finished work is kept")
    parser.add_argument(
        "--results", type=Path, default=FOLDER, help="folder of claims.md, .json and pictures"
    )
    options = parser.parse_args(given)
    for number in options.claims:
        if number not in MODULES:
            raise InputError(f"claim {number}: unknown: choose from {', '.join(map(str, MODULES))}")
    if len(options.seeds) < 2:
        raise InputError("--seeds: one seed decides no claim about accuracy: give at least two")
    return options


def _numbers(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(number) for number in text.split(",") if number.strip()))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers") from error


def main() -> None:
    """Examine what is missing, then write all that is finished."""
    options = arguments()
    effort = Effort(epochs=options.epochs, seeds=tuple(options.seeds), runs=options.runs)
    from claims import kept, report  # PyTorch: not for --help
    from edgegrow.training import deterministic

    deterministic(threads=1)
    modules: dict[int, Any] = {n: import_module(f"claims.{name}") for n, name in MODULES.items()}
    for number in options.claims:
        record = kept.finished(number, modules[number], effort)
        print(f"claim {number}: finished, {record['seconds']:.0f} s of one core", file=sys.stderr, flush=True)
    records = {n: r for n, module in modules.items() if (r := kept.kept(n, module, effort)) is not None}
    command = f"python scripts/claims/run.py {' '.join(sys.argv[1:])}".strip()
    report.write(modules, records, command, options.results)


if __name__ == "__main__":
    try:
        main()
    except EdgegrowError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
