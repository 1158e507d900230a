"""The growth loop on real digits: budgets kept and filled, every step recorded, the training it was given."""

from dataclasses import replace
from math import cos, isfinite, pi
from typing import get_args

import pytest
import torch
from torch import nn

from edgegrow.config import GrowConfig, Kind, TrainConfig
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.data.dataset import Split
from edgegrow.errors import DivergedError
from edgegrow.growth.allocations import Allocator
from edgegrow.growth.filter_norms import filter_norms
from edgegrow.growth.grow import Grower
from edgegrow.growth.moves import BLOCKS, KINDS, REFERENCE_STEP, Context, offer
from edgegrow.growth.probe import count_of, take
from edgegrow.growth.progress import Progress
from edgegrow.growth.scoring import FEWEST_SAMPLES, MOST_SAMPLES, score, subsets
from edgegrow.growth.seed import plant_seed
from edgegrow.nets import SeedNetwork, load_net
from edgegrow.training import evaluate, generator

from ..baselines.problems import problem


class Notes:
    def __init__(self):
        self.events, self.checkpoints, self.warnings = [], 0, []

    def record(self, event, values):
        self.events.append({"event": event, **values})

    def checkpoint(self, progress, trace, optimizer, others=()):
        self.checkpoints += 1

    def step(self, stage, step, steps, loss):
        pass

    def warn(self, line):
        self.warnings.append(line)

    def of(self, event):
        return [values for values in self.events if values["event"] == event]


def costs(layers):
    return {"macs": count_macs(layers), "params": count_params(layers)}


def pricing(*metrics):
    """Prices networks alike, however deep they are."""
    return lambda insertions: lambda layers: {metric: costs(layers)[metric] for metric in metrics}


def grow(net, digits, limits, epochs=4.0, **options):
    config = GrowConfig(**{"samples": 128, **options})
    priced = pricing(*limits)
    planted = plant_seed(net, digits.input_shape, 10, priced(()), limits, config.seed_fraction, 0)
    notes, training = Notes(), TrainConfig(epochs=epochs)
    grower = Grower(planted, digits, priced, limits, training, config, 0, notes)
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
    """That of the option which is taken, whatever was checked after it."""
    config, limits, training = GrowConfig(samples=128), {"macs": 8e3}, TrainConfig(epochs=1.0)
    planted = plant_seed(load_net("mlp"), digits.input_shape, 10, Dearer(), limits, config.seed_fraction, 0)
    first, second = Dearer(), Dearer()
    progress = Progress()
    Grower(planted, digits, lambda insertions: first, limits, training, config, 0, Notes()).grow(progress)
    assert progress.learnt == first.learnt() != Dearer().learnt()
    progress.grown = False
    again = Grower(planted, digits, lambda insertions: second, {"macs": 1.0}, training, config, 0, Notes())
    again.grow(progress)  # nothing is left to do: only what is known is taken up
    assert second.learnt() == first.learnt()


@pytest.mark.parametrize("limits", [{"macs": 40e3}, {"params": 2e3}, {"macs": 60e3, "params": 1e3}],
                         ids=lambda limits: "+".join(limits))  # fmt: skip
def test_every_growth_step_keeps_the_budget_and_the_last_fills_it(digits, limits):
    grower, _, notes = grow(load_net("dscnn"), digits, limits)
    steps = notes.of("growth")
    assert len(steps) == GrowConfig().steps
    used = [max(step["costs"][metric] / limits[metric] for metric in limits) for step in steps]
    assert used[0] <= GrowConfig().seed_fraction ** 0.5, "half of the way from the seed's, geometrically"
    assert 0.95 <= used[-1] <= 1
    assert costs(grower.trace.shapes(grower.trace.widths())).items() >= steps[-1]["costs"].items()


