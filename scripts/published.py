"""MLPerf Tiny's published results: the rows of the boards that edgegrow knows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegrow.errors import InputError

NETWORKS = ("kws", "ad")
"""The networks whose reference models are at hand."""

NAMES = {
    "nrf5340dk": r"NRF5340.DK",
    "nucleo-l4r5zi": r"NUCLEO.L4R5ZI",
    "nucleo-u575zi": r"NUCLEO.U575ZI",
    "nucleo-h7a3zi": r"NUCLEO.H7A3ZI",
    "ek-ra6m4": r"EK.RA6M4",
    "xg24-dk2601b": r"xG24",
}
"""How the boards' names begin in published rows, whatever follows."""

CMSIS_UNDER_MICROTVM = re.compile(r"microtvm.?cmsis.?nn", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One published result: latencies in ms, energies in uJ, times of the energy run in ms, by network."""

    board: str
    source: str
    framework: str
    cmsis: bool
    clock_mhz: float | None
    voltage_v: float | None
    notes: str
    latency_ms: dict[str, float]
    energy_uj: dict[str, float]
    energy_ms: dict[str, float]


def read_rows(path: Path) -> list[Row]:
    """Read the rows of boards that we know.

    Raises
    ------
    InputError
        If the file is not of that form.
    """
    try:
        published = json.loads(path.read_text("utf-8"))["results"]
        return [
            _row(name, row)
            for row in published
            for name, begin in NAMES.items()
            if re.search(begin, row["board"], re.IGNORECASE) and row["division"] == "closed"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: it does not list MLPerf Tiny's results: {type(error).__name__}") from error


def _row(name: str, row: dict[str, Any]) -> Row:
    notes, clock = row.get("notes") or "", re.match(r"([\d.]+) ?MHz", row.get("clock") or "")
    # "Operating at 1.8V": the supply; a core's own voltage is not what a board draws from.
    voltage = re.search(r"Operating at ([\d.]+) ?V", notes)
    in_name = re.search(r"X-CUBE-AI-[\d.]+", row["board"])

    def figures(unit: str) -> dict[str, float]:
        return {net: float(row[f"{net}_{unit}"]) for net in NETWORKS if f"{net}_{unit}" in row}

    return Row(
        name,
        f"{row['round']} {row['submitter']}, {row['board']}",
        row.get("framework") or (in_name[0] if in_name else "not stated"),
        bool(CMSIS_UNDER_MICROTVM.search(row["board"])),
        float(clock[1]) if clock else None,
        float(voltage[1]) if voltage else None,
        notes,
        figures("ms"),
        figures("uJ"),
        figures("ems"),
    )
