import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.cost.fvcore import fvcore_macs
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.errors import UnsupportedError
from edgegrow.growth.groups import trace
from edgegrow.nets import load_net

from .networks import INPUTS, build


def test_a_separable_block_is_one_group_from_pointwise_to_pointwise():
    traced = trace(build("dscnn"), INPUTS["dscnn"])
    stem = traced.growable[0]
    assert stem.producers == ("stem.1",)
    assert stem.depthwise == ("blocks.0.0",)
    assert stem.norms == ("stem.2", "blocks.0.1")
    assert [c.name for c in stem.consumers] == ["blocks.0.3"]
    assert (
        str(stem)
        == "stem.1: made by stem.1; through stem.2, blocks.0.1; depthwise blocks.0.0; read by blocks.0.3"
    )


def test_a_residual_addition_ties_its_producers():
    traced = trace(build("resnet8"), INPUTS["resnet8"])
    tied = {group.name: group.producers for group in traced.growable}
    assert tied["stem.0"] == ("stem.0", "blocks.0.second.0")
    assert tied["blocks.2.second.0"] == ("blocks.2.second.0", "blocks.2.shortcut.0")
    assert len(tied) == 6


def test_flattened_channels_are_several_columns():
    traced = trace(build("conv1d"), INPUTS["conv1d"])
    assert traced.growable[-1].consumers[0].columns == 5


def test_input_and_output_are_fixed_and_say_why():
    traced = trace(build("mlp"), INPUTS["mlp"])
    fixed = {group.name: group.fixed for group in traced.groups if group.fixed}
    assert fixed == {"input": "it is the network's input", "classifier": "it is the network's output"}


class Concatenated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3), nn.Conv2d(8, 4, 3)
        self.d = nn.Conv2d(4, 6, 1)
        self.out = nn.Linear(6, 10)

    def forward(self, x):
        joined = F.relu(self.c(torch.cat([self.a(x), self.b(x)], 1)))
        return self.out(F.adaptive_avg_pool2d(F.relu(self.d(joined)), 1).flatten(1))


def test_what_is_not_followed_is_left_alone_and_the_rest_still_grows():
    traced = trace(Concatenated(), (1, 8, 8))
    assert [group.name for group in traced.growable] == ["c", "d"]
    assert next(g for g in traced.groups if g.name == "a").fixed == "cat (cat) is not followed"


@pytest.mark.parametrize("name", INPUTS)
def test_counts_equal_fvcore_and_pytorch(name):
    module = build(name)
    traced = trace(module, INPUTS[name])
    shapes = traced.shapes(traced.widths())
    assert count_macs(shapes) == fvcore_macs(module, INPUTS[name])
    # A folded batch norm leaves one bias a channel; weights are counted as they are.
    weights = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    assert count_params(shapes) == weights + sum(shape.cout for shape in shapes)


def test_resnet8_has_the_published_macs_of_mlperf_tiny():
    module = load_net("resnet8").build((3, 32, 32), 10)
    assert count_macs(trace(module, (3, 32, 32)).shapes({})) == 12_501_632


class DataDependent(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else self.fc(-x)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (DataDependent(), (4,), "torch.fx cannot trace it"),
        (nn.Linear(4, 2), (5,), "fails on an input of shape"),
        (nn.ReLU(), (5,), "no convolution or linear layer"),
    ],
)
def test_untraceable_networks_are_refused_in_one_line(module, shape, message):
    with pytest.raises(UnsupportedError, match=message) as error:
        trace(module, shape)
    assert "\n" not in str(error.value)


class Repeated(nn.Module):
    """The same layer and norm in two places; their weights cannot grow for one of them."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.norm, self.out = nn.BatchNorm2d(8), nn.Linear(6, 10)

    def forward(self, x):
        x = F.relu(self.a(x))
        for _ in range(2):
            x = F.relu(self.norm(self.b(x)))
        return self.out(F.adaptive_avg_pool2d(F.relu(self.c(x)), 1).flatten(1))


def test_a_module_used_twice_keeps_its_width_and_is_stored_once():
    module = Repeated()
    traced = trace(module, (1, 8, 8))
    assert list(traced.widths()) == ["c"]
    assert {g.fixed for g in traced.groups if "b" in g.producers} == {"b is used more than once"}
    stored = sum(p.numel() for p in module.parameters()) - 2 * 8  # a folded norm leaves no parameters
    assert count_params(traced.shapes(traced.widths())) == stored


def test_dropout_as_a_function_is_refused():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            return self.layer(F.dropout(x.flatten(1), 0.5, self.training))

    with pytest.raises(UnsupportedError, match=r"dropout is called as a function.*nn\.Dropout"):
        trace(Functional(), (1, 8, 8))
