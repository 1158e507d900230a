import numpy as np
import pytest
import torch
from networks import CASES, NAMES, float_graph, network, samples, settle
from torch import nn
from torch.nn import functional as F

from edgegrow.deploy.agreement import check_agreement
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


class Inheriting(nn.Conv2d):
    pass


class InheritingActivation(nn.ReLU):
    pass


class Halved(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) / 2


class Convolving(nn.Conv2d):
    def _conv_forward(self, *arguments):
        return super()._conv_forward(*arguments) / 2


def patched(layer: nn.Module) -> nn.Module:
    forward = layer.forward
    layer.forward = lambda x: forward(x) / 2
    return layer


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten())


IMAGE = (2, 8, 8)
REFUSED = [
    (flat(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 4, 1, groups=2)), IMAGE, "1 (Conv2d)", "groups"),
    (flat(nn.Conv2d(2, 4, 3, stride=2, padding=1)), IMAGE, "0 (Conv2d)", "nn.ZeroPad2d((0, 1, 0, 1))"),
    (flat(nn.Conv1d(2, 4, 3, stride=2, padding=1)), (2, 8), "0 (Conv1d)", "nn.ConstantPad1d((0, 1), 0.0)"),
    (flat(nn.Conv2d(2, 4, 3, dilation=2)), IMAGE, "0 (Conv2d)", "dilation"),
    (flat(nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")), IMAGE, "0 (Conv2d)", "padding_mode"),
    (
        flat(nn.Conv2d(2, 4, 3), nn.GELU()),
        IMAGE,
        "1 (GELU)",
        "use convolutions, linear layers, batch norm, ReLU",
    ),
    (flat(nn.ConvTranspose2d(2, 4, 3)), IMAGE, "0 (ConvTranspose2d)", "cannot be deployed"),
    (nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.Softmax(1)), IMAGE, "2 (Softmax)", "logits"),
    (
        flat(nn.ZeroPad2d(1), nn.ReLU(), nn.Conv2d(2, 4, 3)),
        IMAGE,
        "1 (ReLU)",
        "pad only before a convolution",
    ),
    (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(128)), IMAGE, "1 (BatchNorm1d)", "before flattening"),
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
    (flat(nn.MaxPool2d(3, ceil_mode=True), nn.Conv2d(2, 4, 1)), IMAGE, "0 (MaxPool2d)", "ceil_mode"),
    (flat(nn.MaxPool2d(2, dilation=2), nn.Conv2d(2, 4, 1)), IMAGE, "0 (MaxPool2d)", "dilation"),
    (nn.Linear(8, 4), IMAGE, "0 (Linear)", "flatten before"),
    (nn.Conv2d(2, 4, 3), IMAGE, "output", "logits"),
    (nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 3, 1), nn.Flatten()), IMAGE, "0 (Flatten)", "flatten each"),
    (Residual(torch.add, nn.ReLU(inplace=True)), IMAGE, "body.0 (ReLU)", "others still read"),
    (Residual(lambda x, y: x + y.relu_() + y), IMAGE, "relu_", "others still read"),
    (Residual(lambda x, y: (y.add_(x), x)[1]), IMAGE, "add_", "use its result"),
    (Residual(torch.add, nn.Conv2d(2, 1, 1)), IMAGE, "add (add)", "equal shapes"),
    (Residual(lambda x, y: y + 1), IMAGE, "add (add)", "cannot be deployed"),
    (Residual(lambda x, y: y * 2), IMAGE, "mul (mul)", "cannot be deployed"),
    (Residual(lambda x, y: x * y.mean((2, 3))[:, 0:1, None, None]), IMAGE, "getitem", "cannot be deployed"),
    (Residual(lambda x, y: x * y[:, :, :1]), IMAGE, "getitem", "cannot be deployed"),
    (Residual(lambda x, y: y.flatten(1)[:, :8]), IMAGE, "getitem", "cannot be deployed"),
    (Residual(lambda x, y: x.flatten(2) * y.mean((2, 3), keepdim=True)), IMAGE, "flatten", "flatten each"),
    (Residual(lambda x, y: y.mean((2, 3), keepdim=True).expand_as(x) + x), IMAGE, "add", "expand only"),
    (Residual(lambda x, y: y.mean((2, 3)).expand(4, 2, 2)), IMAGE, "expand", "unsqueeze or view"),
    (Residual(lambda x, y: torch.cat([x, y])), IMAGE, "cat (cat)", "dim=1"),
    (
        Residual(lambda x, y: torch.cat([x.flatten(1), y.mean((2, 3))], 1)),
        IMAGE,
        "cat (cat)",
        "before flattening",
    ),
    (Residual(lambda x, y: F.interpolate(y, scale_factor=1.5)), IMAGE, "interpolate", "whole factor"),
    (Residual(lambda x, y: F.interpolate(y, size=(4, 16))), IMAGE, "interpolate", "whole factor"),
    (flat(nn.Upsample(scale_factor=2, mode="bilinear")), IMAGE, "0 (Upsample)", "cannot be deployed"),
    (Residual(lambda x, y: y.view(-1, 4, 4, 8)), IMAGE, "view (view)", "flatten each"),
    (
        Residual(lambda x, y: F.pad(y, (1, 1, 0, 0), mode="circular")),
        IMAGE,
        "pad (pad)",
        "cannot be deployed",
    ),
    (Mean(2), (1, 8, 8), "mean", "averages"),
    (Own(), (4,), "weight", "through modules"),
    (
        flat(Halved(2, 4, 3)),
        IMAGE,
        "0 (Halved, which has a forward of its own)",
        "leave its forward to nn.Conv2d",
    ),
    (flat(Convolving(2, 4, 3)), IMAGE, "0 (Convolving, which", "leave its forward to nn.Conv2d"),
    (flat(nn.Conv2d(2, 4, 3), patched(nn.ReLU())), IMAGE, "1 (ReLU, which", "leave its forward to nn.ReLU"),
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


