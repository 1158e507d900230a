"""The hard look at blocks: few samples, all epochs; it tells what overfits from what helps."""

import torch
from torch import nn

from edgegrow.config import GrowConfig, TrainConfig
from edgegrow.data.dataset import Dataset, Split
from edgegrow.growth.groups import trace
from edgegrow.growth.grow import Grower
from edgegrow.growth.probe import count_of
from edgegrow.growth.progress import Progress
from edgegrow.growth.seed import plant_seed
from edgegrow.growth.vetting import Vetting
from edgegrow.nets import load_net

from .test_grow import Notes, pricing


class Told:
    """In place of the hard look: accuracies without and with a block, and how often it was asked."""

    holds = Vetting.holds

    def __init__(self, data, without, with_):
        self.data, self.answers, self.asked = data, [without, with_], 0

    def accuracy(self, trace, on_step):
        self.asked += 1
        on_step(1, 1, 0.0)
        return self.answers[(self.asked - 1) % 2], 1e9


def grown(digits, vetting):
    """Grow where weights for positions are far ahead after short trainings."""
    limits, config = {"macs": 20e3}, GrowConfig(moves=("split", "weigh"), samples=64, steps=3, interval=0.05)
    planted = plant_seed(load_net("dscnn"), digits.input_shape, 10, pricing("macs")(()), limits, 0.4, 0)
    notes, progress = Notes(), Progress()
    grower = Grower(planted, digits, pricing("macs"), limits, TrainConfig(epochs=100.0), config, 0, notes)
    if vetting is not None:
        grower.vetting = vetting
    grower.grow(progress)
    return progress, notes


def test_a_block_that_holds_is_inserted_and_one_that_does_not_is_never_tried_again(digits):
    held, refused = Told(digits, 0.6, 0.6), Told(digits, 0.6, 0.5)
    progress, notes = grown(digits, held)
    assert [record["form"] for record in progress.insertions] == ["global"]
    assert [step["allocation"] for step in notes.of("growth")].count("weigh") == 1
    assert held.asked == 2
    spent = progress.macs_trained
    progress, notes = grown(digits, refused)
    assert not progress.insertions
    assert refused.asked == 2
    ((name, vetted),) = progress.vetted.items()
    assert name.startswith("global")
    assert (vetted["without"], vetted["with"]) == (0.6, 0.5)
    tried = ["weigh" in {o["allocation"] for o in step["options"]} for step in notes.of("growth")]
    assert tried == [number <= vetted["step"] for number in (1, 2, 3)]
    assert vetted["step"] < 3
    assert min(spent, progress.macs_trained) > 2e9  # the look is counted


def test_the_look_is_repeatable_and_decides(digits):
    progress, _ = grown(digits, None)
    again, _ = grown(digits, None)
    assert progress.vetted == again.vetted
    assert progress.macs_trained == again.macs_trained
    ((_, vetted),) = progress.vetted.items()
    assert 0.5 < vetted["without"] < 1
    assert bool(progress.insertions) == (vetted["with"] >= vetted["without"] - 0.02)


def test_what_learns_places_by_heart_is_behind():
    """A pattern may be anywhere in a signal: weights for its positions fit few samples of it alone."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (1500,), generator=rng)
    x = 0.5 * torch.randn(1500, 1, 48, generator=rng)
    patterns = torch.tensor([[-1.0, 1, 1, -1, -1], [1.0, 1, -1, -1, 1]])
    for sample, label, at in zip(x, y, torch.randint(0, 43, (1500,), generator=rng).tolist(), strict=True):
        sample[0, at : at + 5] += patterns[label]
    parts = (slice(600), slice(600, 1100), slice(1100, 1500))
    splits = [Split(x[part].numpy(), y[part].numpy()) for part in parts]
    vetting = Vetting(Dataset("moving", *splits, ("a", "b"), False, ""), TrainConfig(epochs=100.0), 0)
    accuracies = []
    whole = [nn.Conv1d(8, 8, 44, groups=8, bias=False), nn.BatchNorm1d(8)]
    for pool in ([nn.AdaptiveAvgPool1d(1)], whole):
        head = (*pool, nn.Flatten(), nn.Linear(8, 2))
        network = trace(nn.Sequential(nn.Conv1d(1, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), *head), (1, 48))
        accuracy, macs = vetting.accuracy(network, lambda *step: None)
        assert macs == 3 * count_of(network) * vetting.batches.size * 100 * vetting.batches.steps_per_epoch
        accuracies.append(accuracy)
    assert accuracies[0] > accuracies[1] + 0.05
    assert not vetting.holds(*accuracies)
    assert vetting.holds(0.8, 0.78)
    assert not vetting.holds(0.8, 0.76)


def test_a_part_has_enough_steps_and_is_the_seeds(digits):
    config = TrainConfig(epochs=100.0)
    batches = Vetting(digits, config, 3).batches
    assert len(batches.split) == round(600 * 64 / 100)
    assert 100 * batches.steps_per_epoch >= 0.9 * 600 * len(batches.split) / (64 * batches.steps_per_epoch)
    same, other = Vetting(digits, config, 3).batches, Vetting(digits, config, 4).batches
    assert (batches.split.x == same.split.x).all()
    assert not (batches.split.x == other.split.x).all()
    few = Vetting(digits, TrainConfig(epochs=1.0), 3).batches
    assert len(few.split) == len(digits.train) // 2
