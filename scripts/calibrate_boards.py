"""Calibrate boards: from modelled cycles to the time that others have published, and their power.

    python scripts/calibrate_boards.py PUBLISHED.json --models DIR

PUBLISHED.json has MLPerf Tiny's results, DIR the reference models that it names. Latencies of CMSIS-NN under
microTVM are set against the cycles that the emulator predicts for the same kernels: one factor a board, the
geometric mean of both networks' factors. Each network is also predicted with the other one's factor alone:
that is the error to expect. A board's power is the published energy divided by the time of the energy run.
Exits 1 where an error is above 12 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from kernel_runs import Build, read_graph, run
from published import NETWORKS, Row, read_rows
from results import table, write_results

from edgegrow.deploy.c_cmsis import find_kernels
from edgegrow.errors import InputError
from edgegrow.measure.mcu.toolchain import find_compiler

MOST_ERROR = 0.12
FITTED = Build(find_kernels("cmsis-nn"), "gcc", "-O3")
"""What the factors are fitted on: microTVM compiles CMSIS-NN with gcc."""

SHOWN = (FITTED, Build(FITTED.library, "zig", "-O3"))
OURS = (Build(None, "gcc", "-O3"), Build(None, "zig", "-O2"))

REPORT = """\
# From modelled cycles to a board's time and energy

Command: `{command}`, with MLPerf Tiny's closed results, v0.5 to v1.2,
and the reference models of keyword spotting (kws) and anomaly detection (ad). Compilers: {compilers}.
Cycles: predicted by the emulator, zero wait states. Latencies and energies: published.

## Latency

A factor is the published time, times the clock, divided by the modelled cycles of the same kernels.
`cycle_scale` is the geometric mean of both networks' factors. "ad from kws" is the error of ad predicted with
the factor of kws alone: the error to expect of a network that nothing was fitted on. Largest: {largest};
allowed: {allowed}. In bold what is used. It is fitted on gcc's code, as microTVM compiles with gcc; with
zig's code the errors are larger, since no board ran that.

{calibration}

Krai's figures of the NUCLEO-L4R5ZI equal OctoML's to the last digit, and cTuning says that it repeats that
submission: these rows are hardly three independent measurements. The rows do not say which release of
CMSIS-NN and which gcc they used; ours need not be theirs.

## Beside other kernels

Nothing is fitted on these rows. Ours are predicted with the factor above, which was fitted on other code:
flash wait states may weigh differently on it.

{context}

## Power while inferring

Published energy divided by the time of the energy run; only rows that state their supply. Sources disagree:
the supply (L4R5 at 1.8 V and at 3.0 V), the flash's banks and the code decide. The mean is geometric, over
rows.

{power}
"""


@dataclass(frozen=True)
class Calibrated:
    """A board that CMSIS-NN's latencies are published of: its core, and its clock with the source."""

    core: str
    clock_hz: float
    clock_source: str


BOARDS = {
    "nrf5340dk": Calibrated("cortex-m33", 128e6, "MLPerf Tiny v1.1, Krai, NRF5340-DK_MICROTVM-CMSIS-NN"),
    "nucleo-l4r5zi": Calibrated(
        "cortex-m4", 120e6, "MLPerf Tiny v1.1, Krai, NUCLEO-L4R5ZI_MICROTVM-CMSIS-NN"
    ),
}


def calibrate(name: str, rows: Sequence[Row], cycles: dict[str, int]) -> dict[str, Any]:
    """Fit a board's factor, and predict each network with that of the other one."""
    used = [row for row in rows if row.board == name and row.cmsis]
    clock = BOARDS[name].clock_hz
    measured = {
        net: statistics.median(r.latency_ms[net] for r in used if net in r.latency_ms) for net in NETWORKS
    }
    factors = {net: measured[net] * 1e-3 * clock / cycles[net] for net in NETWORKS}
    kws, ad = (factors[net] for net in NETWORKS)
    return {
        "published_ms": measured,
        "sources": [row.source for row in used],
        "cycles": cycles,
        "factors": factors,
        "cycle_scale": (kws * ad) ** 0.5,
        "leave_one_out_error": {"ad_from_kws": kws / ad - 1, "kws_from_ad": ad / kws - 1},
    }


