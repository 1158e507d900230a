"""What all kinds of moves promise alike."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.groups import trace
from edgegrow.growth.moves import KINDS, Context, apply, offer
from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.neurons import Neuron
from edgegrow.growth.moves.signed import SCHEMES
from edgegrow.training import generator, make_optimizer

from .moving import Tied, applied, change, logits, prepared, step_to
from .networks import INPUTS

PRESERVING = [kind for kind in KINDS if kind != "trim"]


def mixture(context):
    """Candidates of every kind but trim, none of which copies the same channel: kinds take turns."""
    chosen, taken = [], set()
    for number, kind in enumerate(PRESERVING):
        for move in offer(kind, context):
            place = (move.group, move.channel) if isinstance(move, Copies) else None
            if place in taken or (place is not None and place[1] % len(PRESERVING) != number % 4):
                continue
            taken |= {place} if place is not None else set()
            chosen.append(move)
    return chosen


@pytest.mark.parametrize("kind", PRESERVING)
@pytest.mark.parametrize("name", ["mlp", "conv1d", "dscnn", "resnet8"])
def test_at_step_zero_every_kind_but_trim_keeps_the_function(name, kind, digits):
    """In single precision; half of the candidates at once, in all groups."""
    context, (x, _) = prepared(name, digits, make_smooth=False, products=2)
    moves = offer(kind, context)[::2]
    assert moves or kind == "gradmax" or (kind == "weigh" and name in ("mlp", "conv1d"))
    with torch.no_grad():
        before = context.trace.graph(x)
    after = logits(context, moves, 0.0, x)
    assert (after - before).abs().max() <= 2e-6 * before.abs().max()


@pytest.mark.parametrize("name", ["mobilenet", "resnet8", "tied"])
def test_at_step_zero_kinds_together_keep_the_function_and_cost_what_they_say(name, digits, double):
    context, (x, _) = prepared(name, digits, n=24, products=2)
    moves = mixture(context)
    pools = {"weigh"} if name == "resnet8" else set()
    assert {move.kind for move in moves} >= set(PRESERVING) - {"gradmax", "weigh"} | pools
    with torch.no_grad():
        before = context.trace.graph(x)
    made = applied(context, moves)
    with torch.no_grad():
        torch.testing.assert_close(made.trace.graph(x), before, rtol=1e-12, atol=1e-12)
    widths = context.trace.widths()
    for move in moves:
        for group, count in move.channels.items():
            widths[group] += count
    assert made.trace.widths() == widths
    recounted = trace(made.trace.graph, INPUTS.get(name, (1, 8, 8)))
    added = tuple(layer for move in moves for layer in move.layers)
    deeper = deepcopy(context.trace)
    object.__setattr__(deeper, "layers", deeper.layers + added)
    for count in (count_macs, count_params):
        assert count(deeper.shapes(widths)) == count(recounted.shapes({}))
    assert {p.shape for p in made.directions} == {d.shape for d in made.directions.values()}
    assert all(p.shape == d.shape for p, d in made.directions.items())


@pytest.mark.parametrize("name", ["dscnn", "tied"])
def test_kinds_at_once_add_up_at_second_order(name, digits, double):
    """Splits and signed splits in all groups, filters that are split while their inputs are."""
    context, data = prepared(name, digits, products=12)
    splits, signed = offer("split", context), offer("signed", context)
    moves = [m for m in splits if m.channel == 0] + [m for m in signed if m.channel in (1, 2)]
    predicted = sum(move.predicted(0.01) for move in moves)
    assert change(context, moves, 0.01, data) == pytest.approx(predicted, rel=0.05)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999))
def test_any_mixture_acts_as_the_sum_of_its_moves(seed):
    """On the outputs themselves: first derivatives of any moves add, and second ones of copies.

    Offsets and outgoing weights are random, and so are the groups: whatever is laid out in a wrong place, or
    not scaled with its copy, shows. Neighbours grow together, and the tied group is made by what it feeds.
    """
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(seed)
        context = Context(trace(Tied(), (1, 8, 8)), [], generator(seed), 1)
        x = torch.randn(4, 1, 8, 8)
        copies, neurons = [], []
        for group in context.trace.growable:
            for channel in torch.randperm(4)[:2].tolist():
                scheme = SCHEMES[int(torch.randint(len(SCHEMES), (1,)))]
                offsets = {}
                for name in group.filtered:
                    low, high = torch.randn(2, 1, *context.trace.module(name).weight.shape[1:])
                    places = zip(scheme.lowest, scheme.highest, strict=True)
                    offsets[name] = torch.stack([a * low + b * high for a, b in places])
                move = Copies(
                    kind="", group=group.name, channel=channel, weights=scheme.weights, offsets=offsets
                )
                copies.append(move)
            filters = {n: torch.randn(1, *context.trace.module(n).weight.shape[1:]) for n in group.filtered}
            columns = {}
            for reader in group.consumers:
                weight = context.trace.module(reader.name).weight
                columns[reader.name] = torch.randn(len(weight), reader.columns, *weight.shape[2:])
            neurons.append(Neuron(kind="", group=group.name, filters=filters, columns=columns))

        def derivatives(moves, h=1e-3):
            ahead, here, behind = (logits(context, moves, step, x) for step in (h, 0.0, -h))
            return (ahead - behind) / (2 * h), (ahead + behind - 2 * here) / h**2

        first, _ = derivatives(copies + neurons)
        alone = [derivatives([move])[0] for move in copies + neurons]
        torch.testing.assert_close(first, sum(alone), rtol=1e-3, atol=1e-4 * first.abs().max().item())
        _, second = derivatives(copies)
        alone = [derivatives([move])[1] for move in copies]
        torch.testing.assert_close(second, sum(alone), rtol=1e-3, atol=1e-4 * second.abs().max().item())
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_step_is_relative_to_natural_norms(digits, double):
    """Every move's unit step has norm 1 in units of filters, of present outgoing weights, of scales of 1."""
    context, _ = prepared("dscnn", digits)
    groups = {group.name: group for group in context.trace.growable}
    for kind in ("split", "firefly", "new", "gradmax"):
        for move in offer(kind, context):
            squares = 0.0
            if isinstance(move, Copies):
                for name, offset in move.offsets.items():
                    norm = context.trace.module(name).weight[move.channel].norm()
                    squares += (offset[0].norm() / norm) ** 2
                    torch.testing.assert_close(offset[0], -offset[1])
            else:
                for reader in groups[move.group].consumers:
                    weight = context.trace.module(reader.name).weight.detach()
                    columns = weight.reshape(len(weight), -1, reader.columns, *weight.shape[2:])
                    norms = columns.movedim(1, 0).flatten(1).norm(dim=1)
                    squares += (move.columns[reader.name].norm() / norms.mean()) ** 2
                for name, filters in move.filters.items():
                    wanted = context.trace.module(name).weight.flatten(1).norm(dim=1).mean()
                    torch.testing.assert_close(filters.norm(), wanted)
            torch.testing.assert_close(torch.as_tensor(squares), torch.tensor(1.0))
    for move in offer("deepen", context):
        torch.testing.assert_close(move.direction.square().mean(), torch.tensor(1.0))
    for move in offer("weigh", context):
        torch.testing.assert_close(move.direction.norm(), move.block[0].weight.detach().norm())


