"""What scoring costs: one growth step's splitting matrices against training, taken in one run.

    python scripts/bench_splitting.py [--data fashion-mnist] [--net dscnn] [--macs 250000]

The network is trained for one epoch first, so that its gradients are those of a network that learns. Then
slices of training and scorings at the default settings take turns, and medians are compared: the machine's
noise meets both alike. Then every training sample is scored once, for the same ratio, and for how far the
ranking of the channels that growth chooses by agrees with the one from the default sample. Last, one product
is held against one training step on the same batch, as `bench_product.py` does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from bench_product import BATCHES, HEADER, product_costs, rows_of
from results import table, write_results
from scipy.stats import spearmanr

from edgegrow.config import GrowConfig, TrainConfig
from edgegrow.cost.layers import count_macs
from edgegrow.data import load_dataset
from edgegrow.data.dataset import Split
from edgegrow.growth.menu import Candidate
from edgegrow.growth.moves import Move
from edgegrow.growth.scoring import MOST_SAMPLES, score
from edgegrow.growth.seed import plant_seed
from edgegrow.growth.select import select
from edgegrow.measure.identity import host_identity
from edgegrow.nets import load_net
from edgegrow.training import Batches, deterministic, generator, make_optimizer, train

TRAINING_STEPS = 150
TURNS = 5


def seconds(work: Callable[[], object]) -> float:
    """Time some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def gains(moves: Sequence[Move]) -> np.ndarray:
    """Gain of every move that was offered: the same moves in the same order each time."""
    return np.array([move.gain for move in moves])


def main() -> None:
    """Measure, and write the results down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--net", default="dscnn")
    parser.add_argument("--macs", type=float, default=250_000)
    options = parser.parse_args()
    deterministic(threads=1)
    data, growing, training = load_dataset(options.data), GrowConfig(), TrainConfig()

    def costs(layers):  # type: ignore[no-untyped-def]
        return {"macs": count_macs(layers)}

    trace = plant_seed(
        load_net(options.net),
        data.input_shape,
        data.classes,
        costs,
        {"macs": options.macs},
        growing.seed_fraction,
        0,
    )
    macs = count_macs(trace.shapes(trace.widths()))
    optimizer = make_optimizer(trace.graph, training.lr, training.momentum, training.weight_decay)
    batches = Batches(data.train, training.batch_size)
    drawn = batches.draw(generator(0))

    def learn(steps: int, lr: float = training.lr) -> None:
        train(trace.graph, optimizer, drawn, lambda step: lr, range(steps))

    learn(batches.steps_per_epoch)
    order = torch.randperm(len(data.train), generator=generator(1)).numpy()
    chosen_samples = order[:MOST_SAMPLES]
    sample = Split(data.train.x[chosen_samples], data.train.y[chosen_samples])

    def scored(split: Split, key: int) -> list[Move]:
        return score(trace, split, growing, generator(2, key))[0]

    slices = batches.steps_per_epoch / TRAINING_STEPS
    epochs, scorings = [], []
    for turn in range(TURNS):
        epochs.append(slices * seconds(lambda: learn(TRAINING_STEPS, lr=0.0)))
        scorings.append(seconds(lambda turn=turn: scored(sample, turn)))
    on_sample = scored(sample, 0)
    again = scored(sample, 1)
    started = time.perf_counter()
    on_everything = scored(data.train, 0)
    full_seconds = time.perf_counter() - started

    limits = {"macs": macs * (1 / growing.seed_fraction) ** (1 / growing.steps)}

    def chosen(moves: Sequence[Move]) -> set[object]:
        candidates = [Candidate(move.group, move.gain, key=place) for place, move in enumerate(moves)]
        return {c.key for c in select(trace.widths(), trace.shapes, candidates, costs, limits).chosen}

    agreement = float(spearmanr(gains(on_sample), gains(on_everything)).statistic)
    repeated = float(spearmanr(gains(on_sample), gains(again)).statistic)
    picks, full_picks = chosen(on_sample), chosen(on_everything)
    epoch, scoring = median(epochs), median(scorings)
    figures = {
        "epoch_s": epoch,
        "scoring_s": scoring,
        "scoring_per_epoch": scoring / epoch,
        "full_scoring_s": full_seconds,
        "full_scoring_per_epoch": full_seconds / epoch,
        "rank_agreement": agreement,
        "rank_agreement_of_starting_vectors": repeated,
        "same_choice": len(picks & full_picks) / len(full_picks),
        "channels": len(gains(on_sample)),
        "chosen": len(full_picks),
    }
    single = {batch: product_costs(trace, data, batch) for batch in BATCHES}
    machine = host_identity("torch", torch.__version__.split("+")[0], None, 1)
    widths = " ".join(map(str, trace.widths().values()))
    rows = [
        ("one epoch of training", f"{len(data.train):,}", f"{epoch:.1f} s", "1"),
        ("scoring, default settings", f"{len(sample):,}", f"{scoring:.2f} s", f"{scoring / epoch:.3f}"),
        (
            "scoring, all training data",
            f"{len(data.train):,}",
            f"{full_seconds:.1f} s",
            f"{full_seconds / epoch:.2f}",
        ),
    ]
    lines = [
        f"# Cost of scoring: {options.net} on {data.name}, {macs:,} MACs",
        "",
        f"Command: `python scripts/bench_splitting.py --data {options.data} --net {options.net} "
        f"--macs {options.macs:.0f}`; widths {widths}.",
        f"Measured with {machine.runtime} {machine.version}, {machine.cpu}, 1 thread; medians of {TURNS}",
        f"turns in one run; an epoch is {batches.steps_per_epoch} steps, {TRAINING_STEPS} of them timed",
        f"each turn. Scoring: {growing.products} Lanczos products for every channel at once.",
        "",
        *table(("work", "samples", "time", "of an epoch"), rows),
        "",
        f"Rank agreement (Spearman) of the gains of all {figures['channels']} channels, default sample",
        f"against all data: {agreement:.3f} (between two draws of the starting vectors on one sample:",
        f"{repeated:.3f}). Of the {figures['chosen']} splits that all data would choose, the sample chooses",
        f"{100 * figures['same_choice']:.0f} %.",
        "",
        "One product for all channels against one training step on the same batch, in the processor's time:",
        "",
        *table(HEADER, rows_of(single)),
    ]
    identity = machine.model_dump(exclude_none=True)
    settings = {**vars(options), "samples": MOST_SAMPLES, "products": growing.products}
    write_results(
        f"splitting-cost-{options.net}-{data.name}",
        {
            "settings": settings,
            "identity": identity,
            "evidence": "measured",
            "figures": {**figures, "products": single},
        },
        lines,
    )


if __name__ == "__main__":
    main()
