"""One product with every splitting matrix, against one training step on the same batch.

    python scripts/bench_product.py [--data fashion-mnist] [--nets dscnn=250k,resnet8=1M]

Products and steps (forward, backward, optimiser) take turns in one run, and medians are compared: the
machine's noise meets both alike. Times are those of the processor. Multiply-accumulates are counted where
PyTorch dispatches them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from statistics import median

import torch
from results import table, write_results

from edgegrow.config import TrainConfig
from edgegrow.cost.dispatched import DispatchedMacs
from edgegrow.cost.layers import count_macs
from edgegrow.data import load_dataset
from edgegrow.data.dataset import Dataset
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.seed import plant_seed
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.measure.identity import host_identity
from edgegrow.nets import load_net
from edgegrow.training import Batches, deterministic, generator, make_optimizer, train
from edgegrow.units import parse_quantity

BATCHES = 64, 256
TURNS = 15


def seconds(work: Callable[[], object]) -> float:
    """Time some work, in the processor's seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


def planted(net: str, macs: str, data: Dataset) -> NetworkTrace:
    """Build an untrained network of uniform widths within multiply-accumulates such as ``250k``."""
    return plant_seed(
        load_net(net),
        data.input_shape,
        data.classes,
        lambda layers: {"macs": count_macs(layers)},
        {"macs": parse_quantity("macs", macs)},
        1.0,
        0,
    )


def counted(work: Callable[[], object]) -> int:
    """Multiply-accumulates of some work."""
    with DispatchedMacs() as counter:
        work()
    return counter.macs


def product_costs(trace: NetworkTrace, data: Dataset, batch: int) -> dict[str, float]:
    """Time and count a product and a training step of a network on one batch.

    Parameters
    ----------
    trace : NetworkTrace
        The network; it is left as it is.
    data : Dataset
        Gives the batch.
    batch : int
        Samples.

    Returns
    -------
    dict
        Medians in s, multiply-accumulates, and the ratios of both.
    """
    training = TrainConfig()
    # Steps change weights in place, which graphs that are kept forbid, be the rate 0.
    trained = deepcopy(trace.graph)
    optimizer = make_optimizer(trained, training.lr, training.momentum, training.weight_decay)
    drawn = Batches(data.train, batch).draw(generator(0))
    x, y = next(drawn)

    def step() -> None:
        train(trained, optimizer, iter([(x, y)]), lambda _: 0.0, range(1))

    operator = SplittingOperator(trace, [(x, y)])
    rng = generator(1)
    vectors = [torch.randn(block.shape, generator=rng) for block in operator.blocks]

    def product() -> None:
        operator(vectors)

    found = {"step_macs": float(counted(step)), "product_macs": float(counted(product))}
    steps, products = zip(*((seconds(step), seconds(product)) for _ in range(TURNS)), strict=True)
    found |= {"step_s": median(steps), "product_s": median(products)}
    found["time_ratio"] = found["product_s"] / found["step_s"]
    found["macs_ratio"] = found["product_macs"] / found["step_macs"]
    return found


def rows_of(figures: dict[int, dict[str, float]]) -> list[tuple[str, ...]]:
    """Lines of `HEADER` for each batch."""
    return [
        (
            str(batch),
            f"{1e3 * found['step_s']:.1f} ms",
            f"{1e3 * found['product_s']:.1f} ms",
            f"{found['time_ratio']:.2f}",
            f"{found['macs_ratio']:.2f}",
        )
        for batch, found in figures.items()
    ]


HEADER = "batch", "training step", "S v product", "ratio of times", "ratio of MACs"


def main() -> None:
    """Measure, and write the results down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--nets", default="dscnn=250k,resnet8=1M", help="each with its multiply-accumulates")
    options = parser.parse_args()
    deterministic(threads=1)
    data = load_dataset(options.data)
    machine = host_identity("torch", torch.__version__.split("+")[0], None, 1)
    figures: dict[str, object] = {}
    lines = [
        f"# One product with all splitting matrices, on {data.name}",
        "",
        f"Command: `python scripts/bench_product.py --data {options.data} --nets {options.nets}`.",
        f"Measured with {machine.runtime} {machine.version}, {machine.cpu}, 1 thread: the processor's time,",
        f"medians of {TURNS} turns in one run, against forward, backward and optimiser on the same batch.",
        "Multiply-accumulates are counted where PyTorch dispatches them.",
    ]
    for item in options.nets.split(","):
        net, _, limit = item.partition("=")
        trace = planted(net, limit, data)
        found = {batch: product_costs(trace, data, batch) for batch in BATCHES}
        macs = count_macs(trace.shapes(trace.widths()))
        widths = " ".join(map(str, trace.widths().values()))
        figures[net] = {"macs": macs, "widths": trace.widths(), "batches": found}
        lines += ["", f"{net}, {macs:,} MACs, widths {widths}:", "", *table(HEADER, rows_of(found))]
    write_results(
        "splitting-product",
        {
            "settings": vars(options),
            "identity": machine.model_dump(exclude_none=True),
            "evidence": "measured",
            "figures": figures,
        },
        lines,
    )


if __name__ == "__main__":
    main()