def test_what_a_step_records_is_what_happened(digits):
    _, _, notes = grow(load_net("mlp"), digits, {"macs": 8e3}, epochs=30.0, moves=("split",))
    for step in notes.of("growth"):
        assert step["realised_loss_change"] == step["loss_after"] - step["loss_before"]
        assert step["won_back"] == step["validation_loss_before"] - step["validation_loss"]
        grown = {name: step["widths"][name] - n for name, n in step["widths_before"].items()}
        assert {name: n for name, n in grown.items() if n} == step["channels"]
        assert step["kinds"] == {"split": sum(step["channels"].values())}
        chosen = [sorted(step["gains"][name])[-n:] for name, n in step["channels"].items()]
        predicted = -sum(sum(values) for values in chosen) * (step["step_size"] / REFERENCE_STEP) ** 2
        assert step["predicted_loss_change"] == pytest.approx(predicted, rel=1e-4)
    changes = [step["realised_loss_change"] for step in notes.of("growth")]
    assert sum(changes) < 0
    assert [step["fresh"] for step in notes.of("growth")] == [False, True]


def test_the_option_that_training_makes_most_of_is_taken(digits):
    """Whatever was promised, if by a clear margin; and a step's options differ in widths or in depth."""
    moves = ("split", "deepen", "weigh")
    _, _, notes = grow(load_net("dscnn"), digits, {"macs": 20e3}, epochs=6.0, steps=2, moves=moves)
    names = set()
    for step in notes.of("growth"):
        losses = {option["allocation"]: option["validation_loss"] for option in step["options"]}
        first = step["options"][0]["allocation"]
        vetted = [one for one in step["vetted"].values() if one["step"] == step["step"]]
        ranked = sorted(losses, key=losses.__getitem__)
        refused = sum(not one["holds"] for one in vetted)
        assert set(ranked[:refused]) <= {"deepen", "weigh"}
        best = ranked[refused]
        assert step["allocation"] == (best if losses[best] <= 0.98 * losses[first] else first)
        assert step["validation_loss"] == losses[step["allocation"]]
        shapes = {(option["blocks"], *option["widths"].values()) for option in step["options"]}
        assert len(shapes) == len(step["options"]) == len(losses)
        assert all(
            option["validation_loss_before"] == step["validation_loss_before"] for option in step["options"]
        )
        names |= set(losses)
    assert names == {"proportional", "gain", "deepen", "weigh"}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_scoring_takes_a_twentieth_of_all_training_whatever_the_kind(digits, kind):
    """Where there are enough samples to choose fewer of them."""
    epochs, config = 200.0, GrowConfig(moves=(kind,))
    planted = plant_seed(load_net("mlp"), digits.input_shape, 10, pricing("macs")(()), {"macs": 6e3}, 0.4, 0)
    macs, training = 0.0, 3 * epochs * len(digits.train) * 6e3
    samples, _ = subsets(digits.train, config, epochs, 0, 1)
    _, context = score(planted, samples, config, generator(0))
    macs += context.macs
    assert macs <= 0.05 * training
    assert FEWEST_SAMPLES <= len(samples) <= MOST_SAMPLES


class Refusing(Dearer):
    """Finds everything that is deeper far too dear, which it has not predicted."""

    def __init__(self, deeper):
        super().__init__()
        self.deeper = deeper

    def check(self, layers):
        self.factor = 3.0 if self.deeper else 1.0
        return self(layers)


def test_a_block_that_the_target_refuses_is_not_inserted(digits):
    limits, config = {"macs": 8e3}, GrowConfig(samples=64, moves=("split", "deepen"))

    def priced(insertions):
        return Refusing(bool(insertions))

    planted = plant_seed(load_net("mlp"), digits.input_shape, 10, priced(()), limits, config.seed_fraction, 0)
    notes, progress = Notes(), Progress()
    Grower(planted, digits, priced, limits, TrainConfig(epochs=4.0), config, 0, notes).grow(progress)
    assert not progress.insertions
    assert {o["allocation"] for step in notes.of("growth") for o in step["options"]} <= {
        "proportional",
        "gain",
    }


def test_what_promises_no_number_is_left_out(digits):
    """Of a network that has gone astray: its derivatives overflow."""
    trace = problem(digits, "dscnn", {"macs": 1e6}).example
    with torch.no_grad():
        for parameter in trace.graph.parameters():
            parameter.mul_(1e8)
    samples = Split(digits.train.x[:64], digits.train.y[:64])
    batch = (torch.from_numpy(samples.x), torch.from_numpy(samples.y))
    offered = offer("new", Context(trace, [batch], generator(0), 4))
    assert not all(isfinite(move.gain) for move in offered)
    moves, _ = score(trace, samples, GrowConfig(moves=("new", "weigh")), generator(0))
    assert all(isfinite(move.gain) for move in moves)
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        score(trace, samples, GrowConfig(moves=("split",)), generator(0))


