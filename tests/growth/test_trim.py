"""Kernels narrowed to their centre taps: outputs stay where they are, what is freed goes into channels."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from edgegrow.config import GrowConfig, TrainConfig
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.data.dataset import Dataset, Split
from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import Conv2D
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.growth.groups import trace
from edgegrow.growth.grow import Grower
from edgegrow.growth.moves import Context, offer, replay
from edgegrow.growth.moves.kernels import find_wide, narrow_kernels
from edgegrow.growth.probe import count_of
from edgegrow.growth.progress import Progress
from edgegrow.growth.seed import plant_seed
from edgegrow.growth.surgery import resize
from edgegrow.nets import SeedNetwork
from edgegrow.nets.layers import conv_norm
from edgegrow.profiling import simulated_logits
from edgegrow.training import generator, make_optimizer

from .moving import SMALL, applied, prepared, step_to
from .networks import INPUTS, build, fit
from .test_grow import Notes, pricing
from .test_vetting import Told


class Padded(nn.Module):
    """Pads by a call of `F.pad`, whose arguments are given in a way."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.conv, self.args, self.kwargs = nn.Conv2d(2, 3, 5, stride=2), args, kwargs

    def forward(self, x):
        return self.conv(F.pad(x, *self.args, **self.kwargs))


class PadReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.pad, self.conv, self.beside = nn.ConstantPad1d(2, 0.0), nn.Conv1d(2, 3, 5), nn.Conv1d(2, 3, 1)

    def forward(self, x):
        padded = self.pad(x)
        return self.conv(padded) + self.beside(padded)[..., 2:-2]


class Twice(nn.Module):
    """A convolution that runs twice, behind a pad or with padding of its own."""

    def __init__(self, pad, padding):
        super().__init__()
        self.pad, self.conv = pad, nn.Conv1d(2, 2, 5, padding=padding)

    def forward(self, x):
        return self.conv(self.pad(self.conv(self.pad(x)).relu()))


class SharedWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 2, 5, padding=2), nn.Conv1d(2, 2, 5, padding=2)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x).relu())


SIGNAL, MAP = (2, 12), (2, 9, 12)
KERNELS = {
    "signal": (nn.Conv1d(2, 3, 5, padding=2), SIGNAL, (3,)),
    "strided": (nn.Conv1d(2, 3, 7, stride=2, padding=3), SIGNAL, (3,)),
    "map": (nn.Conv2d(2, 3, 5, padding=2), MAP, (3, 3)),
    "one axis": (nn.Conv2d(2, 3, (3, 9), padding=(0, 5)), MAP, (3, 3)),
    "even": (nn.Conv2d(2, 3, (4, 5), padding=(2, 2)), MAP, (4, 3)),
    "depthwise": (nn.Conv2d(2, 4, 5, padding=2, groups=2), MAP, (3, 3)),
    "grouped": (nn.Conv1d(4, 6, 5, padding=2, groups=2), (4, 12), (3,)),
    "dilated": (nn.Conv1d(2, 3, 5, padding=4, dilation=2), SIGNAL, (3,)),
    "dilated too far": (nn.Conv1d(2, 3, 5, padding=1, dilation=2), SIGNAL, (5,)),
    "same": (nn.Conv2d(2, 3, (5, 7), padding="same", dilation=(1, 2)), MAP, (3, 3)),
    "ahead": (nn.Sequential(nn.ConstantPad1d((1, 2), 0.0), nn.Conv1d(2, 3, 5, stride=2)), SIGNAL, (3,)),
    "zeros ahead": (nn.Sequential(nn.ZeroPad2d((1, 2, 2, 3)), nn.Conv2d(2, 3, 5, stride=2)), MAP, (3, 3)),
    "ones ahead": (nn.Sequential(nn.ConstantPad1d((1, 2), 1.0), nn.Conv1d(2, 3, 5, stride=2)), SIGNAL, (3,)),
    "both": (nn.Sequential(nn.ZeroPad2d((1, 2, 0, 0)), nn.Conv2d(2, 3, 5, padding=(2, 0))), MAP, (3, 3)),
    "one axis ahead": (nn.Sequential(nn.ConstantPad2d((2, 2, 0, 1), 0.0), nn.Conv2d(2, 3, 5)), MAP, (5, 3)),
    "called": (Padded((1, 2, 1, 2)), MAP, (3, 3)),
    "called by name": (Padded(pad=(1, 2), mode="constant", value=0.5), MAP, (5, 3)),
    "mirrored ahead": (Padded((2, 2, 2, 2), mode="reflect"), MAP, (5, 5)),
    "valid": (nn.Conv1d(2, 3, 5), SIGNAL, (5,)),
    "valid by name": (nn.Conv1d(2, 3, 5, padding="valid"), SIGNAL, (5,)),
    "little padding": (nn.Conv1d(2, 3, 7, padding=1), SIGNAL, (7,)),
    "little ahead": (nn.Sequential(nn.ConstantPad1d((0, 3), 0.0), nn.Conv1d(2, 3, 5)), SIGNAL, (5,)),
    "mirrored": (nn.Conv1d(2, 3, 5, padding=2, padding_mode="reflect"), SIGNAL, (5,)),
    "read twice": (PadReadTwice(), SIGNAL, (5,)),
    "runs twice": (Twice(nn.Identity(), 2), SIGNAL, (3,)),
    "runs twice behind a pad": (Twice(nn.ConstantPad1d(2, 0.0), 0), SIGNAL, (5,)),
    "shared weight": (SharedWeight(), SIGNAL, (5,)),
    "narrow": (nn.Conv1d(2, 3, 3, padding=1), SIGNAL, (3,)),
}


