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
from edgegrow.growth.vetting import Look, Vetting
from edgegrow.nets import SeedNetwork

from .test_grow import Notes, pricing


class Told:
    """In place of the hard look: what networks without and with a block reach, and how often it was asked."""

    holds = Vetting.holds

    def __init__(self, data, without, with_, price=1e8, losses=(1.0, 1.0)):
        self.data, self.answers, self.asked, self.price = data, [without, with_], 0, price
        self.losses = losses

    def look(self, trace, on_step):
        self.asked += 1
        on_step(1, 1, 0.0)
        number = (self.asked - 1) % 2
        return Look(self.answers[number], self.losses[number])

    def macs(self, trace):
        return self.price


def pooled(shape, classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes),
    )  # fmt: skip


def grown(digits, vetting):
    """Grow where weights for positions are far ahead after short trainings."""
    limits, config = {"macs": 20e3}, GrowConfig(moves=("split", "weigh"), samples=64, steps=3, interval=0.03)
    net = SeedNetwork("pooled", pooled, None)
    planted = plant_seed(net, digits.input_shape, 10, pricing("macs")(()), limits, 0.4, 0)
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
    progress, notes = grown(digits, refused)
    assert not progress.insertions
    assert refused.asked == 2
    ((name, vetted),) = progress.vetted.items()
    assert name.startswith("global")
    assert vetted["without"] == {"accuracy": 0.6, "loss": 1.0}
    assert vetted["with"] == {"accuracy": 0.5, "loss": 1.0}
    assert not vetted["holds"]
    tried = ["weigh" in {o["allocation"] for o in step["options"]} for step in notes.of("growth")]
    assert tried == [number <= vetted["step"] for number in (1, 2, 3)]
    assert vetted["step"] < 3
    dearer, _ = grown(digits, Told(digits, 0.6, 0.5, price=2e8))
    assert dearer.macs_trained == progress.macs_trained + 2e8  # two looks are counted


def test_no_look_is_taken_that_leaves_too_little_of_the_training(digits):
    dear = Told(digits, 0.6, 0.9, price=1e12)
    progress, notes = grown(digits, dear)
    assert dear.asked == 0
    assert not progress.insertions
    assert not progress.vetted
    assert any("weigh is not taken" in warning for warning in notes.warnings)


def test_the_look_decides(digits):
    progress, _ = grown(digits, None)
    ((_, vetted),) = progress.vetted.items()
    assert 0.3 < vetted["without"]["accuracy"] < 1
    looks = [Look(**vetted[name]) for name in ("without", "with")]
    assert (
        bool(progress.insertions)
        == vetted["holds"]
        == Vetting(digits, TrainConfig(), 0).holds(*looks, alike=True)
    )


def test_what_learns_places_by_heart_is_behind():
    """A pattern may be anywhere in a signal: weights for its positions fit few samples of it alone."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (2600,), generator=rng)
    x = 0.25 * torch.randn(2600, 1, 48, generator=rng)
    patterns = torch.tensor([[-1.0, 1, 1, -1, -1], [1.0, 1, -1, -1, 1]])
    for sample, label, at in zip(x, y, torch.randint(0, 43, (2600,), generator=rng).tolist(), strict=True):
        sample[0, at : at + 5] += patterns[label]
    parts = (slice(2000), slice(2000, 2400), slice(2400, 2600))
    splits = [Split(x[part].numpy(), y[part].numpy()) for part in parts]
    vetting = Vetting(Dataset("moving", *splits, ("a", "b"), False, ""), TrainConfig(epochs=150.0), 0)
    looks = []
    whole = [nn.Conv1d(8, 8, 44, groups=8, bias=False), nn.BatchNorm1d(8)]
    for pool in ([nn.AdaptiveAvgPool1d(1)], whole):
        head = (*pool, nn.Flatten(), nn.Linear(8, 2))
        network = trace(nn.Sequential(nn.Conv1d(1, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), *head), (1, 48))
        looks.append(vetting.look(network, lambda *step: None))
        assert vetting.macs(network) == 3 * count_of(network) * 64 * 450
    assert vetting.look(network, lambda *step: None) == looks[-1]
    assert looks[0].accuracy > looks[1].accuracy + 0.05
    assert looks[0].loss < looks[1].loss
    assert not vetting.holds(*looks, alike=True)


def test_what_is_behind_by_more_than_chance_or_far_too_confident_does_not_hold(digits):
    """On 362 samples, a standard error of the difference of two accuracies of 0.8 is 0.030."""
    vetting = Vetting(digits, TrainConfig(epochs=1.0), 0)
    assert vetting.holds(Look(0.8, 1.0), Look(0.775, 1.0), alike=True)
    assert not vetting.holds(Look(0.8, 1.0), Look(0.765, 1.0), alike=True)
    for alike in (False, True):
        assert vetting.holds(Look(0.8, 1.0), Look(0.8, 1.49), alike)
        assert not vetting.holds(Look(0.8, 1.0), Look(0.9, 1.51), alike)
        assert not vetting.holds(Look(0.8, 1.0), None, alike)
        assert vetting.holds(None, Look(0.1, 2.0), alike)


def test_accuracies_of_networks_with_other_weights_do_not_tell(digits):
    assert Vetting(digits, TrainConfig(epochs=1.0), 0).holds(Look(0.8, 1.0), Look(0.7, 1.2), alike=False)


def test_a_part_has_enough_steps_takes_a_tenth_at_most_and_is_the_seeds(digits):
    vetting = Vetting(digits, TrainConfig(epochs=600.0, batch_size=16), 3)
    assert len(vetting.batches.split) == round(0.04 * len(digits.train))
    vetting = Vetting(digits, TrainConfig(epochs=150.0, batch_size=16), 3)
    assert len(vetting.batches.split) == 64
    assert vetting.steps == 600
    same, other = Vetting(digits, vetting.config, 3).batches, Vetting(digits, vetting.config, 4).batches
    assert (vetting.batches.split.x == same.split.x).all()
    assert not (vetting.batches.split.x == other.split.x).all()
    few = Vetting(digits, TrainConfig(epochs=1.0), 3)
    assert len(few.batches.split) == round(0.1 * len(digits.train))