def test_filters_have_the_norm_of_fresh_ones_after_a_growth_step(digits):
    """Or the effective learning rate of grown layers would be a ninth of fresh ones'."""
    trace = problem(digits, "dscnn", {"macs": 1e6}).example
    norms = dict.fromkeys(filter_norms(trace), 2.0)
    samples = Split(digits.train.x[:64], digits.train.y[:64])
    moves, _ = score(trace, samples, GrowConfig(moves=("split",)), generator(0))
    allocator = Allocator(trace, (), moves, pricing("macs"), {"macs": 1.3 * count_of(trace)}, trace.widths())
    taken = take(allocator.proportional(), trace, samples, (0.1, 0.3), norms, generator(1))
    assert count_of(taken.trace) > count_of(trace)
    for name, norm in filter_norms(taken.trace).items():
        lengths = taken.trace.module(name).weight.detach().flatten(1).norm(dim=1)
        assert lengths.tolist() == pytest.approx([2.0] * len(lengths), rel=1e-4)
        assert norm == pytest.approx(taken.filter_norms[name], rel=1e-4)


def test_in_proportion_is_in_proportion(digits):
    net = load_net("dscnn")
    grower, progress, _ = grow(net, digits, {"macs": 100e3}, allocations=("proportional",), moves=("split",))
    own = progress.proportions.values()
    scales = [width / proper for width, proper in zip(grower.trace.widths().values(), own, strict=True)]
    assert max(scales) / min(scales) < 1.15
    assert not progress.insertions


def test_what_a_gain_has_chosen_is_kept_to_from_then_on(digits):
    grower, progress, _ = grow(
        load_net("mlp"), digits, {"macs": 5e3}, allocations=("gain",), moves=("split",)
    )
    assert progress.proportions == grower.trace.widths()


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_move_can_grow_a_network_alone(digits, kind):
    limits = {"macs": 12e3}
    grower, _, notes = grow(
        load_net("dscnn"), digits, limits, epochs=12.0, moves=(kind,), steps=2, samples=64
    )
    used = sum(step["kinds"].get(kind, 0) for step in notes.of("growth"))
    assert used > 0 or kind in BLOCKS  # a block is inserted only where it helps
    assert 0.95 * limits["macs"] <= grower.macs <= limits["macs"]
    losses = [epoch["validation_loss"] for epoch in notes.of("epoch")]
    assert losses[-1] < losses[0]
    blocks = [o for step in notes.of("growth") for o in step["options"] if o["allocation"] == kind]
    assert bool(blocks) == (kind in BLOCKS and kind != "trim")  # it has no kernel above three
    assert len(notes.of("growth")) == 2
    own = load_net("dscnn").widths
    scales = [width / proper for width, proper in zip(grower.trace.widths().values(), own, strict=True)]
    assert max(scales) / min(scales) < 3  # no kind leaves a group behind that it cannot widen


def test_the_kinds_that_a_configuration_names_are_those_there_are():
    assert set(get_args(Kind)) == set(KINDS)


def test_inserted_blocks_are_part_of_the_grown_network(digits):
    """A wide budget for a net of few layers: depth wins, and is trained, priced and kept."""
    net = SeedNetwork("small", small, None)
    grower, progress, notes = grow(
        net, digits, {"macs": 400e3}, epochs=40.0, steps=3, moves=("split", "deepen"), weights="inherited"
    )
    assert progress.insertions
    names = [layer.shape.name for layer in grower.trace.layers]
    assert sum(name.startswith("inserted") for name in names) >= len(progress.insertions)
    assert notes.of("growth")[-1]["costs"]["macs"] == count_macs(grower.trace.shapes(grower.trace.widths()))
    assert set(progress.filter_norms) >= {name for name in names if name.startswith("inserted")}


