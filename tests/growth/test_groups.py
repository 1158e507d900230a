import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.cost.fvcore import fvcore_macs
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import HardSwish
from edgegrow.deploy.lower import lower
from edgegrow.errors import UnsupportedError
from edgegrow.growth.channels import Piece
from edgegrow.growth.eigenpairs import lanczos
from edgegrow.growth.groups import retrace, trace
from edgegrow.growth.moves.places import find_places
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.growth.surgery import resize
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
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 3, 3), nn.Conv2d(7, 4, 3)
        self.d = nn.Conv2d(4, 6, 1)
        self.out = nn.Linear(6, 10)

    def forward(self, x):
        joined = F.relu(self.c(torch.cat([self.a(x), self.b(x)], 1)))
        return self.out(F.adaptive_avg_pool2d(F.relu(self.d(joined)), 1).flatten(1))


def test_the_consumer_of_a_concatenation_finds_each_group_behind_those_before_it():
    traced = trace(Concatenated(), (1, 8, 8))
    a, b, *_ = traced.growable
    assert traced.columns["c"] == (Piece("a"), Piece("b"))
    assert traced.places(traced.columns["c"], b, torch.tensor([0, 2])).tolist() == [[4], [6]]
    resize(traced, {**traced.widths(), "a": 6})
    assert traced.places(traced.columns["c"], b, torch.tensor([0, 2])).tolist() == [[6], [8]]
    assert traced.places(traced.columns["c"], a, torch.tensor([5])).tolist() == [[5]]
    assert [shape.cin for shape in traced.shapes({"a": 10, "b": 1}) if shape.name == "c"] == [11]


def test_layers_called_with_parameters_are_counted_all_the_same():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 1, 3, 3))
            self.weight, self.out = nn.Parameter(torch.randn(6, 4)), nn.Linear(6, 10)

        def forward(self, x):
            x = F.relu(F.conv2d(x, self.kernel, padding=1)).mean((2, 3))
            return self.out(F.linear(x, self.weight))

    module = Functional()
    traced = trace(module, (1, 6, 6))
    assert count_macs(traced.shapes({})) == fvcore_macs(module, (1, 6, 6)) == 4 * 9 * 36 + 24 + 60


def test_transposed_convolutions_are_counted_at_every_position_of_their_input():
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 2, 3, 2), nn.Flatten(), nn.Linear(338, 10)
    )
    assert count_macs(trace(module, (1, 8, 8)).shapes({})) == fvcore_macs(module, (1, 8, 8))


def test_a_graph_that_was_edited_is_followed_anew():
    module = Concatenated()
    traced = trace(module, (1, 8, 8))
    graph = traced.graph
    graph.add_submodule("extra", nn.Conv2d(4, 4, 1))
    after = next(node for node in graph.graph.nodes if node.target == "a")
    with graph.graph.inserting_after(after):
        inserted = graph.graph.call_module("extra", (after,))
    after.replace_all_uses_with(inserted, delete_user_cb=lambda user: user is not inserted)
    graph.graph.lint()
    graph.recompile()
    again = retrace(graph, (1, 8, 8))
    assert [group.name for group in again.growable] == ["a", "extra", "b", "c", "d"]
    assert again.columns["c"] == (Piece("extra"), Piece("b"))
    assert again.graph is graph


def test_several_outputs_cannot_be_read_as_one():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x):
            return self.a(x), self.b(x)

    with pytest.raises(UnsupportedError, match="returns several outputs"):
        _ = trace(Two(), (4,)).output_shape


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


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (DataDependent(), (4,), "torch.fx cannot trace it"),
        (nn.Linear(4, 2), (5,), r"fails on an input of shape .*: let it take samples of the data's shape"),
        (TwoInputs(), (4,), r"fails on an input of shape .* as its one input"),
        (nn.ReLU(), (5,), "no convolution or linear layer"),
    ],
)
def test_untraceable_networks_are_refused_in_one_line(module, shape, message):
    with pytest.raises(UnsupportedError, match=message) as error:
        trace(module, shape)
    assert "\n" not in str(error.value)


