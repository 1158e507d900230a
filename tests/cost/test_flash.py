"""A file's size is known before there is a file: the prediction is held against real files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgegrow.cost.flash import SLACK_BYTES, FlashModel
from edgegrow.cost.structure import resize_graph
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


def graph_of(name, widths, seed):
    """Layers of a network at these widths, and its graph; statistics as if it had been trained."""
    shape = INPUTS[name]
    torch.manual_seed(seed)
    traced = trace(load_net(name).build(shape, 10, widths), shape)
    for module in traced.graph.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.bias)
    samples = np.random.default_rng(seed).normal(size=(8, *shape)).astype(np.float32)
    return traced.shapes(traced.widths()), quantize(lower(traced.graph, shape), samples)


@pytest.mark.parametrize("name", INPUTS)
def test_prediction_is_a_close_upper_estimate_at_any_width(name):
    _, example = graph_of(name, None, 0)
    model = FlashModel(example)
    default = load_net(name).widths

    @settings(max_examples=12, deadline=None)
    @given(st.lists(st.floats(0.1, 2.0), min_size=len(default), max_size=len(default)), st.integers(0, 2**16))
    def check(scales, seed):
        widths = [max(2, round(width * scale)) for width, scale in zip(default, scales, strict=True)]
        layers, graph = graph_of(name, widths, seed)
        file = tflite_bytes(graph)
        assert len(file) <= model(resize_graph(example, layers)) <= len(file) + 2.5 * SLACK_BYTES

    check()


def test_prediction_of_the_example_is_close_above_its_file():
    layers, example = graph_of("dscnn", None, 0)
    size, predicted = len(tflite_bytes(example)), FlashModel(example)(resize_graph(example, layers))
    assert size + SLACK_BYTES <= predicted <= size + 1.5 * SLACK_BYTES