class Forward(nn.Module):
    """Layers by name, and what is done with them."""

    def __init__(self, forward, **layers: nn.Module) -> None:
        super().__init__()
        self.done = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.done(self, x)


def kinds(graph) -> list[str]:
    return [
        type(op).__name__ + ("" if getattr(op, "activation", "none") == "none" else f" {op.activation}")
        for op in graph.operators
    ]


def conv(cin: int = 2, cout: int = 2, size: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, size, padding="same")


def gate(unite):
    """Multiply a map by what `unite` makes of a linear layer's outputs."""
    return Forward(
        lambda m, x: (m.conv(x) * unite(m.linear(x.mean((2, 3))), x)).flatten(1),
        conv=conv(), linear=nn.Linear(2, 2),
    )  # fmt: skip


GATED = ["Conv2D", "AveragePool2D", "FullyConnected", "Reshape", "Mul"]
LOWERED = {
    "layers that inherit": (
        flat(Inheriting(2, 4, 3), InheritingActivation(), nn.Conv2d(4, 2, 1)), ["Conv2D relu", "Conv2D"],
    ),
    "ReLU before all": (flat(nn.ReLU(), conv()), ["Relu relu", "Conv2D"]),
    "ReLU twice": (flat(conv(), nn.ReLU(), nn.ReLU6()), ["Conv2D relu6"]),
    "ReLU6, then ReLU": (flat(conv(), nn.ReLU6(), nn.ReLU()), ["Conv2D relu6"]),
    "ReLU after an average": (
        flat(conv(), nn.AvgPool2d(2), nn.ReLU()),
        ["Conv2D", "AveragePool2D", "Relu relu"],
    ),
    "ReLU beside its input": (Residual(torch.add, nn.ReLU6()), ["Conv2D", "Relu relu6", "Add"]),
    "norm before all": (flat(nn.BatchNorm2d(2), nn.ReLU(), conv()), ["DepthwiseConv2D relu", "Conv2D"]),
    "norm after ReLU": (flat(conv(), nn.ReLU(), nn.BatchNorm2d(2)), ["Conv2D relu", "DepthwiseConv2D"]),
    "norm beside its input": (Residual(torch.add, nn.BatchNorm2d(2)), ["Conv2D", "DepthwiseConv2D", "Add"]),
    "norm of features": (
        nn.Sequential(nn.Flatten(), nn.Linear(128, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3)),
        ["FullyConnected relu", "Reshape", "DepthwiseConv2D", "FullyConnected"],
    ),
    "norm of a pool": (
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(2), nn.Linear(2, 3)),
        ["AveragePool2D", "DepthwiseConv2D", "FullyConnected"],
    ),
    "ReLU after a concatenation": (
        Residual(lambda x, y: F.relu(torch.cat([y, y * y, F.interpolate(F.max_pool2d(x, 2), size=8)], 1))),
        ["Conv2D", "Mul", "MaxPool2D", "UpsampleNearest2D", "Concatenation", "Relu relu"],
    ),
    "ReLU in front of a concatenation": (
        Forward(
            lambda m, x: F.relu(torch.cat([m.one(x), m.up(m.two(F.max_pool2d(x, 2)))], 1)).flatten(1),
            one=conv(), two=conv(), up=nn.UpsamplingNearest2d(scale_factor=2),
        ),
        ["Conv2D relu", "MaxPool2D", "Conv2D relu", "UpsampleNearest2D", "Concatenation"],
    ),
    "sigmoids joined": (
        Residual(lambda x, y: torch.cat([x.sigmoid(), torch.sigmoid(y)], 2)),
        ["Conv2D", "Logistic", "Logistic", "Concatenation"],
    ),
    "a sigmoid and more": (
        Residual(lambda x, y: torch.cat([F.max_pool2d(x.sigmoid(), 2), F.avg_pool2d(y, 2)], -1)),
        ["Conv2D", "Logistic", "MaxPool2D", "AveragePool2D", "DepthwiseConv2D", "Concatenation"],
    ),
    "features joined": (
        Forward(
            lambda m, x: torch.cat([m.linear(m.pool(x)).tanh(), m.pool(x), m.pool(m.conv(x))], 1),
            conv=conv(), linear=nn.Linear(2, 3), pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ),
        ["AveragePool2D", "FullyConnected", "Tanh", "AveragePool2D", "Conv2D", "AveragePool2D", "Reshape",
         "DepthwiseConv2D", "Concatenation"],
    ),
    "one of one": (Residual(lambda x, y: torch.cat([y], 1)), ["Conv2D"]),
    "view of a gate": (gate(lambda y, x: y.view(x.shape[0], -1, 1, 1)), GATED),
    "unsqueezed gate": (gate(lambda y, x: y.unsqueeze(2).unsqueeze(3)), GATED),
    "indexed gate": (gate(lambda y, x: y[..., None, None]), GATED),
    "expanded gate": (gate(lambda y, x: y.reshape(-1, 2, 1, 1).expand_as(x)), GATED),
    "gate first": (
        Residual(lambda x, y: F.adaptive_avg_pool2d(y, 1) * x),
        ["Conv2D", "AveragePool2D", "Mul"],
    ),
    "a gate of places": (
        Forward(lambda m, x: (x * m.conv(x).sigmoid()).flatten(1), conv=conv(2, 1)),
        ["Conv2D", "Logistic", "Mul"],
    ),
    "squeezed": (
        Residual(lambda x, y: F.adaptive_avg_pool2d(y, 1).squeeze(3).squeeze(-1)),
        ["Conv2D", "AveragePool2D"],
    ),
    "a map and features added": (
        Forward(lambda m, x: m.linear(x.mean((2, 3))) + x.mean((2, 3)), linear=nn.Linear(2, 2)),
        ["AveragePool2D", "FullyConnected", "AveragePool2D", "Reshape", "Add"],
    ),
    "hard functions": (
        flat(conv(), nn.Hardsigmoid(), conv(), nn.Hardswish(), nn.Hardsigmoid()),
        ["Conv2D unit", "Conv2D", "HardSwish", "DepthwiseConv2D unit"],
    ),
    "smooth functions": (
        flat(conv(), nn.SiLU(inplace=True), conv(), nn.Tanh(), nn.Sigmoid()),
        ["Conv2D", "Logistic", "Mul", "Conv2D", "Tanh", "Logistic"],
    ),
    "in place": (
        Residual(lambda x, y: y.tanh().mul_(x).add_(x).relu_()),
        ["Conv2D", "Tanh", "Mul", "Add relu"],
    ),
    "zeros that count": (
        flat(nn.AvgPool2d((3, 5), 1, (1, 2)), conv(), nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
        ["DepthwiseConv2D", "Conv2D", "AveragePool2D"],
    ),
    "upsampled once": (Residual(lambda x, y: F.interpolate(y, scale_factor=1)), ["Conv2D"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LOWERED)
def test_branches_and_functions(name):
    module, expected = LOWERED[name]
    with torch.no_grad():
        features = module(torch.zeros(2, *IMAGE)).shape[1]
    headed = settle(nn.Sequential(module, nn.Linear(features, 3)), IMAGE, 0)  # the order of features shows
    graph = lower(headed, IMAGE)
    assert_same(headed, graph, IMAGE)
    assert kinds(graph) == [*expected, "FullyConnected"]


def test_signals():
    module = Forward(
        lambda m, x: m.head(torch.cat([m.up(x), m.up(m.conv(x) * x.mean(2, keepdim=True))], 1).flatten(1)),
        conv=nn.Conv1d(2, 2, 1), up=nn.Upsample(scale_factor=3), head=nn.Linear(96, 3),
    )  # fmt: skip
    graph = lower(module, (2, 8))
    assert_same(module, graph, (2, 8))
    assert kinds(graph) == [
        "UpsampleNearest2D", "Conv2D", "AveragePool2D", "Mul", "UpsampleNearest2D", "Concatenation",
        "FullyConnected",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 2), (2, 3, 8, 8), ()])
