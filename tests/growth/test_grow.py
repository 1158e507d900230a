"""The growth loop on real digits: budgets kept and filled, every step recorded, the training it was given."""

import pytest
from torch import nn

from edgegrow.config import GrowConfig, TrainConfig
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.grow import Grower, Progress
from edgegrow.growth.seed import plant_seed
from edgegrow.nets import SeedNetwork, load_net
from edgegrow.training import evaluate


class Notes:
    def __init__(self):
        self.events, self.checkpoints, self.warnings = [], 0, []

    def record(self, event, values):
        self.events.append({"event": event, **values})

    def checkpoint(self, progress, trace, optimizer):
        self.checkpoints += 1

    def step(self, stage, step, steps, loss):
        pass

    def warn(self, line):
        self.warnings.append(line)

    def of(self, event):
        return [values for values in self.events if values["event"] == event]


def costs(layers):
    return {"macs": count_macs(layers), "params": count_params(layers)}


def grow(net, digits, limits, epochs=4.0, **options):
    def within(layers):
        return {metric: costs(layers)[metric] for metric in limits}

    config = GrowConfig(samples=128, **options)
    planted = plant_seed(net, digits.input_shape, 10, within, limits, config.seed_fraction, 0)
    notes = Notes()
    grower = Grower(planted, digits, within, limits, TrainConfig(epochs=epochs), config, 0, notes)
    return grower, grower.run(Progress()), notes


@pytest.mark.parametrize("limits", [{"macs": 40e3}, {"params": 2e3}, {"macs": 60e3, "params": 1e3}],
                         ids=lambda limits: "+".join(limits))  # fmt: skip
def test_every_growth_step_keeps_the_budget_and_the_last_fills_it(digits, limits):
    grower, _, notes = grow(load_net("dscnn"), digits, limits)
    steps = notes.of("growth")
    assert len(steps) == 4
    used = [max(step["costs"][metric] / limits[metric] for metric in limits) for step in steps]
    assert used == sorted(used)
    assert 0.95 <= used[-1] <= 1
    assert costs(grower.trace.shapes(grower.trace.widths())).items() >= steps[-1]["costs"].items()


def test_what_a_step_records_is_what_happened(digits):
    _, _, notes = grow(load_net("mlp"), digits, {"macs": 8e3}, epochs=30.0)
    for step in notes.of("growth"):
        assert step["realised_loss_change"] == step["loss_after"] - step["loss_before"]
        grown = {name: step["widths"][name] - n for name, n in step["widths_before"].items()}
        assert {name: n for name, n in grown.items() if n} == step["splits"]
        chosen = [sorted(step["lowest_eigenvalues"][name])[:n] for name, n in step["splits"].items()]
        predicted = 0.5 * step["step_size"] ** 2 * sum(sum(values) for values in chosen)
        assert step["predicted_loss_change"] == pytest.approx(predicted, rel=1e-4)
    changes = [step["realised_loss_change"] for step in notes.of("growth")]
    assert sum(changes) < 0


def test_training_costs_what_was_asked_for_with_growth_and_scoring(digits):
    grower, progress, notes = grow(load_net("dscnn"), digits, {"macs": 40e3}, epochs=12.0)
    assert progress.macs_trained <= 12 * grower.epoch_macs
    one_step = grower.epoch_macs / grower.batches.steps_per_epoch
    assert progress.macs_trained > 12 * grower.epoch_macs - 1.01 * one_step
    scoring = sum(step["scoring_macs"] for step in notes.of("growth"))
    assert 0 < scoring < progress.macs_trained / 2
    assert notes.checkpoints == 1 + 4 + len([e for e in notes.of("epoch") if e["stage"] == "anneal"])


def small(shape, classes):
    """A user's own network: one size only, thin enough that four doublings would not fill the budget."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(),
        nn.Conv2d(2, 2, 3, padding=1, stride=2), nn.BatchNorm2d(2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, classes),
    )  # fmt: skip


def test_a_small_network_of_one_size_grows_by_further_steps_until_the_budget_is_filled(digits):
    limits = {"macs": 100e3}
    _, _, notes = grow(SeedNetwork("small", small, None), digits, limits, steps=2)
    steps = notes.of("growth")
    assert len(steps) > 2
    assert 0.95 * 100e3 <= steps[-1]["costs"]["macs"] <= 100e3
    assert all(step["splits"] for step in steps)


def test_a_budget_that_no_further_channel_fits_ends_growth(digits):
    """One channel more costs a tenth of this network: 95 % cannot be reached, and nobody waits for it."""
    net = SeedNetwork("small", small, None)
    _, _, notes = grow(net, digits, {"macs": 2.9e3}, epochs=2.0, steps=1)
    assert notes.of("growth")[-1]["costs"]["macs"] <= 2.9e3


def test_a_grown_network_learns(digits):
    grower, _, notes = grow(load_net("dscnn"), digits, {"macs": 60e3}, epochs=12.0)
    losses = [epoch["validation_loss"] for epoch in notes.of("epoch")]
    assert losses[-1] < 0.2 < losses[0]
    assert evaluate(grower.trace.graph, digits.validation)[1] > 0.9
