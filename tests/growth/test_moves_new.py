"""New channels: random, of largest gradient, and of Firefly."""

from math import isfinite

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.growth.groups import trace
from edgegrow.growth.moves import Context, firefly, gradmax, offer
from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.firefly import GRADIENT_STEPS, SIZE
from edgegrow.training import generator

from .moving import applied, change, logits, prepared
from .networks import fit, samples


@pytest.mark.parametrize("kind", ["new", "gradmax", "deepen", "weigh"])
@pytest.mark.parametrize("name", ["mlp", "conv1d", "dscnn", "resnet8", "tied"])
def test_first_order_law(name, kind, digits, double):
    """Each alone, and all together: the loss falls by the slope, and nothing else would lower it more."""
    context, data = prepared(name, digits)
    moves = offer(kind, context)
    for move in moves[::4]:
        assert move.gain > 0
        assert change(context, [move], 1e-5, data) == pytest.approx(1e-5 * move.slope, rel=0.01)
        assert move.predicted(0.2) == pytest.approx(0.2 * move.slope)
    if moves:
        total = sum(move.slope for move in moves)
        assert change(context, moves, 1e-6, data) == pytest.approx(1e-6 * total, rel=0.01)


def test_batch_norms_of_new_channels_are_at_the_statistics_of_the_samples(digits, double):
    """Each norm's statistics are those of what it reads when all norms before it have theirs."""
    context, _ = prepared("dscnn", digits)
    moves = offer("new", context)
    context.batches = context.batches[:1]  # those that statistics are taken from
    made = applied(context, moves)
    graph = made.trace.graph
    seen = {}
    for group in made.trace.growable:
        for name in group.norms:
            hook = lambda module, inputs, name=name: seen.update({name: inputs[0]})  # noqa: E731
            made.trace.module(name).register_forward_pre_hook(hook)
    graph(context.batches[0][0])
    for group in made.trace.growable:
        new = made.trace.widths()[group.name] - context.trace.widths()[group.name]
        assert new > 0
        for name in group.norms:
            norm, values = made.trace.module(name), seen[name][:, -new:].transpose(0, 1).flatten(1)
            torch.testing.assert_close(norm.running_mean[-new:], values.mean(1))
            torch.testing.assert_close(norm.running_var[-new:], values.var(1, unbiased=False))


class Between(nn.Module):
    """Two convolutions with something linear between them, so that GradMax's own assumption holds."""

    def __init__(self, norm):
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.pool = nn.AvgPool2d(2)
        self.second, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(16, 5)

    def forward(self, x):
        return self.out(torch.tanh(self.second(self.pool(self.norm(self.first(x))))).flatten(1))