class Repeated(nn.Module):
    """The same layer and norm in two places; what goes in must be what comes out."""

    def __init__(self, cin=8):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, cin, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.norm, self.out = nn.BatchNorm2d(8), nn.Linear(6, 10)

    def forward(self, x):
        x = F.relu(self.a(x))
        for _ in range(2):
            x = F.relu(self.norm(self.b(x)))
        return self.out(F.adaptive_avg_pool2d(F.relu(self.c(x)), 1).flatten(1))


def test_a_module_used_twice_grows_for_all_of_its_places_and_is_stored_once():
    module = Repeated()
    traced = trace(module, (1, 8, 8))
    assert list(traced.widths()) == ["a", "c"]
    assert traced.growable[0].producers == ("a", "b")
    assert [layer.norm for layer in traced.layers if layer.shape.name == "b"] == ["norm", "norm"]
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


class OwnConv(nn.Conv2d):
    pass


class OwnNorm(nn.BatchNorm2d):
    pass


class OwnActivation(nn.Hardswish):
    pass


def test_layers_that_inherit_from_pytorchs_grow_as_those():
    def network(conv, norm, activation):
        return nn.Sequential(
            conv(1, 4, 3), norm(4), activation(), conv(4, 4, 3, groups=4), conv(4, 6, 1), nn.Flatten(),
            nn.Linear(96, 10),
        )  # fmt: skip

    own = trace(network(OwnConv, OwnNorm, OwnActivation), (1, 8, 8))
    plain = trace(network(nn.Conv2d, nn.BatchNorm2d, nn.Hardswish), (1, 8, 8))
    assert list(own.widths()) == ["0", "4"]
    assert own.groups == plain.groups
    resize(own, {"0": 7, "4": 8})
    module = own.module("3")
    assert isinstance(module, OwnConv)
    assert (module.groups, module.in_channels, module.out_channels) == (7, 7, 7)
    assert own.graph(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def hooked(place, way, hook=lambda *arguments: None):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU()), nn.Flatten(), nn.Linear(144, 10))
    getattr(network.get_submodule(place), way)(hook)
    return network


def weighed(weigh):
    return nn.Sequential(nn.Flatten(), weigh(nn.Linear(64, 8)), nn.Linear(8, 10))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (hooked("0", "register_forward_hook"), r"layer 0 \(Conv2d\): it has a forward hook \(<lambda>\)"),
        (hooked("1.0", "register_forward_pre_hook", print), r"layer 1.0 \(ReLU\): .* hook \(print\)"),
        (hooked("", "register_forward_hook"), r"network Sequential: it has a forward hook"),
        (weighed(nn.utils.weight_norm), r"layer 1 \(Linear\): .*nn.utils.parametrizations.weight_norm"),
        (weighed(nn.utils.spectral_norm), r"layer 1 \(Linear\): .*nn.utils.parametrizations.spectral_norm"),
    ],
)
@pytest.mark.parametrize("read", [trace, lower])
def test_hooks_that_would_be_left_out_are_refused(network, message, read):
    sum(network(torch.zeros(1, 1, 8, 8))[0]).backward()  # a weight that a hook has set cannot be copied
    with pytest.raises(UnsupportedError, match=message) as error:
        read(network, (1, 8, 8))
    assert "\n" not in str(error.value)


def test_hooks_of_containers_are_traced():
    network = hooked("1", "register_forward_hook", lambda module, inputs, output: F.hardswish(output)).eval()
    traced = trace(network, (1, 8, 8))
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(traced.graph.eval()(x), network(x))
    assert any(isinstance(op, HardSwish) for op in lower(traced.graph, (1, 8, 8)).operators)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_parametrized_layers_are_left_at_their_widths_and_deployed(name):
    network = weighed(getattr(nn.utils.parametrizations, name))
    sum(network(torch.zeros(1, 1, 8, 8))[0]).backward()
    network.eval()
    traced = trace(network, (1, 8, 8))
    assert "computed from others" in traced.groups[1].fixed
    x = torch.randn(2, 1, 8, 8)
    expected = network(x).detach().numpy()
    assert evaluate(lower(traced.graph, (1, 8, 8)), x.numpy()) == pytest.approx(expected, abs=1e-5)