def powers(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Active power of every row that states its voltage and measured energy."""
    for row in rows:
        nets = [net for net in NETWORKS if net in row.energy_uj and net in row.energy_ms]
        if row.voltage_v is None or row.clock_mhz is None or not nets:
            continue
        active = {net: row.energy_uj[net] / row.energy_ms[net] * 1e-3 for net in nets}
        mean = prod(active.values()) ** (1 / len(active))
        yield {
            "board": row.board,
            "voltage_v": row.voltage_v,
            "clock_hz": row.clock_mhz * 1e6,
            "source": row.source,
            "notes": row.notes,
            "active_w": active,
            "mean_w": mean,
            "spread": max(active.values()) / min(active.values()) - 1,
            "pj_per_cycle": mean / row.clock_mhz * 1e6,
        }


def grouped(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric mean over rows of one board, voltage and clock, and how far the sources are apart."""
    groups: dict[tuple[str, float, float], list[float]] = {}
    for power in found:
        groups.setdefault((power["board"], power["voltage_v"], power["clock_hz"]), []).append(power["mean_w"])
    return [
        {
            "board": board,
            "voltage_v": voltage,
            "clock_hz": clock,
            "active_w": prod(means) ** (1 / len(means)),
            "lowest_w": min(means),
            "highest_w": max(means),
            "rows": len(means),
        }
        for (board, voltage, clock), means in sorted(groups.items())
    ]


def modelled_cycles(models: Path, builds: Sequence[Build]) -> dict[str, dict[str, dict[str, int]]]:
    """Predicted cycles of the networks: by core, by kernels and compiler, by network."""
    graphs = {
        "kws": read_graph(models / "kws_ref_model.tflite"),
        "ad": read_graph(models / "ad01_int8.tflite"),
    }
    cycles: dict[str, dict[str, dict[str, int]]] = {}
    for core in sorted({board.core for board in BOARDS.values()}):
        for build in builds:
            found = cycles.setdefault(core, {}).setdefault(label(build), {})
            for net, graph in graphs.items():
                total = run(graph, core, build).total.cycles
                assert total is not None, f"{core} has a cycle model"
                found[net] = round(statistics.median(total))
                print(core, label(build), net, found[net], file=sys.stderr)
    return cycles


def label(build: Build) -> str:
    """Name a build."""
    return f"{build.kernels}, {build.compiler} {build.optimization}"


def percent(value: float) -> str:
    """Write a signed share."""
    return f"{100 * value:+.1f} %"


def calibration_lines(boards: dict[str, Any]) -> list[str]:
    """Write tables of the factors and errors, and what they stand on."""
    header = ["board", "core, clock", "cycles of", "factor kws", "factor ad", "**cycle_scale**",
              "ad from kws", "kws from ad"]  # fmt: skip
    cells = []
    for name, fits in boards.items():
        board = BOARDS[name]
        for build, fit in fits["fits"].items():
            error = fit["leave_one_out_error"]
            scale = f"{fit['cycle_scale']:.3f}"
            cells.append(
                [
                    name,
                    f"{board.core}, {board.clock_hz / 1e6:.0f} MHz",
                    build,
                    *(f"{fit['factors'][net]:.3f}" for net in NETWORKS),
                    f"**{scale}**" if build == label(FITTED) else scale,
                    percent(error["ad_from_kws"]),
                    percent(error["kws_from_ad"]),
                ]
            )
    sources = []
    for name, fits in boards.items():
        fit = fits["fits"][label(FITTED)]
        times = ", ".join(f"{net} {fit['published_ms'][net]:g} ms" for net in NETWORKS)
        sources.append(
            f"- {name}: {times}: medians of {'; '.join(fit['sources'])}. Clock: {fits['clock_source']}."
        )
    return [*table(header, cells), "", "Published latencies:", "", *sources]


def context_lines(rows: Sequence[Row], boards: dict[str, Any]) -> list[str]:
    """Set published latencies of other kernels beside our prediction."""
    cells = []
    for name, fits in boards.items():
        found = [("predicted", f"**{build}**", times, "") for build, times in fits["edgegrow_ms"].items()]
        found += [
            ("published", "microTVM, CMSIS-NN" if row.cmsis else row.framework, row.latency_ms, row.source)
            for row in rows
            if row.board == name and row.latency_ms
        ]
        for evidence, kernels, times, source in sorted(found, key=lambda f: f[2].get("kws", float("inf"))):
            shown = [f"{times[net]:.2f}" if net in times else "" for net in NETWORKS]
            cells.append([name, evidence, kernels, *shown, source])
    return table(["board", "evidence", "kernels", "kws ms", "ad ms", "source"], cells)


def power_lines(found: Sequence[dict[str, Any]], groups: Sequence[dict[str, Any]]) -> list[str]:
    """Write tables of active power."""
    mean = [
        [
            group["board"],
            f"{group['voltage_v']:g} V",
            f"{group['clock_hz'] / 1e6:g} MHz",
            f"**{1e3 * group['active_w']:.1f} mW**",
            f"{1e3 * group['lowest_w']:.1f} .. {1e3 * group['highest_w']:.1f} mW",
            str(group["rows"]),
        ]
        for group in groups
    ]
    each = [
        [
            power["source"],
            f"{power['voltage_v']:g} V",
            *(f"{1e3 * power['active_w'][net]:.1f}" if net in power["active_w"] else "" for net in NETWORKS),
            percent(power["spread"]) if len(power["active_w"]) > 1 else "",
            f"{power['pj_per_cycle']:.0f}",
            power["notes"],
        ]
        for power in found
    ]
    return [
        *table(["board", "supply", "clock", "active power", "rows from .. to", "rows"], mean),
        "",
        *table(["row", "supply", "kws mW", "ad mW", "spread", "pJ a cycle", "notes"], each),
    ]


def main() -> None:
    """Emulate, fit, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("published", type=Path, help="MLPerf Tiny's results as JSON")
    parser.add_argument("--models", type=Path, required=True, help="the folder of the reference models")
    arguments = parser.parse_args()
    try:
        rows = read_rows(arguments.published)
        cycles = modelled_cycles(arguments.models, (*SHOWN, *OURS))
    except InputError as error:
        parser.error(str(error))
    boards: dict[str, Any] = {}
    for name, board in BOARDS.items():
        of_core = cycles[board.core]
        fits = {label(build): calibrate(name, rows, of_core[label(build)]) for build in SHOWN}
        scale = fits[label(FITTED)]["cycle_scale"]
        ours = {
            label(build): {net: 1e3 * of_core[label(build)][net] * scale / board.clock_hz for net in NETWORKS}
            for build in OURS
        }
        boards[name] = {
            "core": board.core,
            "clock_hz": board.clock_hz,
            "clock_source": board.clock_source,
            "fitted_on": label(FITTED),
            "fits": fits,
            "edgegrow_ms": ours,
        }
    compilers = [find_compiler(name).version for name in ("gcc", "zig")]
    found = list(powers(rows))
    groups = grouped(found)
    errors = [
        abs(error)
        for board in boards.values()
        for error in board["fits"][label(FITTED)]["leave_one_out_error"].values()
    ]
    lines = REPORT.format(
        command=f"python scripts/{Path(__file__).name} PUBLISHED.json --models DIR",
        compilers="; ".join(compilers),
        largest=percent(max(errors)),
        allowed=f"{100 * MOST_ERROR:.0f} %",
        calibration="\n".join(calibration_lines(boards)),
        context="\n".join(context_lines(rows, boards)),
        power="\n".join(power_lines(found, groups)),
    ).splitlines()
    contents = {"compilers": compilers, "boards": boards, "power": {"groups": groups, "rows": found}}
    write_results("board-calibration", contents, lines)
    sys.exit(0 if max(errors) <= MOST_ERROR else 1)


if __name__ == "__main__":
    main()
