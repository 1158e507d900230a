"""Run the C packages of seven networks on every emulated core, and hold them against tflite-micro.

    python scripts/c_agreement.py --models FOLDER [--runs runs/c-agreement]

FOLDER has the MLPerf Tiny reference models ``kws_ref_model.tflite`` and ``ad01_int8.tflite``. Our five
networks are trained for 100 batches, so that their ranges are real. Each core computes 50 random and 50 real
inputs; all outputs of an input must equal tflite-micro's, bit for bit. Rows that were made of the same
sources and inputs are not made again. Exits 1 where an output differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from micro import micro
from recordings import keyword_inputs, machine_inputs
from results import table, write_results

from edgegrow.data import load_dataset
from edgegrow.data.dataset import Split
from edgegrow.deploy.c import write_c
from edgegrow.deploy.graph import Graph
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.files import write_atomic
from edgegrow.measure.mcu.cores import CORES
from edgegrow.measure.mcu.emulator import Emulation, emulate
from edgegrow.nets import load_net
from edgegrow.training import Batches, cosine, deterministic, generator, make_optimizer, train

NETS = {
    "mlp": "fashion-mnist",
    "conv1d": "fashion-mnist",
    "dscnn": "fashion-mnist",
    "mobilenet": "fashion-mnist",
    "resnet8": "fashion-mnist",
}
REFERENCE = {"kws_ref_model": keyword_inputs, "ad01_int8": machine_inputs}
WHAT = {
    "fashion-mnist": "test images of Fashion-MNIST, 28x28",
    "kws_ref_model": "MFCCs of recorded speech, 49x10",
    "ad01_int8": "log-mel frames of recorded speech, 5x128",
}
EACH = 50  # random inputs, and as many real ones
STEPS = 100


@dataclass(frozen=True, eq=False)
class Case:
    """A network as tflite-micro reads it, and its inputs: int8 ``(n, ...)``, the random ones first."""

    name: str
    model: bytes
    graph: Graph
    inputs: np.ndarray
    real: str


def case(name: str, model: bytes, real: np.ndarray, what: str) -> Case:
    """Quantize real inputs, and put random ones before them."""
    graph = read_tflite(model)
    shape = (EACH, *graph.input.shape[1:])
    random = np.random.default_rng(0).integers(-128, 128, shape, np.int8)
    return Case(name, model, graph, np.concatenate([random, graph.quantize_input(real)]), what)


def own(name: str, dataset: str) -> Case:
    """Train a network of default widths a little; ``conv1d`` reads an image's rows as channels."""
    data = load_dataset(dataset)
    flat = name == "conv1d"
    x, test = ((split.x[:, 0] if flat else split.x) for split in (data.train, data.test))
    module = load_net(name).build(x.shape[1:], len(data.class_names))
    optimizer = make_optimizer(module, lr=0.1, momentum=0.9, weight_decay=1e-4)
    batches = Batches(Split(x, data.train.y), size=64).draw(generator(0))
    train(module, optimizer, batches, lambda step: cosine(0.1, step, STEPS), range(STEPS))
    graph = quantize(lower(module.eval(), x.shape[1:]), x[:256])
    chosen = np.random.default_rng(1).choice(len(test), EACH, replace=False)
    what = WHAT[dataset] + (", rows as channels" if flat else "")
    return case(name, tflite_bytes(graph), test[chosen], what)


def cases(models: Path) -> Iterator[Case]:
    """Make the networks, one after the other."""
    for name, inputs in REFERENCE.items():
        file = models / f"{name}.tflite"
        if not file.is_file():
            raise SystemExit(f"{file}: it is not there: give the folder of the reference models as --models")
        yield case(name, file.read_bytes(), inputs(EACH), WHAT[name])
    deterministic(threads=1)
    for name, dataset in NETS.items():
        yield own(name, dataset)


def emulated(package: Path, core: str, inputs: np.ndarray) -> Emulation:
    """Run a package on a core, with memory enough for all of them."""
    # Unicorn has no Cortex-M55.
    options = {"emulator": "qemu"} if core == "cortex-m55" else {}
    flat = inputs.reshape(len(inputs), -1)
    return emulate(package, core, flat, flash_bytes=2**20, ram_bytes=2**19, seconds=1200, **options)


def rows_of(made: Case, folder: Path) -> Iterator[dict]:
    """Compare on every core, or read again what was compared."""
    package = folder / made.name
    write_c(made.graph, package)
    digest = hashlib.sha256(made.inputs.tobytes())
    for file in sorted(package.glob("src/*")):
        digest.update(file.read_bytes())
    expected = None
    for core in CORES:
        file = folder / f"{made.name}-{core}.json"
        row = json.loads(file.read_text()) if file.exists() else {}
        if row.get("sha256") != digest.hexdigest():
            expected = micro(made.model, made.inputs) if expected is None else expected
            emulation = emulated(package, core, made.inputs)
            equal = (emulation.outputs == expected).all(axis=1)
            row = {
                "network": made.name,
                "real_inputs": made.real,
                "core": core,
                "equal_random": int(equal[:EACH].sum()),
                "equal_real": int(equal[EACH:].sum()),
                "distinct_outputs": len(np.unique(expected, axis=0)),
                "emulator": f"{emulation.identity.runtime} {emulation.identity.version}",
                "compiler": emulation.identity.compiler,
                "sha256": digest.hexdigest(),
            }
            write_atomic(file, json.dumps(row))
        print(row, file=sys.stderr)
        yield row


def main() -> None:
    """Compare what is missing, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/c-agreement"))
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rows = [row for made in cases(arguments.models) for row in rows_of(made, arguments.runs)]
    header = ["network", "core", "equal, random", "equal, real", "equal of 100", "real inputs", "emulator"]
    cells = [
        [
            row["network"],
            row["core"],
            str(row["equal_random"]),
            str(row["equal_real"]),
            str(row["equal_random"] + row["equal_real"]),
            row["real_inputs"],
            row["emulator"],
        ]
        for row in rows
    ]
    compilers = sorted({row["compiler"] for row in rows})
    lines = [
        "# C on emulated cores against tflite-micro",
        "",
        f"Command: `python scripts/{Path(__file__).name} --models FOLDER`. Runtime: tflite-micro "
        f"{version('tflite-micro')}, from PyPI, its reference kernels.",
        "Equal: every output of an inference, bit for bit; 50 inputs are random bytes, 50 are real.",
        "",
        f"- Our five networks have default widths, and were trained for {STEPS} batches of 64: for real",
        "  ranges, not for accuracy. Their real inputs are images of the test split, drawn with a seed.",
        "- The MLPerf Tiny reference models (mlcommons/tiny) get features of real recordings: the spoken",
        "  names of loudspeakers and one noise of Debian's alsa-utils, cut at places drawn with a seed;",
        "  MFCCs and log-mel frames by the published settings, with code of our own",
        "  (`scripts/recordings.py`). They are not the data that the models were trained on, and say nothing",
        "  about accuracy.",
        "",
        "Compilers:",
        *(f"- {compiler}" for compiler in compilers),
        "",
        *table(header, cells),
    ]
    contents = {"tflite_micro": version("tflite-micro"), "steps": STEPS, "rows": rows}
    write_results("c-agreement", contents, lines)
    sys.exit(0 if all(row["equal_random"] == row["equal_real"] == EACH for row in rows) else 1)


if __name__ == "__main__":
    main()
