"""What each operation does to the channels that pass it: they grow, or are named with the reason."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.growth.groups import trace

SHAPE = (3, 6, 6)
CASES = {}


def case(grown, *, fixed=None, **layers):
    """A network of ``a`` and ``b``, convolutions to 8 channels, a classifier ``out`` and more layers."""

    def register(function):
        CASES[function.__name__] = (function, layers, grown, fixed or {})
        return function

    return register


class Network(nn.Module):
    def __init__(self, function, layers):
        super().__init__()
        self.function = function
        self.a, self.b = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.out = nn.Linear(8, 10)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def classify(self, x):
        return self.out(x.mean((2, 3)))

    def forward(self, x):
        return self.function(self, x)


@case(["b"], fixed={"a": "sort (sort) is not followed"})
def an_unknown_operation(n, x):
    return n.classify(n.b(n.a(x).sort(1)[0]))


@case(["b"], fixed={"a": "transposed convolutions do not grow: t"}, t=nn.ConvTranspose2d(8, 8, 2, 2))
def a_transposed_convolution(n, x):
    return n.classify(n.b(n.t(n.a(x))))


@case(["b"], fixed={"a": "GroupNorm (g) takes statistics over it"}, g=nn.GroupNorm(2, 8))
def a_group_norm_of_several_channels(n, x):
    return n.classify(n.b(n.g(n.a(x))))


@case(["a", "b"], g=nn.GroupNorm(8, 8))
def a_group_norm_of_single_channels(n, x):
    return n.classify(n.b(n.g(n.a(x))))


@case(["b"], fixed={"a": "conv2d (conv2d) is not followed"}, w=nn.Parameter(torch.ones(8, 8, 1, 1)))
def a_convolution_with_a_parameter(n, x):
    return n.classify(n.b(F.conv2d(n.a(x), n.w)))


@case(["b"], fixed={"a": "add (add) joins it to what cannot grow"}, w=nn.Parameter(torch.ones(8, 1, 1)))
def a_parameter_that_is_added(n, x):
    return n.classify(n.b(n.a(x) + n.w))


@case(["a", "b"], w=nn.Parameter(torch.ones(1, 1, 6, 6)))
def a_parameter_for_every_position(n, x):
    return n.classify(n.b(n.a(x) + n.w))


@case(["b"], fixed={"a": "view (view) writes its size"})
def a_size_that_is_written_down(n, x):
    return n.classify(n.b(n.a(x).view(-1, 8, 36).view(-1, 8, 6, 6)))


@case(["a", "b"])
def a_size_that_is_found(n, x):
    y = n.a(x)
    return n.classify(n.b(y.reshape(y.size(0), -1, 36).unflatten(2, (6, 6))))


@case(["b"], fixed={"a": "split (split) writes its size"})
def a_split_of_written_sizes(n, x):
    return n.classify(n.b(torch.cat(n.a(x).split(4, 1), 1)))


@case(["a", "b"])
def a_split_of_computed_sizes(n, x):
    y = n.a(x)
    return n.classify(n.b(torch.cat(y.split(y.shape[1] // 2, 1), 1)))


@case(["b"], fixed={"a": "getitem (getitem) takes a part of it"}, b=nn.Conv2d(4, 8, 3))
def a_slice_of_channels(n, x):
    return n.classify(n.b(n.a(x)[:, :4]))


@case(["a", "b"])
def a_slice_of_positions(n, x):
    return n.classify(n.b(n.a(x)[:, :, ::2, 1:]))


@case(["b"], fixed={"a": "amax (amax) sums over it"}, b=nn.Conv2d(1, 8, 3))
def a_maximum_over_channels(n, x):
    return n.classify(n.b(n.a(x).amax(1, keepdim=True)))


@case(["a", "b"], fixed={"s": "mul (mul) repeats its one channel"}, s=nn.Conv2d(8, 1, 1))
def attention_to_positions(n, x):
    y = n.a(x)
    return n.classify(n.b(y * torch.sigmoid(n.s(y))))


@case(["b"], fixed={"a": "softmax (softmax) sums over it"})
def a_softmax_over_channels(n, x):
    return n.classify(n.b(F.softmax(n.a(x), 1)))


@case(["a", "b"])
def a_softmax_over_positions(n, x):
    return n.classify(n.b(F.softmax(n.a(x), -1)))


@case(["a", "b"])
def a_product_with_one_channel_of_the_input(n, x):
    return n.classify(n.b(n.a(x)) * x[:, :1])


@case(["b"], fixed={"a": "widening it changes the function"})
def a_scale_that_counts_channels(n, x):
    y = n.a(x)
    return n.classify(n.b(y / y.shape[1]))


@case(["b"], fixed={"a": "pad (pad) pads it"}, b=nn.Conv2d(10, 8, 3))
def padded_channels(n, x):
    return n.classify(n.b(F.pad(n.a(x), (0, 0, 0, 0, 1, 1))))


@case(["a", "b"])
def padded_positions(n, x):
    return n.classify(n.b(F.pad(n.a(x), (1, 1, 0, 2))))


@case(
    ["b"],
    fixed={"a": "the grouped convolution b cannot be cut between its channels"},
    b=nn.Conv2d(72, 12, 1, groups=6),
    out=nn.Linear(12, 10),
)
def groups_that_end_inside_a_channel(n, x):
    return n.classify(n.b(F.pixel_unshuffle(n.a(x), 3)))


@case(["a", "b"], b=nn.Conv2d(72, 8, 1, groups=4))
def groups_of_whole_channels(n, x):
    return n.classify(n.b(F.pixel_unshuffle(n.a(x), 3)))


@case(["a", "b"], b=nn.Conv2d(2, 8, 1))
def places_that_become_pixels(n, x):
    return n.classify(n.b(F.pixel_shuffle(n.a(x), 2)))


@case(["a"])
def a_sum_of_a_stack(n, x):
    y = n.a(x)
    return n.classify(torch.stack([y, n.b(y)]).sum(0))


@case(["a", "b"], pool=nn.AdaptiveAvgPool2d(1))
def an_expanded_gate(n, x):
    y = n.a(x)
    return n.classify(n.b(y * n.pool(y).expand_as(y)))


@case(["a", "b"], pool=nn.AdaptiveAvgPool2d(1))
def a_squeezed_gate(n, x):
    y = n.a(x)
    gate = n.pool(y).squeeze(-1).squeeze(-1)
    return n.classify(n.b(y * gate[:, :, None, None]))


@case(["a", "b"], rows=nn.Linear(6, 8))
def channels_made_by_layers_of_two_kinds(n, x):
    return n.classify(n.b(n.a(x) + n.rows(x).permute(0, 3, 2, 1).mean(3, keepdim=True)))


@case(["a", "b"], rows=nn.Linear(6, 6))
def a_linear_layer_beside_channels(n, x):
    return n.classify(n.b(n.rows(n.a(x))))


@case(["a", "b"], norm=nn.LayerNorm(6))
def a_layer_norm_beside_channels(n, x):
    return n.classify(n.b(n.norm(n.a(x))))


@case(
    ["a", "c"], fixed={"b": "Conv1d (c) slides along it"}, c=nn.Conv1d(36, 4, 3, 1, 1), out=nn.Linear(4, 10)
)
def a_convolution_that_slides_along_channels(n, x):
    return n.out(n.c(n.b(n.a(x)).flatten(2).transpose(1, 2)).mean(2))


@case(["a", "b"], fixed={"c": "mean (mean) sums over it"}, c=nn.Conv1d(36, 4, 1))
def a_pointwise_convolution_beside_channels(n, x):
    return n.out(n.c(n.b(n.a(x)).flatten(2).transpose(1, 2)).mean(1))


@case(["b"], a=nn.Conv2d(3, 4, 3, 1, 1), b=nn.Conv2d(16, 8, 1))
def one_layer_for_channels_that_do_not_match(n, x):
    """Once each channel's copies lie apart, and once they lie together."""
    y = n.a(x)
    apart, together = torch.cat([y, y, y, y], 1), F.pixel_unshuffle(F.interpolate(y, scale_factor=2), 2)
    return n.classify(n.b(apart)) + n.classify(n.b(together))


