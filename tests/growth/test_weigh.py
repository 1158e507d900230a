"""Weights for a pooled map's positions: the average at first, part of the network from then on."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.config import resolve_config
from edgegrow.cost.layers import count_macs
from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import AveragePool2D
from edgegrow.deploy.lower import lower
from edgegrow.growth.groups import trace
from edgegrow.growth.moves import Context, offer, replay
from edgegrow.growth.moves.places import find_pools, pools_left_alone
from edgegrow.growth.surgery import resize
from edgegrow.setting import Setting
from edgegrow.training import generator

from .listening import Heard
from .moving import SMALL, applied, prepared, step_to
from .networks import INPUTS, build, fit


class Pooled(nn.Module):
    """A convolution whose map is averaged in one of the ways that PyTorch has."""

    def __init__(self, pool):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.pool = pool

    def forward(self, x):
        return self.out(self.pool(F.relu(self.norm(self.conv(x)))).flatten(1))


class Signal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv1d(2, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        return self.out(F.adaptive_avg_pool1d(self.conv(x).relu(), 1).squeeze(-1))


def looked_at(module, shape, n=12):
    torch.manual_seed(0)
    x, y = torch.randn(n, *shape), torch.arange(n) % 4
    module.train()
    module(x)
    network = trace(module.eval(), shape)
    return Context(network, [(x, y)], generator(0), 2), x


def mean(*args, **kwargs):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(*args, **kwargs)

    return Mean()


@pytest.mark.parametrize(
    ("pool", "found"),
    [
        (nn.AdaptiveAvgPool2d(1), 1),
        (nn.AdaptiveAvgPool2d((1, 1)), 1),
        (nn.AvgPool2d(6), 1),
        (nn.Sequential(nn.Dropout(0.1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1)), 1),
        (nn.AvgPool2d(5), 0),
        (nn.AvgPool2d(6, divisor_override=1), 0),  # a sum
        (nn.AvgPool2d(6, stride=9, padding=1), 0),  # of a part of the map, and zeros
        (mean((2, 3)), 1),
        (mean((-1, -2), keepdim=True), 1),
        (nn.AdaptiveAvgPool2d(2), 0),
        (nn.AdaptiveMaxPool2d(1), 0),
        (mean((1, 2)), 0),
        (nn.Identity(), 0),
    ],
)
def test_every_global_average_of_a_map_is_found_and_nothing_else(pool, found):
    module = Pooled(pool)
    shape = (1, 8, 8)
    module.out = nn.Linear(module.eval().pool(torch.zeros(1, 6, 6, 6)).flatten(1).shape[1], 4)
    context, x = looked_at(module, shape)
    moves = offer("weigh", context)
    assert len(moves) == found
    before = context.trace.graph(x)
    made = applied(context, moves)
    torch.testing.assert_close(made.trace.graph(x), before, rtol=1e-5, atol=1e-6)
    assert sum(layer.shape.taps == 36 and layer.shape.depthwise for layer in made.trace.layers) == found


class Ends(nn.Module):
    """Maps that are averaged behind something else than one layer."""

    def __init__(self, end):
        super().__init__()
        self.one, self.other, self.end = nn.Conv2d(1, 3, 3), nn.Conv2d(1, 3, 3), end
        self.out = nn.LazyLinear(4)

    def forward(self, x):
        return self.out(F.adaptive_avg_pool2d(self.end(self.one(x).relu(), self.other(x)), 1).flatten(1))


class Gated(nn.Module):
    """Squeeze and excite: the pool of the gate is a layer's."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.excite = nn.Linear(3, 2), nn.Linear(2, 3)

    def forward(self, a, b):
        gate = self.excite(self.squeeze(b.mean((2, 3))).relu()).sigmoid()
        return b * gate[:, :, None, None]


def joined(function):
    class Joined(nn.Module):
        def forward(self, a, b):
            return function(a, b)

    return Joined()


@pytest.mark.parametrize(
    ("end", "weighed", "makes"),
    [
        (joined(lambda a, b: torch.cat([a, b], 1)), [], "cat (cat)"),
        (joined(lambda a, b: F.max_pool2d(a + b, 2)), [], "max_pool2d (max_pool2d)"),
        (Gated(), ["mean"], "mul (mul)"),
        (joined(lambda a, b: a + b), ["adaptive_avg_pool2d"], ""),
    ],
    ids=["concatenation", "maximum", "squeeze and excite", "addition"],
)
def test_a_pool_that_is_left_alone_is_named_with_the_reason(end, weighed, makes):
    module = Ends(end).eval()
    module(torch.zeros(1, 1, 8, 8))
    network = trace(module, (1, 8, 8))
    assert [place.insertion.after for place in find_pools(network)] == weighed
    reason = f"it reads what {makes} makes, which is no layer"
    left = {"adaptive_avg_pool2d (adaptive_avg_pool2d)": reason} if makes else {}
    assert pools_left_alone(network) == left


