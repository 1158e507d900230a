"""What channels last in memory are worth: training and evaluation with them, against the same without.

    python scripts/bench_memory_format.py [--data fashion-mnist] [--nets dscnn=60k,dscnn=250k,resnet8=1M]

Both take turns in one run, and medians are compared: the machine's noise meets both alike. Times are those of
the processor.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch
from bench_product import planted, seconds
from results import table, write_results
from torch import fx, nn

from edgegrow.config import TrainConfig
from edgegrow.cost.layers import count_macs
from edgegrow.data import load_dataset
from edgegrow.data.dataset import Dataset, Split
from edgegrow.growth.groups import NetworkTrace
from edgegrow.measure.identity import host_identity
from edgegrow.training import batches_of, deterministic, evaluate, generator, make_optimizer, train

STEPS, SAMPLES, TURNS = 20, 2000, 9

HEADER = "network", "work", "as it comes", "channels last", "ratio"


def plain(graph: fx.GraphModule) -> nn.Module:
    """Hide that a network is traced: it gets images as they come."""
    return nn.Sequential(graph)


def works_of(trace: NetworkTrace, data: Dataset) -> dict[str, tuple[float, float]]:
    """Time ``{work: (as it comes, channels last)}`` in s: training steps, and evaluation of samples."""
    config = TrainConfig()
    drawn = batches_of(data, config).draw(generator(0))
    some = Split(data.validation.x[:SAMPLES], data.validation.y[:SAMPLES])

    def training(model: nn.Module) -> None:
        optimizer = make_optimizer(model, config.lr, config.momentum, config.weight_decay)
        train(model, optimizer, drawn, lambda step: config.lr, range(STEPS))

    def evaluation(model: nn.Module) -> None:
        evaluate(model, some)

    models = plain(trace.graph), trace.graph
    found = {}
    for name, work in ((f"{STEPS} training steps", training), (f"{SAMPLES:,} samples evaluated", evaluation)):
        for model in models:
            work(model)
        turns = [
            [seconds(lambda model=model, work=work: work(model)) for model in models] for _ in range(TURNS)
        ]
        before, after = map(median, zip(*turns, strict=True))
        found[name] = before, after
    return found


def main() -> None:
    """Measure, and write the results down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument(
        "--nets", default="dscnn=60k,dscnn=250k,resnet8=1M", help="each with its multiply-accumulates"
    )
    options = parser.parse_args()
    deterministic(threads=1)
    data = load_dataset(options.data)
    machine = host_identity("torch", torch.__version__.split("+")[0], None, 1)
    figures, rows = [], []
    for item in options.nets.split(","):
        net, _, limit = item.partition("=")
        trace = planted(net, limit, data)
        macs = count_macs(trace.shapes(trace.widths()))
        for work, (before, after) in works_of(trace, data).items():
            figures.append(
                {"net": net, "macs": macs, "work": work, "plain_s": before, "channels_last_s": after}
            )
            rows.append(
                (f"{net}, {macs:,} MACs", work, f"{1e3 * before:.0f} ms", f"{1e3 * after:.0f} ms",
                 f"{before / after:.2f}")
            )  # fmt: skip
    write_results(
        "memory-format",
        {
            "settings": vars(options),
            "identity": machine.model_dump(exclude_none=True),
            "evidence": "measured",
            "figures": figures,
        },
        [
            f"# Channels last in memory, on {data.name}",
            "",
            f"Command: `python scripts/bench_memory_format.py --data {options.data} --nets {options.nets}`.",
            f"Measured with {machine.runtime} {machine.version}, {machine.cpu}, 1 thread: the processor's",
            f"time, medians of {TURNS} turns in one run; batches of {TrainConfig().batch_size} in training.",
            "",
            *table(HEADER, rows),
        ],
    )


if __name__ == "__main__":
    main()
