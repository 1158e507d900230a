"""Training from scratch: the grown run's own trainer, its training counted and spent alike."""

from math import cos, pi

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from edgegrow.baselines.problem import macs_of
from edgegrow.baselines.scratch import train_from_scratch, train_network, train_rungs
from edgegrow.baselines.widths import share_used, uniform_widths
from edgegrow.config import GrowConfig
from edgegrow.cost.fvcore import fvcore_macs
from edgegrow.growth.architecture import initialise
from edgegrow.growth.groups import trace
from edgegrow.growth.grow import Grower
from edgegrow.growth.progress import Progress, Unheard

from .problems import problem


def weights(network):
    return [tensor.clone() for tensor in network.graph.state_dict().values()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("augment", [False, True])
def test_it_is_the_training_that_a_grown_network_gets_at_its_final_size(digits, augment):
    one = problem(digits, "dscnn", {"macs": 30e3}, epochs=2.5, seed=3, augment=augment)
    widths = uniform_widths(one)
    grown, config = one.network(widths), GrowConfig()
    grower = Grower(
        grown, digits, lambda insertions: one.costs, one.limits, one.train_config, config, one.seed, Unheard()
    )
    progress = grower.run(Progress(grown=True))  # the anneal alone
    trained = train_from_scratch(one, one.network(widths))
    assert trained.macs_trained == progress.macs_trained
    assert equal(weights(trained.trace), weights(grown))


def test_training_is_counted_in_passes_of_samples(digits):
    one = problem(digits, "resnet8", {"macs": 100e3}, epochs=1.5)
    network = one.network(uniform_widths(one))
    one_pass = fvcore_macs(network.graph, digits.input_shape)
    seen = []
    network.graph.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0]) if module.training else 0)
    )
    trained = train_from_scratch(one, network)
    assert trained.macs_trained == 3 * sum(seen) * one_pass
    assert sum(seen) == 24 * 64  # one and a half epochs of 16 batches


def test_all_of_the_given_training_is_spent_but_for_a_part_of_a_step(digits):
    one = problem(digits, "mlp", {"macs": 5e3})
    network = one.network(uniform_widths(one))
    step = 3 * 64 * macs_of(network)
    assert train_from_scratch(one, network, 10.9 * step).macs_trained == 10 * step
    assert train_from_scratch(one, network, 0.1 * step).macs_trained == step


def test_the_rate_falls_along_a_cosine(digits):
    one = problem(digits, "mlp", {"macs": 5e3}, lr=0.05)
    rates = []
    network = one.network(uniform_widths(one))
    train_network(one, network, 20 * one.step_macs(network),
                  before_step=lambda optimizer: rates.append(optimizer.param_groups[0]["lr"]))  # fmt: skip
    assert rates == pytest.approx([0.025 * (1 + cos(pi * step / 20)) for step in range(20)])


def test_the_same_seed_gives_the_same_network_and_another_another(digits):
    one, again, other = (
        train_from_scratch(problem(digits, "dscnn", {"macs": 30e3}, seed=seed)) for seed in (1, 1, 2)
    )
    assert equal(weights(one.trace), weights(again.trace))
    assert one.validation_loss == again.validation_loss != other.validation_loss


def test_a_network_of_any_widths_starts_fresh(digits):
    one = problem(digits, "dscnn", {"macs": 1e6})
    widths = dict(zip(one.example.widths(), (5, 41, 7, 90, 33), strict=True))
    state = torch.get_rng_state()
    network = one.network(widths)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.widths() == widths
    for module in network.graph.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            rows = module.weight.flatten(1)
            bound = rows.shape[1] ** -0.5  # PyTorch's own, whatever the width was before
            assert 0.4 * bound < rows.std().item() < 0.75 * bound
            assert len(rows.unique(dim=0)) == len(rows)


def test_parameters_that_nothing_initialises_stay_as_they_are(digits):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((1,), 0.7))
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            return self.linear(x.flatten(1)) * self.scale

    network = trace(Scale(), digits.input_shape)
    before = network.graph.get_submodule("linear").weight.detach().clone()
    initialise(network, 1234)
    assert network.graph.scale.item() == pytest.approx(0.7)
    assert not torch.equal(network.graph.get_submodule("linear").weight, before)


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrized_weights_are_drawn_anew(digits, norm):
    """As the layer's own initialisation draws them: uniform within 1 / sqrt(inputs)."""
    network = trace(nn.Sequential(nn.Flatten(), norm(nn.Linear(64, 10))), digits.input_shape)
    layer = network.graph.get_submodule("1")
    with torch.no_grad():
        for parameter in network.graph.parameters():
            parameter.fill_(7.0)
    initialise(network, 1234)
    drawn = [parameter.detach().clone() for parameter in layer.parameters()]
    assert not any((parameter == 7).any() for parameter in drawn)
    if norm is parametrizations.weight_norm:
        weight = layer.weight.detach()
        assert weight.abs().max() <= 1 / 8 + 1e-6
        assert weight.std() == pytest.approx(1 / 8 / 3**0.5, rel=0.1)
    initialise(network, 1234)
    for before, after in zip(drawn, layer.parameters(), strict=True):
        torch.testing.assert_close(before, after.detach(), rtol=0, atol=1e-6)


def test_every_rung_has_a_training_of_its_own_within_its_limit(digits):
    one = problem(digits, "mlp", {"macs": 8e3, "params": 6e3})
    for rung, trained in zip((2e3, 4e3, 8e3), train_rungs(one, (2e3, 4e3, 8e3), "macs"), strict=True):
        within = one.within({"macs": rung, "params": 6e3})
        assert 0.9 <= share_used(within, trained.trace.widths()) <= 1
        assert trained.macs_trained == one.training_macs(trained.trace, 1)


def test_a_network_from_scratch_learns(digits):
    assert train_from_scratch(problem(digits, "dscnn", {"macs": 60e3}, epochs=6)).validation_accuracy > 0.9
