"""What a growth shows of itself while it goes on."""

import pytest

from edgegrow.budget import Budget
from edgegrow.config import RunConfig
from edgegrow.journal import Journal
from edgegrow.listener import Silent
from edgegrow.run import RunFolder


class Shown(Silent):
    def __init__(self):
        self.figures, self.warnings = [], []

    def warn(self, line):
        self.warnings.append(line)

    def step(self, stage, step, steps, figures):
        self.figures.append(figures)


@pytest.mark.parametrize("another", ["grow 1, weigh, few samples with", "grow 1, weigh", "anneal"])
def test_an_accuracy_is_shown_beside_the_training_of_its_own_network_alone(another, tmp_path):
    shown = Shown()
    journal = Journal(RunFolder.create(tmp_path / "run", RunConfig(budget=Budget(macs=1e3)), {}), shown)
    journal.step("grow 1, gain", 15, 30, 2.25)
    epoch = {"steps": 16, "lr": 0.1, "train_loss": 2.3, "validation_loss": 2.2, "validation_accuracy": 0.345}
    journal.record("epoch", {"stage": "grow 1, gain", **epoch})
    journal.step("grow 1, gain", 20, 30, 2.125)
    journal.step(another, 1, 30, 2.5)
    assert shown.figures == ["loss 2.2500", "loss 2.1250, last validation 34.50 %", "loss 2.5000"]


def test_a_doubt_is_said_once(tmp_path):
    shown = Shown()
    journal = Journal(RunFolder.create(tmp_path / "run", RunConfig(budget=Budget(macs=1e3)), {}), shown)
    for line in ("weigh is not taken", "deepen is not taken", "weigh is not taken"):
        journal.warn(line)
    assert shown.warnings == ["weigh is not taken", "deepen is not taken"]
