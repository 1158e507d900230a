"""An independent check: Torch-Pruning loses a channel wherever a group here would gain one."""

import pytest
import torch
from torch import nn

from edgegrow.growth.groups import trace

from .architectures import FAMILIES

tp = pytest.importorskip("torch_pruning")

# Left out, for what Torch-Pruning does otherwise or fails at: shuffles, several filters for each channel of a
# depthwise convolution, norms that take statistics over channels, a flattened input of a concatenation.
COMPARED = ("plain", "residual", "squeeze-and-excite", "dense", "inception", "U-net-like", "multi-head")


@pytest.mark.parametrize("name", COMPARED)
def test_a_group_touches_what_torch_pruning_touches(name):
    family = FAMILIES[name]
    module = family.build().eval()
    traced = trace(module, family.shapes)
    inputs = tuple(torch.randn(2, *shape) for shape in family.shapes)
    graph = tp.DependencyGraph().build_dependency(module, inputs if len(inputs) > 1 else inputs[0])
    paths = {child: path for path, child in module.named_modules()}
    for group in traced.growable:
        layer = traced.module(group.producers[0])
        prune = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
        touched = {"in": {}, "out": {}}
        for item, indices in graph.get_pruning_group(layer, prune, idxs=[0]):
            path = paths.get(item.target.module)
            if path is not None and path in traced.rows:
                side = "in" if graph.is_in_channel_pruning_fn(item.handler) else "out"
                touched[side][path] = set(indices)
        first = torch.tensor([0])
        carriers = group.filtered + group.norms
        # It knows a depthwise convolution, and a norm, by either side.
        both = {path: found for path, found in touched["in"].items() if path not in traced.columns}
        assert {**both, **touched["out"]} == {
            path: set(traced.places(traced.rows[path], group, first).reshape(-1).tolist())
            for path in carriers
        }
        readers = {path: found for path, found in touched["in"].items() if path in traced.columns}
        assert readers == {
            consumer.name: set(
                traced.places(traced.columns[consumer.name], group, first).reshape(-1).tolist()
            )
            for consumer in group.consumers
        }
