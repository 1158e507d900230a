"""Grow DS-CNN on Fashion-MNIST under 250k MACs with three seeds, and write down what came of it.

    python scripts/fashion_mnist_dscnn.py [--runs runs/fashion-mnist-dscnn-250k]

Each seed is one `edgegrow grow` in a process of its own, two at a time; a seed that was interrupted is
resumed, one that has finished is not run again. The results are ``docs/results/fashion-mnist-dscnn-250k.md``,
and ``.json`` for machines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

from results import table, write_results

OPTIONS = ["--data", "fashion-mnist", "--net", "dscnn", "--budget", "macs=250k"]
SEEDS = (0, 1, 2)
PROCESSES = 2


def grow(seed: int, folder: Path) -> dict:
    """Run, resume or read back one seed's run, as ``edgegrow grow --json`` prints it."""
    run = folder / f"seed-{seed}"
    edgegrow = [sys.executable, "-m", "edgegrow"]
    if (run / "profile.json").exists():
        command = [*edgegrow, "report", str(run), "--json"]
    elif (run / "config.toml").exists():
        command = [*edgegrow, "grow", "--resume", str(run), "--json"]
    else:
        command = [*edgegrow, "grow", *OPTIONS, "--seed", str(seed), "--out", str(run), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def row(seed: int, result: dict) -> dict:
    """Pick what the table shows."""

    def figure(profile: str, metric: str, evidence: str = "measured") -> float:
        return next(
            m["value"]
            for m in result["profiles"][profile]["measurements"]
            if m["metric"] == metric and m["evidence"] == evidence
        )

    return {
        "seed": seed,
        "macs": result["delivered"]["macs"],
        "budget_used": result["delivered"]["macs"] / result["budget"]["macs"],
        "epochs_of_final_network": result["training"]["epochs_of_final_network"],
        "macs_trained": result["training"]["macs_trained"],
        "float": figure("tflite", "float_accuracy"),
        "simulator": figure("tflite", "accuracy", "emulated"),
        "litert": figure("tflite", "accuracy"),
        "onnxruntime": figure("onnx", "accuracy"),
        "tflite_bytes": figure("tflite", "flash"),
        "onnx_bytes": figure("onnx", "flash"),
    }


def markdown(rows: list[dict], identity: str) -> list[str]:
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
        identity,
        "",
        *table(header, [*cells, ["mean", "", "", "", *means, "", ""]]),
    ]


def main() -> None:
    """Run what is missing, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/fashion-mnist-dscnn-250k"))
    folder = parser.parse_args().runs
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(PROCESSES) as pool:
        results = list(pool.map(lambda seed: grow(seed, folder), SEEDS))
    rows = [row(seed, result) for seed, result in zip(SEEDS, results, strict=True)]
    identities = [m["identity"] for p in results[0]["profiles"].values() for m in p["measurements"]]
    runtimes = dict.fromkeys(f"{i['runtime']} {i['version']}" for i in identities if i["runtime"])
    configs = [tomllib.loads((folder / f"seed-{seed}" / "config.toml").read_text()) for seed in SEEDS]
    commits = dict.fromkeys(config["versions"]["edgegrow_commit"] for config in configs)
    cpu = next(i["cpu"] for i in identities if i["cpu"])
    identity = f"{', '.join(runtimes)} (commit {', '.join(commits)}); {cpu}, 1 thread."
    contents = {"options": OPTIONS, "identity": identity, "rows": rows}
    write_results("fashion-mnist-dscnn-250k", contents, markdown(rows, identity))


if __name__ == "__main__":
    main()