@pytest.mark.parametrize("kind", KINDS)
def test_looking_changes_nothing_and_repeats(kind, digits):
    context, _ = prepared("dscnn", digits, n=32, products=2, make_smooth=False)
    context.trace.graph.train()
    before = {name: value.clone() for name, value in context.trace.graph.state_dict().items()}
    gains = [move.gain for move in offer(kind, context)]
    assert context.trace.graph.training
    for name, value in context.trace.graph.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in context.trace.graph.parameters())
    again = Context(context.trace, context.batches, generator(0), 2)
    assert [move.gain for move in offer(kind, again)] == gains
    assert (context.macs > 0) == (kind not in ("widen", "trim"))  # there are no kernels above three


def test_no_channel_is_copied_twice(digits):
    context, _ = prepared("mlp", digits, n=16, products=2)
    with pytest.raises(ValueError, match="two moves copy the same channel"):
        apply(context.trace, [*offer("split", context), *offer("widen", context)], generator(0))


def test_the_optimiser_carries_on(digits):
    """Momentum of copies sums to the original's; new channels and blocks have none, and are trained."""
    context, (x, y) = prepared("dscnn", digits, make_smooth=False)
    graph = context.trace.graph
    optimizer = make_optimizer(graph, 0.05, 0.9, 1e-4)
    graph.train()
    F.cross_entropy(graph(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    graph.eval()
    group = context.trace.growable[1]
    filters = context.trace.module(group.producers[0]).weight
    momentum = optimizer.state[filters]["momentum_buffer"].clone()
    width = len(filters)
    signed = [m for m in offer("signed", context) if m.group == group.name and m.channel == 2]
    new = [m for m in offer("new", context) if m.group == group.name][:2]
    made = applied(context, [*signed, *new, *offer("deepen", context)], optimizer)
    carried = optimizer.state[filters]["momentum_buffer"]
    copies = [2, *range(width, width + len(signed[0].weights) - 1)]
    torch.testing.assert_close(carried[copies].sum(0), momentum[2])
    assert torch.equal(carried[[0, 1]], momentum[[0, 1]])
    assert (carried[-2:] == 0).all()
    reader = context.trace.module(group.consumers[0].name).weight
    assert (optimizer.state[reader]["momentum_buffer"][:, -2:] == 0).all()
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    assert trained == set(made.trace.graph.parameters())
    for group in optimizer.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}
    before = [p.clone() for p in made.trace.graph.parameters()]
    step_to(made, 0.05)
    made.trace.graph.train()
    F.cross_entropy(made.trace.graph(x), y).backward()
    optimizer.step()
    moved = zip(made.trace.graph.parameters(), before, strict=True)
    assert all(not torch.equal(now, then) for now, then in moved)
