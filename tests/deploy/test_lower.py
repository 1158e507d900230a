import numpy as np
import pytest
import torch
from networks import CASES, NAMES, float_graph, network, samples, settle
from torch import nn
from torch.nn import functional as F

from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Weighted,
)
from edgegrow.deploy.lower import lower
from edgegrow.errors import InputError, UnsupportedError


def assert_same(module: nn.Module, graph, shape: tuple[int, ...]) -> None:
    x, _ = samples(shape, 64)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(evaluate(graph, x), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "shape"), CASES, ids=NAMES)
def test_float_graph_equals_the_module(name, shape):
    assert_same(network(name, shape), float_graph(name, shape), shape)


class Written(nn.Module):
    """A network as people write them: functions, methods, a view by size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding="same")
        self.wide = nn.Conv2d(6, 12, (3, 1), stride=(2, 1), groups=6, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.last = nn.Conv2d(12, 12, 1)
        self.linear = nn.Linear(12 * 1 * 2, 10)

    def forward(self, image):
        x = F.relu(F.max_pool2d(self.first(image), 2))
        x = F.relu6(self.norm(self.wide(F.pad(x, (0, 0, 0, 1)))))
        x = torch.add(self.last(x), x)
        x = F.avg_pool2d(F.dropout(x, training=self.training), 2)
        x = x.view(x.size(0), -1)
        return self.linear(x)


def test_functions_methods_and_modules_are_one():
    module = settle(Written(), (2, 8, 8), steps=4)
    graph = lower(module, (2, 8, 8))
    assert_same(module, graph, (2, 8, 8))
    kinds = [type(op) for op in graph.operators]
    assert kinds == [Conv2D, MaxPool2D, DepthwiseConv2D, Conv2D, Add, AveragePool2D, FullyConnected]
    # The ReLU after the maximum is the convolution's; even the depthwise one's multiplier survives.
    assert [op.activation for op in graph.operators if isinstance(op, Weighted)] == [
        "relu",
        "relu6",
        "none",
        "none",
    ]
    assert graph.operators[2].multiplier == 2


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 3, 5)), (3, 8, 5)),
        (
            nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(20, 5)),
            (3, 10),
        ),
        (
            nn.Sequential(nn.Conv1d(4, 4, 3, groups=4), nn.AvgPool1d(2), nn.Flatten(1), nn.Linear(16, 5)),
            (4, 10),
        ),
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 5)), (3, 10)),
        (nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(1, 5, 5), nn.Flatten()), (1, 9, 9)),
        (
            nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Flatten(), nn.Linear(36, 5)),
            (1, 6, 6),
        ),
        (nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3)), (7,)),
        (nn.Sequential(nn.Conv2d(1, 5, (4, 1)), nn.BatchNorm2d(5, affine=False), nn.Flatten()), (1, 4, 1)),
    ],
)
def test_small_networks(module, shape):
    assert_same(settle(module, shape, 0) if shape else module, lower(module, shape), shape)


class Mean(nn.Module):
    def __init__(self, dims) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.dims = dims

    def forward(self, x):
        return self.conv(x).mean(self.dims)


def test_mean_over_the_map_is_average_pooling():
    module = Mean((-2, -1))
    graph = lower(module, (1, 6, 8))
    assert [type(op) for op in graph.operators] == [Conv2D, AveragePool2D]
    assert_same(module, graph, (1, 6, 8))


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    lower(module, (1, 4, 4))
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_operators_are_named_by_their_modules():
    names = [op.name for op in float_graph("dscnn", (1, 8, 8)).operators]
    assert names[:3] == ["stem.1", "blocks.0.0", "blocks.0.3"]
    assert names[-1] == "classifier"


class Residual(nn.Module):
    """Adds what `body` makes of its input to its input, in a way of `combine`."""

    def __init__(self, combine, *body: nn.Module) -> None:
        super().__init__()
        self.combine = combine
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.body = nn.Sequential(*body)

    def forward(self, x):
        x = self.conv(x)
        return self.combine(x, self.body(x)).flatten(1)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return F.linear(x, self.weight)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        x = self.linear(x)
        return x, x


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten())


IMAGE = (2, 8, 8)
REFUSED = [
    (flat(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 4, 1, groups=2)), IMAGE, "1 (Conv2d)", "groups"),
    (flat(nn.Conv2d(2, 4, 3, stride=2, padding=1)), IMAGE, "0 (Conv2d)", "nn.ZeroPad2d((0, 1, 0, 1))"),
    (flat(nn.Conv1d(2, 4, 3, stride=2, padding=1)), (2, 8), "0 (Conv1d)", "nn.ConstantPad1d((0, 1), 0.0)"),
    (flat(nn.Conv2d(2, 4, 3, dilation=2)), IMAGE, "0 (Conv2d)", "dilation"),
    (flat(nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")), IMAGE, "0 (Conv2d)", "padding_mode"),
    (flat(nn.Conv2d(2, 4, 3), nn.Sigmoid()), IMAGE, "1 (Sigmoid)", "cannot be deployed"),
    (flat(nn.ConvTranspose2d(2, 4, 3)), IMAGE, "0 (ConvTranspose2d)", "cannot be deployed"),
    (nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.Softmax(1)), IMAGE, "2 (Softmax)", "logits"),
    (flat(nn.ReLU(), nn.Conv2d(2, 4, 3)), IMAGE, "0 (ReLU)", "directly after"),
    (flat(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3)), IMAGE, "0 (BatchNorm2d)", "directly after"),
    (flat(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), IMAGE, "2 (BatchNorm2d)", "directly after"),
    (flat(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), nn.ReLU()), IMAGE, "2 (ReLU)", "directly after"),
    (
        flat(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        IMAGE,
        "1 (BatchNorm2d)",
        "running statistics",
    ),
    (flat(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(2)), IMAGE, "1 (AdaptiveAvgPool2d)", "pool to 1"),
    (flat(nn.ZeroPad2d(1), nn.MaxPool2d(2)), IMAGE, "1 (MaxPool2d)", "pad only before a convolution"),
    (flat(nn.ZeroPad2d(-1), nn.Conv2d(2, 4, 3)), IMAGE, "0 (ZeroPad2d)", "with zeros"),
    (flat(nn.ConstantPad2d(1, 2.0), nn.Conv2d(2, 4, 3)), IMAGE, "0 (ConstantPad2d)", "cannot be deployed"),
    (flat(nn.MaxPool2d(3, 2, 1)), IMAGE, "0 (MaxPool2d)", "SAME, ((0, 1), (0, 1)): use padding=0"),
    (flat(nn.AvgPool2d(3, 1, 1)), IMAGE, "0 (AvgPool2d)", "count_include_pad=False"),
    (flat(nn.MaxPool2d(3, ceil_mode=True), nn.Conv2d(2, 4, 1)), IMAGE, "0 (MaxPool2d)", "ceil_mode"),
    (flat(nn.MaxPool2d(2, dilation=2), nn.Conv2d(2, 4, 1)), IMAGE, "0 (MaxPool2d)", "dilation"),
    (nn.Linear(8, 4), IMAGE, "0 (Linear)", "flatten before"),
    (nn.Conv2d(2, 4, 3), IMAGE, "output", "logits"),
    (nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 3, 1), nn.Flatten()), IMAGE, "0 (Flatten)", "flatten each"),
    (Residual(torch.add, nn.ReLU()), IMAGE, "body.0 (ReLU)", "only reader"),
    (Residual(torch.add, nn.BatchNorm2d(2)), IMAGE, "body.0 (BatchNorm2d)", "only reader"),
    (Residual(torch.add, nn.Conv2d(2, 1, 1)), IMAGE, "add (add)", "equal shapes"),
    (Residual(torch.mul, nn.Conv2d(2, 2, 1)), IMAGE, "mul (mul)", "cannot be deployed"),
    (Residual(lambda x, y: y + 1), IMAGE, "add (add)", "cannot be deployed"),
    (Residual(lambda x, y: torch.cat([x, y], 1)), IMAGE, "cat (cat)", "cannot be deployed"),
    (
        Residual(lambda x, y: F.pad(y, (1, 1, 0, 0), mode="circular")),
        IMAGE,
        "pad (pad)",
        "cannot be deployed",
    ),
    (Mean(2), (1, 8, 8), "mean", "averages"),
    (Own(), (4,), "weight", "through modules"),
    (Branching(), (4,), "network", "torch.fx cannot trace it"),
    (Two(), (4,), "network", "several inputs"),
    (Pair(), (4,), "output", "logits alone"),
    (nn.Sequential(nn.Flatten()), (4,), "output", "logits alone"),
]


@pytest.mark.parametrize(("module", "shape", "place", "words"), REFUSED, ids=lambda value: None)
def test_what_cannot_be_deployed_is_named_in_one_line(module, shape, place, words):
    with pytest.raises(UnsupportedError) as caught:
        lower(module, shape)
    message = str(caught.value)
    assert place in message
    assert words in message
    assert "\n" not in message
    assert message.count(": ") >= 1


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 2), (2, 3, 8, 8), ()])
def test_samples_that_do_not_suit(shape):
    with pytest.raises(InputError, match="samples of shape"):
        lower(flat(nn.Conv2d(2, 4, 3)), shape)