class Wavering(nn.Module):
    """Computes something else in evaluation than in training."""

    def __init__(self, in_training):
        super().__init__()
        self.first, self.last, self.in_training = nn.Linear(64, 8), nn.Linear(8, 10), in_training

    def forward(self, x):
        x = self.last(self.first(x.flatten(1)))
        return self.in_training(x) if self.training else x


@pytest.mark.parametrize("in_training", [F.relu, lambda x: (x, x)], ids=["value", "structure"])
def test_a_network_that_was_traced_for_training_alone_is_refused(in_training):
    with pytest.raises(UnsupportedError, match=r"network Wavering: .* branches on self\.training"):
        trace(Wavering(in_training), (1, 8, 8))
    assert trace(Wavering(in_training).eval(), (1, 8, 8)).widths() == {"first": 8}


class Optional(nn.Module):
    """Takes more than its inputs, and calls layers by name."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 5), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x, other=None, *rest, features=False, **more):
        y = self.a(input=x)
        if other is not None:
            y = y + self.b(other)
        y = F.relu(input=more.setdefault("kept", y))
        return y if features else self.out(input=y)


@pytest.mark.parametrize("shapes", [(4,), ((4,), (3,))])
def test_arguments_behind_the_inputs_have_their_defaults(shapes):
    network = Optional()
    traced = trace(network, shapes)
    inputs = [torch.randn(3, *shape) for shape in (((4,),) if shapes == (4,) else shapes)]
    assert torch.equal(traced.graph(*inputs), network(*inputs))
    (group,) = traced.growable
    assert group.producers == (("a",) if shapes == (4,) else ("a", "b"))
    assert len(find_places(traced)) == 1
    batch = inputs[0] if len(inputs) == 1 else tuple(inputs)
    operator = SplittingOperator(traced, [(batch, torch.tensor([0, 1, 1]))])
    (index,) = lanczos(operator, 3, torch.Generator().manual_seed(0))
    assert index.eigenvalues.shape == (5,)
    if shapes == (4,):
        graph = lower(network, shapes)
        found = torch.from_numpy(evaluate(graph, inputs[0].numpy()))
        assert torch.allclose(found, network(*inputs), atol=1e-6)


class Variadic(Optional):
    def forward(self, *inputs):
        return super().forward(inputs[0])


def test_inputs_without_a_name_are_refused_in_one_line():
    with pytest.raises(UnsupportedError, match=r"its forward names 0 of 1 inputs: name them all[^\n]*$"):
        trace(Variadic(), (4,))


class Attention(nn.Module):
    """Two heads, whose size is taken from that of the tokens, as is usual."""

    def __init__(self):
        super().__init__()
        self.tokens, self.qkv, self.out = nn.Linear(3, 8), nn.Linear(8, 24), nn.Linear(8, 2)

    def forward(self, x):
        x = self.tokens(x)
        n, length, size = x.shape[0], x.shape[1], x.shape[2]
        heads = self.qkv(x).reshape(n, length, 3, 2, size // 2).permute(2, 0, 3, 1, 4)
        scores = (heads[0] @ heads[1].transpose(-2, -1)).softmax(-1)
        return self.out((scores @ heads[2]).transpose(1, 2).reshape(n, length, size).mean(1))


def test_a_trial_that_fails_is_told_by_its_group_alone(capfd):
    traced = trace(Attention(), (5, 3))
    (group,) = (group for group in traced.groups if group.name == "tokens")
    assert "widening it fails" in group.fixed
    assert capfd.readouterr() == ("", "")


def test_a_count_that_fails_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    with pytest.raises(RuntimeError):
        fvcore_macs(network, (3,))
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in network.modules())
    assert network.training