@case(["a", "b"], a=nn.Conv2d(3, 4, 3, 1, 1), b=nn.Conv2d(8, 4, 1), out=nn.Linear(4, 10))
def one_layer_for_one_half_twice_and_for_both(n, x):
    y, z = n.a(x), n.a(x.flip(3))
    return n.classify(n.b(torch.cat([y, y], 1))) + n.classify(n.b(torch.cat([y, z], 1)))


@pytest.mark.parametrize("name", CASES)
def test_what_grows_and_what_is_named_with_its_reason(name):
    function, layers, grown, fixed = CASES[name]
    traced = trace(Network(function, layers), SHAPE)
    reasons = {group.name: group.fixed for group in traced.groups if group.fixed}
    assert list(traced.widths()) == grown, reasons
    assert {group: reasons[group] for group in fixed} == fixed


def test_tied_parameters_keep_their_width():
    network = Network(lambda n, x: n.classify(n.c(n.b(n.a(x)))), {"c": nn.Conv2d(8, 8, 3, 1, 1)})
    network.c.weight = network.b.weight
    traced = trace(network, SHAPE)
    assert not traced.growable
    assert next(g for g in traced.groups if g.name == "b").fixed == "b shares a parameter with c"


def test_a_computed_weight_keeps_its_width():
    network = Network(lambda n, x: n.classify(n.b(n.a(x))), {})
    nn.utils.parametrizations.weight_norm(network.b)
    fixed = {group.name: group.fixed for group in trace(network, SHAPE).groups}
    assert fixed["b"] == fixed["a"] == "the weight of b is computed from others"


def test_a_norm_that_has_its_layer_not_for_itself_does_not_follow_it():
    """Its filters cannot be rescaled with the norm's statistics."""

    def shared(n, x):
        y = n.a(x)
        return n.classify(n.b(n.norm(y) + y))

    def alone(n, x):
        return n.classify(n.b(n.norm(n.a(x))))

    norms = [
        [layer.norm for layer in trace(Network(function, {"norm": nn.BatchNorm2d(8)}), SHAPE).layers]
        for function in (shared, alone)
    ]
    assert norms == [["", "", ""], ["norm", "", ""]]
