"""What quantization-aware epochs bring to finished runs, and to copies of them that quantize badly.

    edgegrow grow --data digits --net dscnn --budget macs=60k --epochs 60 --out runs/digits
    edgegrow grow --data fashion-mnist --net dscnn --budget macs=60k --epochs 6 --out runs/fashion
    python scripts/qat.py runs/digits:4 runs/fashion:1 [--spreads 0,1.2]

``RUN:N`` is a run folder and how many epochs. A spread above 0 multiplies every channel between two layers
by a factor ``exp(spread * normal)`` and divides it out again in the next layer: the same function, whose
channels share an int8 range badly. The control is trained alike, but in float, and quantized afterwards: what
any further training brings. Accuracies are the simulator's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import table, write_results

from edgegrow.data.dataset import Split
from edgegrow.delivery import calibrated
from edgegrow.deploy.calibrate import calibrate
from edgegrow.deploy.evaluate import compute, evaluate
from edgegrow.deploy.graph import FloatGraph, Graph, Operator, Weighted
from edgegrow.deploy.qat import FakeQuantized
from edgegrow.finishing import Finisher
from edgegrow.growth.progress import Progress
from edgegrow.listener import Silent
from edgegrow.profiling import accuracy, simulated_logits
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.training import Batches


class InFloat(FakeQuantized):
    """The control: no operator rounds."""

    def run(self, op: Operator, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute an operator with the parameters as they are."""
        return compute(op, inputs, *(self.values[i] for i in self.places.get(op.output.name, ())))


class Nobody:
    """Is told of the training and keeps nothing."""

    def record(self, event: str, values: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def checkpoint(self, *state: object) -> None:
        """Keep nothing."""

    def step(self, stage: str, step: int, steps: int, loss: float) -> None:
        """Show nothing."""


@dataclass(frozen=True)
class Row:
    """A network after one of the trainings; losses are mean cross-entropies, accuracies shares."""

    run: str
    spread: float
    training: str
    epochs: int
    validation_loss: float
    validation_accuracy: float
    test_accuracy: float
    agreement: float | None
    """Share of validation samples where the network that is trained chooses as the simulator does."""
    seconds: float


def unbalanced(graph: FloatGraph, spread: float, seed: int) -> FloatGraph:
    """Scale every channel between two layers by a factor of its own: the same function, badly quantized."""
    rng = np.random.default_rng(seed)
    operators = list(graph.operators)
    for i, second in enumerate(graph.operators[1:]):
        first = operators[i]
        if isinstance(first, Weighted) and isinstance(second, Weighted) and first.activation != "relu6":
            factors = np.exp(spread * rng.normal(size=first.bias.size)).astype(np.float32)
            weight = first.weight * factors.reshape(first.along_channels)
            operators[i] = replace(first, weight=weight, bias=first.bias * factors)
            operators[i + 1] = replace(second, weight=second.weight / factors)
    return replace(graph, operators=tuple(operators))


def cross_entropy(logits: np.ndarray, split: Split) -> float:
    """Mean over a split."""
    return torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(split.y)).item()


def rows(folder: Path, epochs: int, spread: float, seed: int) -> Iterator[Row]:
    """Train a run's network in each way."""
    run = RunFolder.open(folder)
    setting = Setting(run.config(), Silent())
    checkpoint = run.load_checkpoint()
    assert checkpoint is not None
    checkpoint.restore(setting.example)
    data, samples = setting.data, setting.config.quantize.calibration_samples
    start = calibrated(setting.example, data, samples).float_graph()
    if spread > 0:
        start = unbalanced(start, spread, seed)
    ranges = calibrate(start, data.calibration(samples))
    batches = Batches(data.train, setting.config.train.batch_size)

    def row(training: str, graph: Graph | FloatGraph, seconds: float, chosen: np.ndarray | None) -> Row:
        logits = simulated_logits if isinstance(graph, Graph) else evaluate
        validation = logits(graph, data.validation.x)
        agreement = None if chosen is None else float((chosen == validation.argmax(1)).mean())
        return Row(
            folder.name, spread, training, epochs if seconds else 0,
            cross_entropy(validation, data.validation), accuracy(validation, data.validation),
            accuracy(logits(graph, data.test.x), data.test), agreement, seconds,
        )  # fmt: skip

    yield row("none, in float", start, 0.0, None)
    yield row("none", FakeQuantized(start, ranges).graph(), 0.0, None)
    for training, make in (("control, in float", InFloat), ("quantization-aware", FakeQuantized)):
        network = make(start, ranges)
        finisher = Finisher(setting.example, network, data, setting.config.train, epochs, seed)
        started = time.process_time()
        finisher.run(Progress(), batches, Nobody())
        seconds, chosen = time.process_time() - started, None
        if make is FakeQuantized:
            with torch.no_grad():
                parts = torch.from_numpy(data.validation.x).split(500)
                chosen = torch.cat([network(part) for part in parts]).argmax(1).numpy()
        trained = FakeQuantized(
            network.float_graph(), calibrate(network.float_graph(), data.calibration(samples))
        )
        yield row(training, (network if chosen is not None else trained).graph(), seconds, chosen)


def main() -> None:
    """Train, and write the results down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--spreads", default="0,1.2")
    options = parser.parse_args()
    found = []
    for item in options.runs:
        folder, _, epochs = item.rpartition(":")
        for spread in map(float, options.spreads.split(",")):
            for row in rows(Path(folder), int(epochs), spread, seed=0):
                found.append(row)
                print(row, flush=True)
    lines = table(
        (
            "run", "spread", "training", "epochs", "validation loss", "validation", "test", "agreement",
            "CPU s",
        ),
        [
            (
                row.run, f"{row.spread:g}", row.training, str(row.epochs), f"{row.validation_loss:.4f}",
                f"{100 * row.validation_accuracy:.2f} %", f"{100 * row.test_accuracy:.2f} %",
                "" if row.agreement is None else f"{100 * row.agreement:.2f} %", f"{row.seconds:.0f}",
            )
            for row in found
        ],
    )  # fmt: skip
    write_results("qat", {"rows": [vars(row) for row in found]}, [*HEAD, "", *lines, "", *TAIL])


HEAD = [
    "# Quantization-aware epochs",
]
TAIL: list[str] = []


if __name__ == "__main__":
    main()
