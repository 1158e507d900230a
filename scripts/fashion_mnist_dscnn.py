"""Grow DS-CNN on Fashion-MNIST under 250k MACs with three seeds, and write down what came of it.

    python scripts/fashion_mnist_dscnn.py [--runs runs/fashion-mnist-dscnn-250k]

Each seed is one `edgegrow grow` in a process of its own, two at a time; a seed that was interrupted is
resumed, one that has finished is not run again. The results are ``docs/results/fashion-mnist-dscnn-250k.md``,
and ``.json`` for machines.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from results import table, write_results
from seeds import figure, grow_seeds, identity

OPTIONS = ["--data", "fashion-mnist", "--net", "dscnn", "--budget", "macs=250k"]
SEEDS = (0, 1, 2)


def row(seed: int, result: dict) -> dict:
    """Pick what the table shows."""
    return {
        "seed": seed,
        "macs": result["delivered"]["macs"],
        "budget_used": result["delivered"]["macs"] / result["budget"]["macs"],
        "epochs_of_final_network": result["training"]["epochs_of_final_network"],
        "macs_trained": result["training"]["macs_trained"],
        "float": figure(result, "tflite", "float_accuracy"),
        "simulator": figure(result, "tflite", "accuracy", "emulated"),
        "litert": figure(result, "tflite", "accuracy"),
        "onnxruntime": figure(result, "onnx", "accuracy"),
        "tflite_bytes": figure(result, "tflite", "flash"),
        "onnx_bytes": figure(result, "onnx", "flash"),
    }


def markdown(rows: list[dict], made: str) -> list[str]:
    """Lines of the table and its means."""
    accuracies = {
        "float": "float",
        "simulator": "simulator",
        "litert": "LiteRT",
        "onnxruntime": "ONNX Runtime",
    }
    cells = [
        [
            f"{r['seed']}",
            f"{r['macs']:,.0f}",
            f"{100 * r['budget_used']:.1f} %",
            f"{r['epochs_of_final_network']:.2f}",
            *(f"{100 * r[key]:.2f} %" for key in accuracies),
            f"{r['tflite_bytes']:,.0f} B",
            f"{r['onnx_bytes']:,.0f} B",
        ]
        for r in rows
    ]
    means = [f"**{100 * mean(r[key] for r in rows):.2f} %**" for key in accuracies]
    training = "training, epochs of the final network"
    header = ["seed", "MACs", "of the budget", training, *accuracies.values(), ".tflite", ".onnx"]
    return [
        "# Fashion-MNIST, dscnn, 250k MACs",
        "",
        f"Command: `python scripts/{Path(__file__).name}`, which runs `edgegrow grow {' '.join(OPTIONS)}`",
        "for each seed. Accuracies are measured on all 10,000 test images, the simulator's is emulated; MACs",
        "are counted (predicted), file sizes measured; training counts all of growth and scoring too.",
        made,
        "",
        *table(header, [*cells, ["mean", "", "", "", *means, "", ""]]),
    ]


def main() -> None:
    """Run what is missing, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/fashion-mnist-dscnn-250k"))
    folder = parser.parse_args().runs
    results = grow_seeds(OPTIONS, SEEDS, folder)
    rows = [row(seed, result) for seed, result in zip(SEEDS, results, strict=True)]
    made = identity(results, folder, SEEDS)
    contents = {"options": OPTIONS, "identity": made, "rows": rows}
    write_results("fashion-mnist-dscnn-250k", contents, markdown(rows, made))


if __name__ == "__main__":
    main()
