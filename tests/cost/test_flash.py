"""A file's size is known before there is a file: the prediction is held against real files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.cost.flash import SLACK_BYTES, FlashModel
from edgegrow.deploy.graph import Weighted
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.growth.groups import trace
from edgegrow.nets import load_net

INPUTS = {
    "mlp": (64,),
    "conv1d": (3, 64),
    "dscnn": (1, 28, 28),
    "mobilenet": (3, 32, 32),
    "resnet8": (3, 32, 32),
}


def file_of(name, widths, seed):
    """Layers of a network at these widths, and its real file; statistics as if it had been trained."""
    shape = INPUTS[name]
    torch.manual_seed(seed)
    traced = trace(load_net(name).build(shape, 10, widths), shape)
    for module in traced.graph.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.bias)
    samples = np.random.default_rng(seed).normal(size=(8, *shape)).astype(np.float32)
    graph = quantize(lower(traced.graph, shape), samples)
    others = sum(not isinstance(op, Weighted) for op in graph.operators)
    return traced.shapes(traced.widths()), tflite_bytes(graph), others


@pytest.mark.parametrize("name", INPUTS)
def test_prediction_is_a_close_upper_estimate_at_any_width(name):
    layers, file, others = file_of(name, None, 0)
    model = FlashModel(layers, len(file), others)
    default = load_net(name).widths

    @settings(max_examples=12, deadline=None)
    @given(st.lists(st.floats(0.1, 2.0), min_size=len(default), max_size=len(default)), st.integers(0, 2**16))
    def check(scales, seed):
        widths = [max(2, round(width * scale)) for width, scale in zip(default, scales, strict=True)]
        layers, file, _ = file_of(name, widths, seed)
        assert len(file) <= model(layers) <= len(file) + 2.5 * model.slack_bytes

    check()


def test_prediction_of_the_example_is_its_file_and_the_slack():
    layers, file, others = file_of("dscnn", None, 0)
    model = FlashModel(layers, len(file), others)
    assert model(layers) == len(file) + model.slack_bytes
    assert SLACK_BYTES < model.slack_bytes < 2 * SLACK_BYTES
