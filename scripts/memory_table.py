"""What the MLPerf Tiny reference models take of a Cortex-M4 as C packages, beside TFLM's arena.

    python scripts/memory_table.py --models FOLDER

FOLDER has ``kws_ref_model.tflite`` and ``ad01_int8.tflite``. The firmware is compiled by zig with -O2 and run
in the emulator. Exits 1 where a claim fails: the flash of keyword spotting, or an arena above TFLM's head.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from results import table, write_results

from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.c import write_c
from edgegrow.deploy.read import read_tflite
from edgegrow.measure.mcu.emulator import emulate
from edgegrow.measure.mcu.tflm import tflm_arena

MODELS = {"kws": "kws_ref_model.tflite", "ad": "ad01_int8.tflite"}
CORE = "cortex-m4"
KWS_FLASH_BYTES = 60_000
"""What all of keyword spotting's firmware may take."""


def measured(name: str, file: Path) -> dict:
    """Figures of one model; all in bytes."""
    graph = read_tflite(file.read_bytes())
    q = np.random.default_rng(0).integers(-128, 128, (5, *graph.input.shape[1:]), np.int8)
    with tempfile.TemporaryDirectory() as folder:
        write_c(graph, folder)
        emulation = emulate(folder, CORE, q.reshape(len(q), -1))
    tflm = tflm_arena(file)
    return {
        "model": name,
        "flash_bytes": emulation.flash_bytes,
        "arena_bytes": emulation.arena_bytes,
        "stack_bytes": emulation.stack_bytes,
        "ram_bytes": emulation.ram_bytes,
        "tflm_head_bytes": tflm.head_bytes,
        "planned_head_bytes": plan_arena(graph).peak_bytes,
        "tflm_arena_bytes": tflm.total_bytes,
        "tflm_method": tflm.method,
        "tflm_version": tflm.version,
        "compiler": emulation.identity.compiler,
        "emulator": f"{emulation.identity.runtime} {emulation.identity.version}",
    }


def kept(row: dict) -> bool:
    """Whether everything that we claim holds."""
    return row["arena_bytes"] <= row["tflm_head_bytes"] == row["planned_head_bytes"] and (
        row["model"] != "kws" or row["flash_bytes"] <= KWS_FLASH_BYTES
    )


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    models = parser.parse_args().models
    rows = [measured(name, models / file) for name, file in MODELS.items()]
    header = ["model", "flash", "arena", "stack", "RAM", "TFLM's head", "our plan of it", "TFLM's arena"]
    evidence = ["", "emulated", "emulated", "emulated", "emulated", "measured", "predicted", "predicted"]
    figures = ["flash", "arena", "stack", "ram", "tflm_head", "planned_head", "tflm_arena"]
    cells = [[row["model"], *(f"{row[f'{figure}_bytes']:,} B" for figure in figures)] for row in rows]
    lines = [
        "# Memory of the MLPerf Tiny reference models on a Cortex-M4",
        "",
        f"Command: `python scripts/{Path(__file__).name} --models FOLDER`.",
        f"Compiler: {rows[0]['compiler']}. Emulator: {rows[0]['emulator']}.",
        "",
        "- Flash: the whole firmware: start-up code, kernels, weights, constants.",
        "- Arena: activations, input and output among them, and all scratch of the kernels.",
        "- Stack: high-water mark over five random inputs, below the caller; no interrupts.",
        "- RAM: arena, variables, a copy of input and output each beside the arena, and the stack.",
        "- TFLM's head: its activations and scratch, as its recording allocator of tflite-micro "
        f"{rows[0]['tflm_version']}",
        "  says, reference kernels. It is the same on a device. Our planner predicts it without scratch.",
        "- TFLM's arena: an upper bound on 32 bits; method:",
        f"  {rows[0]['tflm_method']}.",
        f"- Limits: flash of kws {KWS_FLASH_BYTES:,} B; an arena no larger than TFLM's head.",
        "",
        *table(header, [evidence, *cells]),
    ]
    write_results("memory", {"kws_flash_limit_bytes": KWS_FLASH_BYTES, "core": CORE, "rows": rows}, lines)
    sys.exit(0 if all(map(kept, rows)) else 1)


if __name__ == "__main__":
    main()
