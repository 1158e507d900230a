from itertools import islice

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgegrow.data.dataset import Split
from edgegrow.errors import InputError
from edgegrow.memory_format import takes_channels_last, to_channels_last
from edgegrow.tracer import symbolic_trace
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


class _Flat(nn.Module):
    """A convolution and a classifier, flattened in a way of one's own between them."""

    def __init__(self, flatten):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 3, 3), nn.Linear(3 * 36, 10)
        self.flatten = flatten

    def forward(self, x):
        return self.linear(self.flatten(self.conv(x)))


fx.wrap("flat_by_view")


def flat_by_view(x):
    return x.view(len(x), -1)


FLATTENED = {
    "module": (nn.Flatten(), True),
    "reshape": (lambda x: x.reshape(x.size(0), -1), True),
    "shape": (lambda x: torch.flatten(x, 1).reshape(x.shape[0], -1), True),
    "view": (lambda x: x.view(x.size(0), -1), False),
    "own function": (lambda x: flat_by_view(x), False),
}


@pytest.mark.parametrize("way", FLATTENED)
def test_images_lie_with_channels_last_where_the_network_takes_it(digits, way):
    flatten, expected = FLATTENED[way]
    traced = symbolic_trace(_Flat(flatten))
    seen = []
    traced.conv.register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert takes_channels_last(traced) is expected
    train(
        traced,
        make_optimizer(traced, 0.1, 0.9, 0.0),
        Batches(digits.train, 32).draw(generator(0)),
        lambda step: 0.1,
        range(2),
    )
    assert [o.is_contiguous(memory_format=torch.channels_last) for o in seen] == [expected] * 2


def test_a_network_that_is_not_traced_gets_images_as_they_are(digits):
    plain = _Flat(nn.Flatten())
    assert not takes_channels_last(plain)
    train(
        plain,
        make_optimizer(plain, 0.1, 0.9, 0.0),
        Batches(digits.train, 32).draw(generator(0)),
        lambda step: 0.1,
        range(2),
    )


@pytest.mark.parametrize("shape", [(4, 1, 5, 6), (4, 3, 5, 6), (4, 3, 1, 1), (1, 2, 5, 6)])
def test_images_keep_their_values_with_channels_last(shape):
    x = torch.randn(shape)
    there = to_channels_last(x)
    assert torch.equal(there, x)
    assert there.stride() == (shape[1] * shape[2] * shape[3], 1, shape[3] * shape[1], shape[1])


@pytest.mark.parametrize("shape", [(4, 7), (4, 3, 9)])
def test_what_is_no_image_is_left_as_it_is(shape):
    x = torch.randn(shape)
    assert to_channels_last(x) is x
