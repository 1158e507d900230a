"""Grow all five networks on Fashion-MNIST, and hold their artifacts against four runtimes.

    python scripts/deploy_agreement.py [--runs runs/deploy-agreement]

Each network is grown to the size it has by default, in one epoch's worth of training; runs that exist are
not made again. On 1000 test images the simulator must equal tflite-micro bit for bit, LiteRT and ONNX Runtime
must choose the same class on 99 %. ``conv1d`` reads an image's rows as the 28 channels of a signal. Exits 1
where a claim fails.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tflite
from micro import micro
from results import table, write_results

from edgegrow import api
from edgegrow.config import Budget, resolve_config
from edgegrow.data import load_dataset
from edgegrow.data.dataset import Dataset
from edgegrow.deploy.graph import Weighted
from edgegrow.deploy.simulate import simulate
from edgegrow.measure.identity import host_identity
from edgegrow.measure.session import open_artifact, predict

BUDGETS = {"mlp": "26.1k", "conv1d": "36k", "dscnn": "309k", "mobilenet": "173.5k", "resnet8": "9.35M"}
"""MACs: what each network takes at its default widths on 28x28 images."""

SAMPLES = 1000
FORBIDDEN = {"TRANSPOSE", "RESHAPE", "PAD", "PADV2", "QUANTIZE", "DEQUANTIZE"}
NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}


def as_signals(folder: Path) -> Path:
    """Write Fashion-MNIST as signals ``(28, 28)``: a row of the image is a channel."""
    file = folder / "fashion-rows.npz"
    if not file.exists():
        data = load_dataset("fashion-mnist")
        x = np.concatenate([data.train.x[:, 0], data.validation.x[:, 0]])
        y = np.concatenate([data.train.y, data.validation.y])
        np.savez(file, x=x, y=y, x_test=data.test.x[:, 0], y_test=data.test.y, layout="ncl")
    return file


def operators(model: bytes) -> list[str]:
    """Names of the operators of a ``.tflite`` file."""
    read = tflite.Model.GetRootAs(model, 0)
    return [NAMES[read.OperatorCodes(i).BuiltinCode()] for i in range(read.OperatorCodesLength())]


def held(net: str, run: Path, data: Dataset) -> dict:
    """Compare one run's artifacts on the test split's first samples."""
    delivery = api.export(run, out=run / "again")
    file = (run / "model.tflite").read_bytes()
    x, q = data.test.x[:SAMPLES], delivery.graph.quantize_input(data.test.x[:SAMPLES])
    simulated = simulate(delivery.graph, q).reshape(len(q), -1)
    chosen = simulated.argmax(1)
    agreement = {}
    for item in ("tflite", "onnx"):
        with open_artifact(run / f"model.{item}") as session:
            agreement[item] = float((predict(session, x).argmax(1) == chosen).mean())
    weighted = [op for op in delivery.graph.operators if isinstance(op, Weighted)]
    raw = sum(op.weight.size + 4 * op.bias.size for op in weighted)
    return {
        "net": net,
        "bit_equal": int((simulated == micro(file, q)).all(axis=1).sum()),
        "litert": agreement["tflite"],
        "onnxruntime": agreement["onnx"],
        "operators": operators(file),
        "tflite_bytes": len(file),
        "raw_bytes": raw,
        "allowed_bytes": 1.10 * raw + 8000,
    }


def kept(row: dict) -> bool:
    """Whether everything that we claim holds."""
    return (
        row["bit_equal"] == SAMPLES
        and min(row["litert"], row["onnxruntime"]) >= 0.99
        and not FORBIDDEN & set(row["operators"])
        and row["tflite_bytes"] <= row["allowed_bytes"]
    )


def main() -> None:
    """Grow what is missing, compare, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/deploy-agreement"))
    folder = parser.parse_args().runs
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for net, macs in BUDGETS.items():
        data = str(as_signals(folder)) if net == "conv1d" else "fashion-mnist"
        limits = Budget.parse(f"macs={macs}").limits
        values = {"net.name": net, "data.name": data, "train.epochs": 1.0, "budget": limits}
        config = resolve_config(None, values)
        run = folder / net
        if not (run / "profile.json").exists():
            api.resume(run) if run.exists() else api.grow(config, run)
        rows.append(held(net, run, load_dataset(data)))
        print(rows[-1], file=sys.stderr)
    header = ["network", "MACs budget", "bit-equal", "LiteRT agrees", "ONNX Runtime agrees",
              "operators", ".tflite", "weights and biases", "allowed", "all kept"]  # fmt: skip
    cells = [
        [
            row["net"],
            BUDGETS[row["net"]],
            f"{row['bit_equal']:,} of {SAMPLES:,}",
            f"{100 * row['litert']:.1f} %",
            f"{100 * row['onnxruntime']:.1f} %",
            ", ".join(row["operators"]),
            f"{row['tflite_bytes']:,} B",
            f"{row['raw_bytes']:,} B",
            f"{row['allowed_bytes']:,.0f} B",
            "yes" if kept(row) else "**no**",
        ]
        for row in rows
    ]
    runtimes = {name: version(name) for name in ("tflite-micro", "ai-edge-litert", "onnxruntime")}
    identity = (
        f"{', '.join(' '.join(pair) for pair in runtimes.items())}; {host_identity(None, None, None, 1).cpu}"
    )
    lines = [
        "# One quantized graph, four runtimes",
        "",
        f"Command: `python scripts/{Path(__file__).name}`. Grown on Fashion-MNIST, to the networks' default "
        "sizes, in one epoch's worth of training; the first",
        f"{SAMPLES:,} test images; measured with {identity}.",
        "Bit-equal: simulator and tflite-micro, all outputs of an image. Agreement: the class that the",
        "simulator chooses. Allowed: 1.10 times weights and biases, and 8,000 bytes. All kept: bit-equal,",
        "99 % agreement, no operator that moves data, and the size.",
        "",
        *table(header, cells),
    ]
    contents = {
        "budgets": BUDGETS,
        "runtimes": runtimes,
        "cpu": host_identity(None, None, None, 1).cpu,
        "rows": rows,
    }
    write_results("deploy-agreement", contents, lines)
    sys.exit(0 if all(map(kept, rows)) else 1)


if __name__ == "__main__":
    main()
