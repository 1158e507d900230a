from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from edgegrow.data.dataset import Split
from edgegrow.errors import InputError
from edgegrow.training import Batches, cosine, evaluate, generator, image_shift, make_optimizer, train


def test_every_pass_sees_every_sample_once(digits):
    batches = Batches(digits.train, 49)
    n = batches.steps_per_epoch
    labels = torch.cat([y for _, y in islice(batches.draw(generator(0)), n)])
    assert n == 22
    assert len(labels) == len(digits.train) == 22 * 49
    assert torch.equal(labels.sort().values, torch.from_numpy(np.sort(digits.train.y)))


def test_batches_depend_on_the_key_alone(digits):
    def first(*key):
        return next(Batches(digits.train, 32, shift=1, flip=True).draw(generator(*key)))[0]

    assert torch.equal(first(1, 2), first(1, 2))
    assert not torch.equal(first(1, 2), first(2, 1))


def test_augmentation_moves_and_mirrors_whole_images():
    x = np.arange(2 * 25, dtype=np.float32).reshape(1, 2, 5, 5) + 1
    batches = Batches(Split(x, np.zeros(1, np.int64)), 1, shift=2, flip=True)
    seen = set()
    padded = np.pad(x[0], ((0, 0), (2, 2), (2, 2)))
    mirrored = np.pad(x[0, :, :, ::-1], ((0, 0), (2, 2), (2, 2)))
    for image, _ in islice(batches.draw(generator(0)), 400):
        found = [
            (flip, dy, dx)
            for flip, source in enumerate((padded, mirrored))
            for dy in range(5)
            for dx in range(5)
            if np.array_equal(source[:, dy : dy + 5, dx : dx + 5], image[0].numpy())
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 50


def test_only_images_are_moved():
    assert [image_shift(s) for s in ((1, 28, 28), (1, 8, 8), (3, 32, 32), (1, 40), (64,))] == [2, 1, 2, 0, 0]


def test_cosine_falls_from_the_peak_to_nothing():
    rates = [cosine(0.1, step, 100) for step in range(101)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[50] == 0.05
    assert rates[100] < 1e-12


def test_training_learns_and_evaluation_counts(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = make_optimizer(model, 0.1, 0.9, 0.0)
    before = evaluate(model, digits.validation)
    train(model, optimizer, Batches(digits.train, 32).draw(generator(0)), lambda step: 0.1, range(150))
    loss, accuracy = evaluate(model, digits.validation, batch=100)
    assert loss < before[0]
    assert accuracy > 0.9
    with torch.no_grad():
        logits = model(torch.from_numpy(digits.validation.x))
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(digits.validation.y)).item()
    assert abs(loss - expected) < 1e-5


def test_weight_decay_spares_biases_and_norms():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    groups = make_optimizer(model, 0.1, 0.9, 0.01).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.01), (3, 0.0)]


def test_divergence_is_named(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = make_optimizer(model, 1e38, 0.9, 0.0)
    with pytest.raises(InputError, match=r"diverged.*lower train\.lr"):
        train(model, optimizer, Batches(digits.train, 32).draw(generator(0)), lambda step: 1e38, range(20))
