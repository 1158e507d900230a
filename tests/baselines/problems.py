"""Problems for the baselines' tests, on digits."""

from dataclasses import replace

from edgegrow.baselines.problem import Problem
from edgegrow.config import TrainConfig
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.data.dataset import Split
from edgegrow.nets import load_net


def costs(layers):
    return {"macs": float(count_macs(layers)), "params": float(count_params(layers))}


def signals(data):
    """Digits as signals ``(1, 64)``, row after row."""
    parts = {key: getattr(data, key) for key in ("train", "validation", "test")}
    return replace(data, **{key: Split(part.x.reshape(-1, 1, 64), part.y) for key, part in parts.items()})


def problem(data, net, limits, epochs=1.0, seed=0, **training):
    data = signals(data) if net == "conv1d" else data
    return Problem(load_net(net), data, costs, limits, TrainConfig(epochs=epochs, **training), seed)