def test_a_pool_of_channels_that_cannot_grow_is_left_alone_with_their_reason():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1))
    network = trace(module.eval(), (1, 8, 8))
    assert not find_pools(network)
    ((pool, reason),) = pools_left_alone(network).items()
    assert pool == "AdaptiveAvgPool2d (2)"
    assert reason == f"it reads group 0, which cannot grow: {network.groups[1].fixed}"


def gated(shape, classes):
    module = Ends(Gated())
    module.out = nn.Linear(3, classes)
    return module


def test_a_growth_says_which_pools_are_left_alone_where_they_were_asked_for():
    for moves, said in (("split", "weigh"), 1), (("split",), 0):
        heard = Heard()
        values = {"net.name": f"{__name__}:gated", "budget": {"macs": 50e3}, "grow.moves": moves}
        Setting(resolve_config(values=values), heard)
        assert sum("weigh leaves pools alone (adaptive_avg_pool2d" in line for line in heard.said) == said


def test_a_signal_is_weighed_along_its_length():
    context, x = looked_at(Signal(), (2, 12))
    (move,) = offer("weigh", context)
    assert move.block[0].weight.shape == (5, 1, 10)
    before = context.trace.graph(x)
    torch.testing.assert_close(applied(context, [move]).trace.graph(x), before, rtol=1e-5, atol=1e-6)


def test_it_costs_a_multiply_accumulate_for_each_value_of_the_map(digits):
    context, _ = prepared("dscnn", digits)
    (move,) = offer("weigh", context)
    made = applied(context, [move])
    before, after = (count_macs(t.shapes(t.widths())) for t in (context.trace, made.trace))
    assert after - before == count_macs([layer.shape for layer in move.layers]) == 6 * 2 * 2


def test_training_goes_on_from_the_very_same_outputs(digits):
    """The batch norm undoes itself in training mode too, where it is set by the samples that it reads."""
    context, _ = prepared("dscnn", digits, make_smooth=False)
    x = context.batches[0][0]
    made = applied(context, offer("weigh", context)).trace.graph
    with torch.no_grad():
        before = made(x)
        made.inserted1.train()
        torch.testing.assert_close(made(x), before, rtol=1e-4, atol=1e-5)
        made.inserted1.norm.reset_parameters()
        assert not torch.allclose(made(x), before, rtol=0.1, atol=0.1)


def test_the_position_that_tells_the_classes_apart_gets_the_weight():
    """Two classes differ in one corner alone: the direction of least loss is there."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.zero_()
        module[3].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        module[3].bias.zero_()
    x = torch.zeros(20, 1, 4, 4)
    y = torch.arange(20) % 2
    x[:, 0, 3, 1] = 1.0 - 2.0 * y
    (move,) = offer("weigh", Context(trace(module.eval(), (1, 4, 4)), [(x, y)], generator(0), 2))
    assert (move.direction.abs().flatten(1).argmax(1) == 3 * 4 + 1).all()
    assert (move.direction[:, 0, 3, 1] > 0).all()


@pytest.mark.parametrize("name", ["dscnn", "resnet8"])
def test_a_weighed_network_is_lowered_widened_and_rebuilt(name, digits):
    context, (x, y) = prepared(name, digits, make_smooth=False, products=2)
    made = applied(context, [*offer("split", context)[::3], *offer("weigh", context)])
    step_to(made, 0.1)
    fit(made.trace.graph, x, y, steps=3)
    made.trace.graph.eval()
    graph = lower(made.trace.graph, INPUTS[name])
    assert not any(isinstance(operator, AveragePool2D) for operator in graph.operators)
    with torch.no_grad():
        expected = made.trace.graph(x)
    np.testing.assert_allclose(evaluate(graph, x.numpy()), expected.numpy(), rtol=1e-3, atol=1e-4)
    records = [insertion.to_json() for insertion in made.insertions]
    rebuilt = replay(trace(build(name, SMALL[name]), INPUTS[name]), records)
    resize(rebuilt, made.trace.widths())
    rebuilt.graph.load_state_dict(made.trace.graph.state_dict())
    rebuilt.graph.eval()
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.graph(x), expected)
    again = type(context)(made.trace, context.batches, context.generator, 2)
    assert not offer("weigh", again)
