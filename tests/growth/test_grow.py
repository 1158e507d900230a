"""The growth loop on real digits: budgets kept and filled, every step recorded, the training it was given."""

from math import cos, pi

import pytest
import torch
from torch import nn

from edgegrow.config import GrowConfig, TrainConfig
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.grow import Grower
from edgegrow.growth.progress import Progress
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
    training = TrainConfig(epochs=epochs)
    grower = Grower(planted, digits, lambda insertions: within, limits, training, config, 0, notes)
    return grower, grower.run(Progress()), notes


class Dearer:
    """Multiply-accumulates, of which every check finds more."""

    def __init__(self):
        self.factor = 1.0

    def __call__(self, layers):
        return {"macs": self.factor * count_macs(layers)}

    def check(self, layers):
        self.factor += 0.01
        return self(layers)

    def learnt(self):
        return {"factor": self.factor}

    def recall(self, learnt):
        self.factor = learnt.get("factor", 1.0)


def test_what_checks_have_taught_is_kept_and_taken_up_again(digits):
    config, limits, training = GrowConfig(samples=128), {"macs": 8e3}, TrainConfig(epochs=1.0)
    planted = plant_seed(load_net("mlp"), digits.input_shape, 10, Dearer(), limits, config.seed_fraction, 0)
    first, second = Dearer(), Dearer()
    progress = Grower(planted, digits, lambda insertions: first, limits, training, config, 0, Notes()).run(
        Progress()
    )
    assert progress.learnt == first.learnt() != Dearer().learnt()
    progress.grown = False
    Grower(planted, digits, lambda insertions: second, limits, training, config, 0, Notes()).run(progress)
    assert second.learnt() == first.learnt()


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
    assert notes.warnings == []


def test_nothing_longer_than_an_epoch_lies_between_two_checkpoints(digits):
    grower, _, notes = grow(load_net("mlp"), digits, {"macs": 5e3}, epochs=60.0, interval=0.05)
    epochs = notes.of("epoch")
    assert len([epoch for epoch in epochs if epoch["stage"].startswith("grow 1/")]) == 3
    assert max(epoch["steps"] for epoch in epochs) == grower.batches.steps_per_epoch
    assert notes.checkpoints == 1 + 4 + len(epochs)


def test_filters_have_their_first_norm_after_every_growth_step(digits):
    _, _, notes = grow(load_net("dscnn"), digits, {"macs": 40e3})
    assert len(notes.norm_errors) == 4 * 9  # the stem and four blocks of two layers with a norm
    assert max(notes.norm_errors) < 1e-4


def test_the_rate_is_constant_while_growing_and_falls_along_a_cosine_after(digits):
    _, progress, notes = grow(load_net("mlp"), digits, {"macs": 5e3}, epochs=20.0)
    rates = {stage: [e["lr"] for e in notes.of("epoch") if e["stage"].startswith(stage)]
             for stage in ("grow", "anneal")}  # fmt: skip
    assert set(rates["grow"]) == {0.1}
    per_epoch = notes.of("epoch")[-2]["steps"]
    steps = [per_epoch * number for number in range(len(rates["anneal"]))]
    expected = [0.05 * (1 + cos(pi * step / progress.anneal_total)) for step in steps]
    assert rates["anneal"] == pytest.approx(expected)


def test_growth_that_eats_the_training_is_warned_about(digits):
    _, _, notes = grow(load_net("mlp"), digits, {"macs": 5e3}, epochs=1.0)
    (warning,) = notes.warnings
    assert "give more --epochs" in warning


def with_dropout(shape, classes):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 8), nn.ReLU(),
        nn.Linear(8, classes),
    )  # fmt: skip


def test_dropout_draws_from_the_seed(digits):
    ends = []
    for state in (1, 2):
        torch.manual_seed(state)
        grower, _, _ = grow(SeedNetwork("dropout", with_dropout, None), digits, {"macs": 3e3})
        ends.append([p.detach().clone() for p in grower.trace.graph.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


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
