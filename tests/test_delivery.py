"""What delivering promises for a user's own networks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.delivery import flash_model
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.growth.groups import trace


class Residual(nn.Module):
    def __init__(self, a, b, c):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, a, 3), nn.BatchNorm2d(a), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(a, b, 1), nn.ReLU(), nn.Conv2d(b, a, 1))
        self.outer = nn.Sequential(nn.Conv2d(a, c, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(c, 10)

    def forward(self, x):
        x = self.stem(x)
        return self.classifier(self.outer(torch.relu(x + self.inner(x))))


def bare(a, b, c):
    """Neither biases nor norms: every bias of a file is zero, and equal ones are written once."""
    return nn.Sequential(
        nn.Conv2d(1, a, 3, bias=False), nn.ReLU(),
        nn.Conv2d(a, b, 3, bias=False), nn.ReLU(),
        nn.Conv2d(b, c, 3, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * c, 10, bias=False),
    )  # fmt: skip


def pooled(a, b, c):
    return nn.Sequential(
        nn.Conv2d(1, a, 3, padding=1), nn.BatchNorm2d(a), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(b, c, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10),
    )  # fmt: skip


WIDTH = st.integers(2, 24)


@pytest.mark.parametrize("network", [Residual, bare, pooled])
def test_the_flash_prediction_is_an_upper_estimate_for_networks_of_ones_own(network, digits):
    """Learnt at equal widths, where most is shared; true files have other widths, trained or not."""
    torch.manual_seed(0)
    model = flash_model(trace(network(8, 8, 8), digits.input_shape), digits)

    @settings(max_examples=25, deadline=None)
    @given(WIDTH, WIDTH, WIDTH, st.booleans())
    def check(a, b, c, trained):
        torch.manual_seed(a)
        traced = trace(network(a, b, c), digits.input_shape)
        if trained:
            for parameter in traced.graph.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
        graph = lower(traced.graph, digits.input_shape)
        size = len(tflite_bytes(quantize(graph, digits.calibration(8))))
        predicted = model(graph)
        assert size <= predicted
        if trained and network is not bare:
            assert predicted <= size + 200

    check()