def widest(module):
    """The convolution of a network with the largest kernel."""
    convs = [m for m in module.modules() if isinstance(m, nn.Conv1d | nn.Conv2d)]
    return max(convs, key=lambda conv: conv.weight[0, 0].numel())


def centre(weight, size):
    """Central taps, by slices."""
    for axis, taps in enumerate(size, 2):
        outer = (weight.shape[axis] - taps) // 2
        weight = weight.narrow(axis, outer, taps)
    return weight


@pytest.mark.parametrize("name", KERNELS)
def test_the_centre_is_kept_and_outputs_stay_where_they_are(name, double):
    """With outer taps of zero the network is the same one; what cannot be narrowed is not touched."""
    module, shape, size = KERNELS[name]
    network = trace(nn.Sequential(deepcopy(module).double()), shape)
    before = widest(network.graph)
    kept = centre(before.weight.detach().clone(), size)
    with torch.no_grad():
        mask = torch.zeros_like(before.weight)
        centre(mask, size).fill_(1.0)
        before.weight *= mask
    x = torch.randn(3, *shape)
    expected = network.graph(x)
    wide = find_wide(network)
    assert bool(wide) == (kept.shape != before.weight.shape or not mask.all())
    after = narrow_kernels(deepcopy(network))
    conv = widest(after.graph)
    assert torch.equal(conv.weight, kept)
    assert conv.kernel_size == size
    torch.testing.assert_close(after.graph(x), expected, rtol=1e-12, atol=1e-12)
    recounted = trace(after.graph, shape)
    for count in (count_macs, count_params):
        assert count(after.shapes({})) == count(recounted.shapes({}))
    assert find_wide(after) == []
    assert after.widths() == network.widths()


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(7, 20), kernel=st.integers(1, 9), stride=st.integers(1, 3), depthwise=st.booleans(),
    one_d=st.booleans(),
)  # fmt: skip
def test_a_network_of_ours_is_still_padded_as_devices_pad(size, kernel, stride, depthwise, one_d):
    """Lowering knows ``SAME`` and no padding at all; what is narrowed is the former, before and after."""
    sizes = (size,) if one_d else (size, size + 1)
    layers = conv_norm(2, 4, sizes, kernel=kernel, stride=stride, groups=2 if depthwise else 1)
    network = trace(nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3)).eval(), (2, *sizes))
    trimmed = narrow_kernels(deepcopy(network))
    before, after = ([layer.shape.positions for layer in t.layers] for t in (network, trimmed))
    assert after == before
    graph = lower(trimmed.graph, (2, *sizes))
    x = torch.randn(2, 2, *sizes)
    with torch.no_grad():
        np.testing.assert_allclose(evaluate(graph, x.numpy()), trimmed.graph(x), rtol=1e-3, atol=1e-4)


def test_the_change_of_the_loss_is_that_of_the_taps_at_first_order(digits, double):
    """Outer taps are made small, where the first order is all there is."""
    context, (x, y) = prepared("conv1d", digits)
    graph = context.trace.graph
    with torch.no_grad():
        for wide in find_wide(context.trace):
            whole = wide.conv.weight
            outer = torch.ones_like(whole)
            centre(outer, (3,)).fill_(0.0)
            whole -= (1 - 1e-5) * outer * whole
    (move,) = offer("trim", context)
    with torch.no_grad():
        before = F.cross_entropy(graph(x), y)
        after = F.cross_entropy(applied(context, [move]).trace.graph(x), y)
    assert move.predicted(0.02) == move.predicted(0.5) == -move.gain != 0
    assert (after - before).item() == pytest.approx(move.predicted(0.1), rel=0.01)
    assert not move.layers
    assert not move.channels