@pytest.mark.parametrize("norm", [False, True])
def test_gradmax_finds_the_largest_gradient_of_all_unit_filters(norm, double, monkeypatch):
    """Against random filters and against one found by gradient ascent, on a network built by hand."""
    monkeypatch.setattr(gradmax, "_RIDGE", 1e-9)
    torch.manual_seed(0)
    x, y = torch.randn(60, 2, 8, 8), torch.randint(0, 5, (60,))
    module = Between(norm)
    fit(module, x, y, steps=5)
    module.eval()
    context = Context(trace(module, (2, 8, 8)), [(x[:30], y[:30]), (x[30:], y[30:])], generator(0), 4)
    found = gradmax.singular_vectors(context)["first"]
    unit = module.second.weight.detach().transpose(0, 1).flatten(1).norm(dim=1).mean()

    def gradient_norm(v):
        """Norm of the gradient at zero outgoing weights, for filters ``(m, d)`` of unit size."""
        z = F.conv2d(x, v.reshape(len(v), 2, 3, 3), padding=1, stride=2)
        if norm:
            z = z - z.mean((0, 2, 3), keepdim=True)
            z = z / z.pow(2).mean((0, 2, 3), keepdim=True).sqrt()
        outgoing = torch.zeros(4, len(v), 3, 3, requires_grad=True)
        hidden = module.second(module.pool(module.norm(module.first(x))))
        new = F.conv2d(module.pool(z), outgoing, padding=1)
        loss = F.cross_entropy(module.out(torch.tanh(hidden + new).flatten(1)), y)
        (gradient,) = torch.autograd.grad(loss, outgoing, create_graph=True)
        return unit * gradient.transpose(0, 1).flatten(1).norm(dim=1)

    unit_filters = found.filters / (1 if norm else found.filters.norm(dim=1, keepdim=True))
    torch.testing.assert_close(gradient_norm(unit_filters).detach(), found.values, rtol=1e-6, atol=1e-9)
    drawn = torch.randn(100, 18)
    drawn = drawn / drawn.norm(dim=1, keepdim=True)
    assert gradient_norm(drawn).max() < found.values[0]
    climbing = drawn[:4].clone().requires_grad_()
    optimizer = torch.optim.Adam([climbing], 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        reached = gradient_norm(climbing / climbing.norm(dim=1, keepdim=True))
        (-reached.sum()).backward()
        optimizer.step()
    assert reached.max().item() == pytest.approx(found.values[0].item(), rel=1e-3)


def test_gradmax_gains_most_of_all_new_channels(digits):
    context, _ = prepared("mlp", digits, make_smooth=False)
    best, drawn = offer("gradmax", context), offer("new", context)
    for group in context.trace.growable:
        top = max(move.gain for move in best if move.group == group.name)
        assert top > max(move.gain for move in drawn if move.group == group.name)
        assert len([m for m in best if m.group == group.name]) <= context.trace.widths()[group.name]


DEFINED = {"mlp": 2, "conv1d": 3, "dscnn": 1, "mobilenet": 1, "resnet8": 3, "tied": 1}


@pytest.mark.parametrize(("name", "defined"), DEFINED.items())
def test_gradmax_offers_nothing_where_it_is_undefined(name, defined, digits):
    """Groups with a depthwise layer, and such that several producers make."""
    context, _ = prepared(name, digits, n=16)
    groups = {move.group for move in offer("gradmax", context)}
    assert len(groups) == defined
    for group in context.trace.growable:
        if group.depthwise or len(group.producers) > 1:
            assert group.name not in groups


def test_fireflys_scores_sum_to_the_change_of_the_loss(digits, double):
    """Integrated gradients are complete: along the path of all candidates together nothing is left over."""
    context, data = prepared("dscnn", digits)
    moves = offer("firefly", context)
    assert {type(move) for move in moves} == {Copies, type(offer("new", context)[0])}
    together = sum(move.predicted(SIZE) for move in moves)
    assert change(context, moves, SIZE, data) == pytest.approx(together, rel=0.02)
    for move in moves:
        assert (move.slope == 0) == isinstance(move, Copies)
        assert (move.curvature == 0) != isinstance(move, Copies)


def test_fireflys_gradient_steps_lower_the_loss_of_all_together(digits, double, monkeypatch):
    losses = []
    for steps in (0, GRADIENT_STEPS):
        monkeypatch.setattr(firefly, "GRADIENT_STEPS", steps)
        context, (x, y) = prepared("dscnn", digits)
        losses.append(F.cross_entropy(logits(context, offer("firefly", context), SIZE, x), y).item())
    assert losses[1] < losses[0] < F.cross_entropy(context.trace.graph(x), y).item()


def test_fireflys_splits_start_as_the_best_splits(digits, double, monkeypatch):
    monkeypatch.setattr(firefly, "GRADIENT_STEPS", 0)
    context, _ = prepared("tied", digits)
    found = [move for move in offer("firefly", context) if isinstance(move, Copies)]
    for mine, best in zip(found, offer("split", context), strict=True):
        assert mine.group, mine.channel == (best.group, best.channel)
        for name, offset in best.offsets.items():
            torch.testing.assert_close(mine.offsets[name], offset)


def test_samples_of_other_precision_are_not_needed(digits):
    """Kinds work on whatever precision the network has."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10)).double()
    x, y = samples("mlp", digits, 20)
    context = Context(trace(module, (1, 8, 8)), [(x.double(), y)], generator(0), 2)
    for kind in ("signed", "gradmax", "firefly", "deepen"):
        for move in offer(kind, context)[:2]:
            made = applied(context, [move])
            assert all(d.dtype == torch.float64 for d in made.directions.values())


def deadened(how):
    """A network a part of which is dead, with its samples."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 10),
    )  # fmt: skip
    x, y = torch.randn(64, 1, 4, 4), torch.randint(0, 10, (64,))
    network(x)
    network.eval()
    with torch.no_grad():
        how(network)
    return Context(trace(network, (1, 4, 4)), [(x[:32], y[:32]), (x[32:], y[32:])], generator(0), 4)


def closed(network):
    network[1].bias.fill_(-100)


def constant(network):
    network[1].weight.fill_(0)
    network[1].bias.fill_(3.3)


def one_filter(network):
    network[3].weight[0] = 0


def all_filters(network):
    network[3].weight.zero_()


def head(network):
    network[10].weight.zero_()


@pytest.mark.parametrize("how", [closed, constant, one_filter, all_filters, head])
@pytest.mark.parametrize("kind", ["signed", "gradmax", "firefly"])
def test_what_is_dead_leaves_every_offer_a_number(kind, how):
    """ReLUs that never open or never vary, and weights of zero: the others' gains are what they were."""
    context = deadened(how)
    moves = offer(kind, context)
    assert {move.group for move in moves} >= {"8"}
    for move in moves:
        assert isfinite(move.gain)
        tensors = [getattr(move, part, {}) for part in ("filters", "columns", "offsets")]
        assert all(tensor.isfinite().all() for part in tensors for tensor in part.values())
    if kind == "gradmax" and how in (closed, constant):
        assert "3" not in {move.group for move in moves}
