"""Set our C kernels against CMSIS-NN's: instructions, modelled cycles and memory, side by side.

    python scripts/bench_kernels.py MODEL.tflite ... [--core cortex-m4 ...]

Every model is built with both kernels by both compilers, with the same flags, and emulated on random inputs;
outputs must equal the simulator's. Operators that CMSIS-NN lacks run with our kernels in both. The goal is
0.7 of CMSIS-NN's cycles; exits 1 where a model takes more than CMSIS-NN.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from kernel_runs import SAMPLES, Build, read_graph, run
from results import table, write_results

from edgegrow.deploy.c_cmsis import CmsisKernels, find_kernels
from edgegrow.deploy.graph import Graph
from edgegrow.errors import InputError
from edgegrow.measure.mcu.cores import CORES, find_core
from edgegrow.measure.mcu.toolchain import find_compiler
from edgegrow.measure.mcu.work import REST, Work

COMPILERS = ("gcc", "zig")
OPTIMIZATIONS = ("-O2", "-O3")
GOAL, REQUIRED = 0.7, 1.0
SHOWN = ("gcc", "-O3")
"""The build whose operators are listed in the readable results; all are in the JSON file."""

REPORT = """\
# Our kernels and CMSIS-NN's

Command: `{command}`.
Both are compiled by the same compiler with the same flags; in each pair, ours comes first. Instructions,
flash, RAM: emulated, exact. Cycles: predicted by the cores' published timings, zero wait states. The outputs
of both equal the simulator's. {samples} random inputs, medians. {versions}.
RAM: variables, arena, input, output and stack. Ratio: ours to CMSIS-NN's cycles; goal {goal}, required
{required}. Zig gives the same code with -O2 and -O3.

{totals}

## Operators, {shown}

Operators that CMSIS-NN lacks run with our kernels in both.

{operators}
"""


def figures(work: Work) -> dict[str, float]:
    """Medians of instructions and, where the core has a model, cycles."""
    cycles = {} if work.cycles is None else {"cycles": statistics.median(work.cycles)}
    return {"instructions": statistics.median(work.instructions), **cycles}


def measure(graph: Graph, core: str, build: Build) -> dict[str, Any]:
    """Emulate a model, and say what it and its operators took."""
    emulation = run(graph, core, build)
    total = figures(emulation.total)
    macs = max(graph.macs, 1)
    operators = [
        {"operator": op.name, "kind": type(op).__name__, "macs": op.macs, **figures(work)}
        for op, work in zip(graph.operators, emulation.operators, strict=False)
        if work.name != REST
    ]
    return {
        "kernels": build.kernels,
        **total,
        **{f"{name}_per_mac": value / macs for name, value in total.items()},
        "flash_bytes": emulation.flash_bytes,
        "ram_bytes": emulation.ram_bytes,
        "arena_bytes": emulation.arena_bytes,
        "stack_bytes": emulation.stack_bytes,
        "compiler": emulation.identity.compiler,
        "operators": operators,
    }


def compare(models: Sequence[Path], cores: Sequence[str], library: CmsisKernels) -> Iterator[dict[str, Any]]:
    """Measure every model on every core with every build, both kernels beside each other."""
    for path, core in product(models, cores):
        graph = read_graph(path)
        for compiler, optimization in product(COMPILERS, OPTIMIZATIONS):
            ours, theirs = (
                measure(graph, core, Build(found, compiler, optimization)) for found in (None, library)
            )
            by = "cycles" if "cycles" in ours else "instructions"
            row = {
                "model": path.stem,
                "core": core,
                "compiler": compiler,
                "optimization": optimization,
                "macs": graph.macs,
                "ours": ours,
                "cmsis_nn": theirs,
                "ratio_of": by,
                "ratio": ours[by] / theirs[by],
            }
            print(path.stem, core, compiler, optimization, f"{row['ratio']:.3f}", file=sys.stderr)
            yield row


def total_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Write the table of whole models: ours, then CMSIS-NN's."""
    header = ["model", "core", "build", "instructions", "cycles", "cycles a MAC", "flash B", "RAM B", "ratio"]
    return table(header, [_total(row) for row in rows])


def _total(row: dict[str, Any]) -> list[str]:
    ours, theirs = row["ours"], row["cmsis_nn"]

    def both(name: str, form: str = ",.0f") -> str:
        return " / ".join(format(side[name], form) for side in (ours, theirs)) if name in ours else "no model"

    return [
        row["model"],
        row["core"],
        f"{row['compiler']} {row['optimization']}",
        both("instructions"),
        both("cycles"),
        both("cycles_per_mac", ".2f"),
        both("flash_bytes"),
        both("ram_bytes"),
        f"**{row['ratio']:.3f}**" + ("" if row["ratio_of"] == "cycles" else " of instructions"),
    ]


def operator_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Write the table of operators of the builds that are shown."""
    cells = []
    for row in rows:
        if (row["compiler"], row["optimization"]) != SHOWN:
            continue
        by = row["ratio_of"]
        for index, (ours, theirs) in enumerate(
            zip(row["ours"]["operators"], row["cmsis_nn"]["operators"], strict=True)
        ):
            macs = ours["macs"]
            cells.append(
                [
                    row["model"],
                    row["core"],
                    f"{index} {ours['kind']}",
                    f"{macs:,}",
                    f"{ours[by]:,.0f} / {theirs[by]:,.0f}",
                    f"{ours[by] / macs:.2f} / {theirs[by] / macs:.2f}" if macs else "",
                    f"{ours[by] / theirs[by]:.3f}",
                ]
            )
    return table(["model", "core", "operator", "MACs", "cycles", "cycles a MAC", "ratio"], cells)


def main() -> None:
    """Compare, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--core", action="append", help=f"one of {', '.join(CORES)}; may be repeated")
    arguments = parser.parse_args()
    try:
        library = find_kernels("cmsis-nn")
        assert library is not None, "cmsis-nn is a library"
        cores = [find_core(core).name for core in arguments.core or ["cortex-m4"]]
        compilers = [find_compiler(name).version for name in COMPILERS]
        rows = list(compare(arguments.models, cores, library))
    except InputError as error:
        parser.error(str(error))
    packages = [f"{name} {version(name)}" for name in ("edgegrow", "unicorn", "capstone")]
    versions = [library.name, *compilers, *packages]
    names = " ".join(f"{path.name}" for path in arguments.models)
    options = "".join(f" --core {core}" for core in arguments.core or ())
    lines = REPORT.format(
        command=f"python scripts/{Path(__file__).name} {names}{options}",
        samples=SAMPLES,
        versions=", ".join(versions),
        goal=GOAL,
        required=REQUIRED,
        totals="\n".join(total_lines(rows)),
        shown=" ".join(SHOWN),
        operators="\n".join(operator_lines(rows)),
    ).splitlines()
    write_results("kernels", {"versions": versions, "rows": rows}, lines)
    sys.exit(0 if all(row["ratio"] <= REQUIRED for row in rows) else 1)


if __name__ == "__main__":
    main()