def test_training_costs_what_was_asked_for_with_growth_and_scoring(digits):
    grower, progress, notes = grow(load_net("mlp"), digits, {"macs": 5e3}, epochs=40.0, steps=2)
    assert progress.macs_trained <= 40 * grower.epoch_macs
    one_step = grower.epoch_macs / grower.batches.steps_per_epoch
    assert progress.macs_trained > 40 * grower.epoch_macs - 1.01 * one_step
    scoring = sum(step["scoring_macs"] for step in notes.of("growth"))
    assert 0 < scoring < progress.macs_trained / 2
    assert notes.warnings == []


def test_all_that_growing_computes_is_counted(digits):
    """Training, scoring and line searches, each by what it does; looking at validation samples is free."""
    planned = {"epochs": 10.0, "moves": ("split",), "interval": 0.1}
    grower, progress, notes = grow(load_net("mlp"), digits, {"macs": 5e3}, **planned)
    sizes, spent = {}, 0.0
    for step in notes.of("growth"):
        now = count_macs(grower.trace.shapes(step["widths_before"]))
        sizes.setdefault("seed", now)
        spent += step["scoring_macs"]
        for option in step["options"]:
            macs = count_macs(grower.trace.shapes(option["widths"]))
            sizes[f"grow {step['step']}, {option['allocation']}"] = macs
            spent += step["samples"] * (now + len(GrowConfig().step_sizes) * macs)
    sizes["anneal"] = grower.macs
    spent += sum(
        3 * sizes[epoch["stage"]] * grower.batches.size * epoch["steps"] for epoch in notes.of("epoch")
    )
    assert progress.macs_trained == spent


def test_samples_that_are_searched_are_not_those_scored(digits):
    """Or the line search would confirm what the scores have been fitted to."""
    numbered = Split(torch.arange(500.0)[:, None].numpy(), torch.zeros(500, dtype=torch.long).numpy())
    scored, searched = subsets(numbered, GrowConfig(samples=200), 1.0, 0, 1)
    assert len(scored) == len(searched) == 200
    assert not set(scored.x[:, 0]) & set(searched.x[:, 0])


def test_growing_never_sees_the_test_split(digits):
    unseen = replace(digits, test=None)
    grower, _, _ = grow(load_net("mlp"), unseen, {"macs": 5e3}, epochs=1.0)
    assert grower.macs <= 5e3


def test_nothing_longer_than_an_epoch_lies_between_two_checkpoints(digits):
    """While the seed is trained and at the end; of a growth step, one try."""
    grower, _, notes = grow(load_net("mlp"), digits, {"macs": 5e3}, epochs=60.0, interval=0.05)
    epochs = notes.of("epoch")
    assert len([epoch for epoch in epochs if epoch["stage"] == "seed"]) == 3
    assert max(epoch["steps"] for epoch in epochs) == grower.batches.steps_per_epoch
    tries = sum(len(step["options"]) for step in notes.of("growth"))
    others = [epoch for epoch in epochs if not epoch["stage"].startswith("grow ")]
    assert notes.checkpoints == 1 + len(others) + tries


def test_the_rate_falls_along_a_cosine_in_every_short_training_and_at_the_end(digits):
    options = {"epochs": 40.0, "interval": 0.06, "moves": ("split",)}
    _, progress, notes = grow(load_net("mlp"), digits, {"macs": 5e3}, **options)
    rates = {stage: [e["lr"] for e in notes.of("epoch") if e["stage"].startswith(stage)]
             for stage in ("seed", "grow 1, proportional", "anneal")}  # fmt: skip
    per_epoch = notes.of("epoch")[-2]["steps"]
    wait = round(0.06 * 40 * per_epoch)
    for stage, total in (("seed", wait), ("grow 1, proportional", wait), ("anneal", progress.anneal_total)):
        steps = [per_epoch * number for number in range(len(rates[stage]))]
        expected = [0.05 * (1 + cos(pi * step / total)) for step in steps]
        assert rates[stage] == pytest.approx(expected)


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
    _, _, notes = grow(SeedNetwork("small", small, None), digits, limits, steps=2, moves=("split",))
    steps = notes.of("growth")
    assert len(steps) > 2
    assert 0.95 * 100e3 <= steps[-1]["costs"]["macs"] <= 100e3
    assert all(step["channels"] for step in steps)


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