def test_moves_made_with_it_are_narrowed_alike(digits, double):
    """Splits, new neurons and a block beside it: as if kernels were cut when all of them are made."""
    context, (x, _) = prepared("conv1d", digits)
    others = [*offer("split", context)[::3], *offer("deepen", context)[:2]]
    whole, cut = applied(context, others), applied(context, [*offer("trim", context), *others])
    step_to(whole, 0.3)
    step_to(cut, 0.3)
    torch.testing.assert_close(cut.trace.graph(x), narrow_kernels(whole.trace).graph(x))
    assert all(p.shape == d.shape for p, d in cut.directions.items())
    assert [insertion.form for insertion in cut.insertions] == ["trim", "plain", "plain"]


def test_the_optimiser_carries_on(digits):
    context, (x, y) = prepared("conv1d", digits, make_smooth=False)
    graph = context.trace.graph
    optimizer = make_optimizer(graph, 0.05, 0.9, 1e-4)
    F.cross_entropy(graph(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    momenta = {name: optimizer.state[p]["momentum_buffer"].clone() for name, p in graph.named_parameters()}
    made = applied(context, offer("trim", context), optimizer)
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    assert trained == set(made.trace.graph.parameters())
    for name, parameter in made.trace.graph.named_parameters():
        wanted = centre(momenta[name], (3,)) if parameter.ndim == 3 else momenta[name]
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], wanted)
    F.cross_entropy(made.trace.graph(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize("first", ["trim", "deepen"])
def test_records_rebuild_it_in_whatever_order(first, digits):
    """Blocks before it and behind it keep their places and names, and their own kernels."""
    context, (x, y) = prepared("conv1d", digits, make_smooth=False, products=2)
    records, second = [], {"trim": "deepen", "deepen": "trim"}[first]
    for kinds in ((first,), (second, "split"), ("deepen",)):
        moves = [move for kind in kinds for move in offer(kind, context)[:2]]
        made = applied(context, moves)
        fit(made.trace.graph, x, y, steps=2)
        records += [insertion.to_json() for insertion in made.insertions]
        context = Context(made.trace, context.batches, context.generator, 2)
        assert bool(offer("trim", context)) == (first == "deepen" and len(records) == 2)
    made.trace.graph.eval()
    assert [record["form"] for record in records].count("trim") == 1
    rebuilt = replay(trace(build("conv1d", SMALL["conv1d"]), INPUTS["conv1d"]), records)
    resize(rebuilt, made.trace.widths())
    assert list(rebuilt.graph.state_dict()) == list(made.trace.graph.state_dict())
    assert [str(group) for group in rebuilt.groups] == [str(group) for group in made.trace.groups]
    assert rebuilt.shapes({}) == made.trace.shapes({})
    rebuilt.graph.load_state_dict(made.trace.graph.state_dict())
    rebuilt.graph.eval()
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.graph(x), made.trace.graph(x))


def test_a_kernel_as_large_as_the_map_stays():
    """That of weights for a pooled map's positions is a block's; the network's own are narrowed beside it."""
    module = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = trace(nn.Sequential(*module, nn.Linear(6, 4)).eval(), (1, 8, 8))
    context = Context(network, [(torch.randn(12, 1, 8, 8), torch.arange(12) % 4)], generator(0), 2)
    made = applied(context, offer("weigh", context))
    again = Context(made.trace, context.batches, context.generator, 2)
    cut = applied(again, offer("trim", again))
    assert [layer.shape.taps for layer in cut.trace.layers] == [9, 64, 1]


def test_a_trimmed_network_is_lowered_and_quantized(digits):
    context, (x, y) = prepared("conv1d", digits, make_smooth=False)
    made = applied(context, offer("trim", context))
    fit(made.trace.graph, x, y, steps=20)
    made.trace.graph.eval()
    graph = lower(made.trace.graph, INPUTS["conv1d"])
    windows = [op.window for op in graph.operators if isinstance(op, Conv2D)]
    assert [(window.size, window.padding) for window in windows] == [((1, 3), "SAME")] * 3
    with torch.no_grad():
        expected = made.trace.graph(x)
    np.testing.assert_allclose(evaluate(graph, x.numpy()), expected.numpy(), rtol=1e-3, atol=1e-4)
    found = simulated_logits(quantize(graph, x.numpy()), x.numpy()).argmax(1)
    assert np.mean(found == expected.argmax(1).numpy()) > 0.9


def signals(n=900, length=32):
    """Two classes that differ in neighbouring samples of a signal alone, in noise: three taps tell them."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (n,), generator=rng)
    x = torch.randn(n, 1, length, generator=rng)
    x[:, 0, 1:] += torch.where(y == 1, 0.6, -0.6)[:, None] * x[:, 0, :-1]
    parts = (slice(500), slice(500, 700), slice(700, n))
    return Dataset("signals", *(Split(x[p].numpy(), y[p].numpy()) for p in parts), ("a", "b"), False, "")


def five_taps(input_shape, classes, widths):
    first, second = widths
    layers = [*conv_norm(1, first, (32,), kernel=5, stride=2), nn.ReLU()]
    layers += [*conv_norm(first, second, (16,), kernel=5, stride=2), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * second, classes))


class Weighed(Told):
    """Keeps the kernels and the size of every network that it is asked about."""

    def __init__(self, data, losses):
        super().__init__(data, 0.6, 0.6, price=1e5, losses=losses)
        self.seen = []

    def look(self, trace, on_step):
        self.seen.append((taps(trace), count_of(trace)))
        return super().look(trace, on_step)


def taps(network):
    return [layer.shape.taps for layer in network.layers]


def grown(*losses):
    """Grow where few samples tell the two classes apart, and a kernel of three is enough."""
    data, limits = signals(), {"macs": 4e3}
    config = GrowConfig(moves=("split", "trim"), samples=64, interval=0.04)
    net = SeedNetwork("five", five_taps, (8, 8))
    planted = plant_seed(net, data.input_shape, 2, pricing("macs")(()), limits, config.seed_fraction, 0)
    notes, progress = Notes(), Progress()
    grower = Grower(planted, data, pricing("macs"), limits, TrainConfig(epochs=30.0), config, 0, notes)
    if losses:
        grower.vetting = Weighed(data, losses)
    grower.grow(progress)
    return grower, progress, notes


def test_a_growth_step_takes_it_by_the_rule_and_spends_what_it_frees():
    grower, progress, notes = grown()
    for step in notes.of("growth"):
        options = {option["allocation"]: option for option in step["options"]}
        losses = {name: option["validation_loss"] for name, option in options.items()}
        wide, narrow = options["proportional"]["widths"], options["trim"]["widths"]
        assert all(narrow[name] >= wide[name] for name in wide)
        assert sum(narrow.values()) > sum(wide.values())
        vetted = [one for one in progress.vetted.values() if one["step"] == step["step"]]
        ahead = losses["trim"] <= min(0.98 * losses["proportional"], *losses.values())
        assert len(vetted) == ahead
        assert (step["allocation"] == "trim") == (ahead and vetted[0]["holds"])
        assert step["kinds"].get("trim", 0) == (step["allocation"] == "trim")
    taken = [step["allocation"] for step in notes.of("growth")].count("trim")
    assert [record["form"] for record in progress.insertions] == ["trim"] * taken
    assert taps(grower.trace) == ([3, 3, 1] if taken else [5, 5, 1])
    assert grower.macs == count_of(trace(grower.trace.graph, (1, 32))) == step["costs"]["macs"] <= 4e3


def test_it_is_looked_at_with_the_channels_that_it_buys():
    """Beside the network that is taken otherwise: both as large as the step allows."""
    held, progress, notes = grown(1.0, 1.4)
    assert [record["form"] for record in progress.insertions] == ["trim"]
    (step,) = [step for step in notes.of("growth") if step["allocation"] == "trim"]
    (without, large), (with_, small) = held.vetting.seen
    assert (without, with_) == ([5, 5, 1], [3, 3, 1])
    assert small == step["costs"]["macs"]
    assert 0.9 < small / large < 1.1
    refused, progress, notes = grown(1.0, 1.6)
    assert not progress.insertions
    assert taps(refused.trace) == [5, 5, 1]
    assert "trim" not in [step["allocation"] for step in notes.of("growth")]
    assert refused.vetting.seen == held.vetting.seen


def test_kernels_of_three_offer_nothing(digits):
    context, _ = prepared("dscnn", digits, n=16, steps=1)
    assert offer("trim", context) == []
    assert context.macs == 0