def test_samples_that_do_not_suit(shape):
    with pytest.raises(InputError, match="samples of shape"):
        lower(flat(nn.Conv2d(2, 4, 3)), shape)


def test_a_graph_that_computes_something_else_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Linear(128, 8), nn.ReLU(), nn.Linear(8, 4))
    nn.init.zeros_(module[3].weight)  # what lies before it counts for nothing yet
    nn.init.zeros_(module[3].bias)
    check_agreement(module, IMAGE)
    assert not module[3].weight.any(), "it is not changed"
    hook = nn.modules.module.register_module_forward_hook(  # of all modules, and so of no one
        lambda layer, inputs, output: output / 2 if isinstance(layer, nn.ReLU) else None
    )
    try:
        with pytest.raises(UnsupportedError, match="computes something else") as caught:
            check_agreement(module, IMAGE)
    finally:
        hook.remove()
    assert "\n" not in str(caught.value)


def test_outputs_that_are_no_numbers_agree_with_nothing():
    module = nn.Sequential(nn.Flatten(), nn.Linear(128, 4))
    nn.init.constant_(module[1].bias, float("nan"))
    with pytest.raises(UnsupportedError, match="computes something else"):
        check_agreement(module, IMAGE)


def test_outputs_of_deep_and_wide_networks_stay_finite():
    """Moved by a tenth, whatever their size is, weights of 1000 inputs would double what goes through."""
    wide = nn.Linear(1000, 1000)
    nn.init.kaiming_normal_(wide.weight)
    layers = [nn.ReLU(), wide] * 120
    check_agreement(nn.Sequential(nn.Flatten(), nn.Linear(128, 1000), *layers, nn.Linear(1000, 4)), IMAGE)
