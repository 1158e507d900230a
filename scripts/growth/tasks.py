"""The tasks that growing is judged on, and the arms that compete on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEYWORDS = "keywords"
"""Data of the task whose ``.npz`` file is given by path."""


@dataclass(frozen=True)
class Task:
    """Data, a network, and a budget on a target; and epochs, where edgegrow's own would take too long."""

    data: str
    net: str
    budget: str
    target: str = "host"
    epochs: float | None = None

    def settings(self, seed: int, epochs: float | None) -> dict[str, Any]:
        """Return what it sets of a configuration, ``{section.key: value}``, but for the budget."""
        return {
            "data.name": self.data,
            "net.name": self.net,
            "target": self.target,
            "seed": seed,
            "train.epochs": epochs or self.epochs,
        }


TASKS = {
    "fashion-mnist-dscnn-250k": Task("fashion-mnist", "dscnn", "macs=250k"),
    "fashion-mnist-dscnn-60k": Task("fashion-mnist", "dscnn", "macs=60k"),
    "fashion-mnist-resnet8-1M": Task("fashion-mnist", "resnet8", "macs=1M", epochs=10),
    "mnist1d-conv1d-16k": Task("mnist1d", "conv1d", "macs=16k"),
    "mnist1d-conv1d-4k": Task("mnist1d", "conv1d", "macs=4k"),
    "keywords-dscnn-500k": Task(KEYWORDS, "dscnn", "macs=500k"),
    "fashion-mnist-dscnn-20ms": Task("fashion-mnist", "dscnn", "latency=20ms", "nucleo-l4r5zi", 10),
    # Networks of 15.7k to 18k MACs: in steps of four and sixteen channels, wider ones take no longer.
    "mnist1d-conv1d-410us": Task("mnist1d", "conv1d", "latency=410us", "nucleo-l4r5zi"),
}
"""Those of the table, by name."""

SMOKE = {"digits-mlp-5k": Task("digits", "mlp", "macs=5k")}
"""Not part of the table: to try the runner on in seconds."""


@dataclass(frozen=True)
class Arm:
    """One way to a network within the budget.

    Attributes
    ----------
    kind : str
        ``grow``, ``scratch``, ``grown-scratch``, ``large`` or ``prune``; see `growth.cells`.
    settings : mapping
        Of the configuration, ``{section.key: value}``, beside the task's.
    needs : tuple of str
        Arms whose cell of the same task and seed comes first.
    criterion : str
        What is pruned by.
    large : float
        Training of the large network that is pruned, in units of all of the final network's own. By the
        classical recipe the large one has as many epochs as the final one, four times its training.
    times : float
        Training in units of the default's: pruning takes twice as much.
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    criterion: str = ""
    large: float = 1.0
    times: float = 1.0


def _moves(name: str) -> Arm:
    return Arm("grow", {"grow.moves": (name,)})


DEFAULT, TWICE = "default", "default-twice"

ARMS = {
    DEFAULT: Arm("grow"),
    "scratch": Arm("scratch", needs=(DEFAULT,)),
    "grown-scratch": Arm("grown-scratch", needs=(DEFAULT,)),
    TWICE: Arm("grow", times=2.0),
    "scratch-twice": Arm("scratch", needs=(DEFAULT,), times=2.0),
    "large": Arm("large"),
    "prune-l1": Arm("prune", needs=("large",), criterion="l1"),
    "prune-bn": Arm("prune", criterion="bn"),
    "prune-taylor": Arm("prune", needs=("large",), criterion="taylor"),
    "proportional": Arm("grow", {"grow.allocations": ("proportional",), "grow.moves": ("widen",)}),
    "inherited": Arm("grow", {"grow.weights": "inherited"}),
    "split": _moves("split"),
    "signed": _moves("signed"),
    "new": _moves("new"),
    "gradmax": _moves("gradmax"),
    "firefly": _moves("firefly"),
    "deepen": _moves("deepen"),
    "weigh": _moves("weigh"),
    "trim": _moves("trim"),
    "large-whole": Arm("large", large=4.0),
    "prune-l1-whole": Arm("prune", needs=("large-whole",), criterion="l1", large=4.0),
}
"""All arms. ``large`` is the network of four times the budget that pruning starts from. It is given as much
training as the final network is afterwards, so that pruning takes twice the default's; in the ``whole`` arms
it is given four times as much, as many epochs as the final network. The ``twice`` arms have pruning's
training."""

PRUNING = tuple(name for name, arm in ARMS.items() if arm.kind == "prune")
