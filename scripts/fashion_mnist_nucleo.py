"""Grow DS-CNN on Fashion-MNIST for a NUCLEO-L4R5ZI under 20 ms, 32 kB of RAM and 128 kB of flash.

    python scripts/fashion_mnist_nucleo.py [--runs runs/fashion-mnist-nucleo-l4r5zi]

Each seed is one `edgegrow grow`; interrupted ones are resumed. The results are
``docs/results/fashion-mnist-nucleo-l4r5zi.md``, and ``.json`` for machines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from results import table, write_results
from seeds import figure, grow_seeds, identity

NAME = "fashion-mnist-nucleo-l4r5zi"
OPTIONS = ["--data", "fashion-mnist", "--net", "dscnn", "--target", "nucleo-l4r5zi"]
OPTIONS += ["--budget", "latency=20ms,ram=32kB,flash=128kB"]
SEEDS = (0, 1)


def row(seed: int, result: dict) -> dict:
    """Pick what the table shows."""
    return {
        "seed": seed,
        "float": figure(result, "c", "float_accuracy"),
        "int8": figure(result, "c", "accuracy", "emulated"),
        "macs": figure(result, "c", "macs", "predicted"),
        "latency_ms": figure(result, "c", "latency", "predicted"),
        "energy_mj": figure(result, "c", "energy", "predicted"),
        "ram_bytes": figure(result, "c", "ram", "emulated"),
        "flash_bytes": figure(result, "c", "flash", "emulated"),
        "agreement": figure(result, "c", "agreement", "emulated"),
        "epochs_of_final_network": result["training"]["epochs_of_final_network"],
    }


def markdown(rows: list[dict], made: str, result: dict) -> list[str]:
    """Lines of the table."""
    bands = {
        m["metric"]: f"±{100 * m['error']:.0f} %"
        for m in result["profiles"]["c"]["measurements"]
        if m["metric"] in ("latency", "energy")
    }
    header = ["seed", "float", "int8", "MACs", f"latency {bands['latency']}", f"energy {bands['energy']}"]
    header += ["RAM", "flash", "training, epochs of the final network"]
    cells = [
        [
            f"{r['seed']}",
            f"{100 * r['float']:.2f} %",
            f"{100 * r['int8']:.2f} %",
            f"{r['macs']:,.0f}",
            f"{r['latency_ms']:.2f} ms",
            f"{r['energy_mj']:.3f} mJ",
            f"{r['ram_bytes']:,.0f} B",
            f"{r['flash_bytes']:,.0f} B",
            f"{r['epochs_of_final_network']:.2f}",
        ]
        for r in rows
    ]
    evidence = [
        "measured",
        "emulated",
        "predicted",
        "predicted",
        "predicted",
        "emulated",
        "emulated",
        "counted",
    ]
    return [
        "# Fashion-MNIST, dscnn, NUCLEO-L4R5ZI: 20 ms, 32 kB of RAM, 128 kB of flash",
        "",
        f"Command: `python scripts/{Path(__file__).name}`, which runs `edgegrow grow {' '.join(OPTIONS)}`",
        "for each seed. Accuracy on all 10,000 test images: float by PyTorch, int8 by the simulator, which",
        "the emulated C package equals bit for bit on 20 of them. Nothing here ran on a board: the latency",
        "is modelled cycles times the board's scale, whose error band is shown; see board-calibration.md.",
        made,
        "",
        *table(header, [["", *evidence], *cells]),
    ]


def main() -> None:
    """Run what is missing, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs") / NAME)
    folder = parser.parse_args().runs
    results = grow_seeds(OPTIONS, SEEDS, folder)
    rows = [row(seed, result) for seed, result in zip(SEEDS, results, strict=True)]
    made = identity(results, folder, SEEDS)
    contents = {"options": OPTIONS, "identity": made, "rows": rows}
    write_results(NAME, contents, markdown(rows, made, results[0]))


if __name__ == "__main__":
    main()
