"""Inserted blocks: identities at first, in the groups of their place, rebuilt from their records."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import Add
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.errors import InputError
from edgegrow.growth.groups import trace
from edgegrow.growth.moves import offer, replay
from edgegrow.growth.surgery import resize
from edgegrow.profiling import simulated_logits

from .moving import SMALL, applied, prepared, step_to
from .networks import INPUTS, build, fit

PLACES = {
    "mlp": ["plain"] * 2,
    "conv1d": ["plain"] * 3,
    "dscnn": ["separable"] * 5,
    "mobilenet": ["separable"] * 4,  # the last four have one position left
    "resnet8": ["plain"] * 7,
}


@pytest.mark.parametrize("name", PLACES)
def test_blocks_come_where_the_networks_own_end(name, digits):
    context, _ = prepared(name, digits, make_smooth=False, n=16)
    moves = offer("deepen", context)
    assert [move.insertion.form for move in moves] == PLACES[name]
    made = applied(context, moves)
    for move in moves:
        assert not move.channels
        assert move.group == move.insertion.after
    before = {g.name: g for g in context.trace.groups}
    assert {g.name for g in made.trace.groups if g.name in before} == set(before)
    assert made.trace.widths().keys() >= context.trace.widths().keys()
    depthwise = sum(len(g.depthwise) for g in made.trace.growable)
    producers = sum(len(g.producers) for g in made.trace.growable)
    assert producers == sum(len(g.producers) for g in context.trace.growable) + len(moves)
    added = sum(form == "separable" for form in PLACES[name])
    assert depthwise == sum(len(g.depthwise) for g in context.trace.growable) + added


@pytest.mark.parametrize("name", PLACES)
def test_a_deeper_network_is_lowered_and_quantized(name, digits):
    """Batch norms fold, and each block is an addition of the deployed graph."""
    context, (x, y) = prepared(name, digits, make_smooth=False)
    moves = offer("deepen", context)
    made = applied(context, moves)
    step_to(made, 0.1)
    fit(made.trace.graph, x, y, steps=3)
    made.trace.graph.eval()
    graph = lower(made.trace.graph, INPUTS[name])
    shallow = lower(context.trace.graph, INPUTS[name])
    count = lambda g: sum(isinstance(op, Add) for op in g.operators)  # noqa: E731
    assert count(graph) == count(shallow) + len(moves)
    with torch.no_grad():
        expected = made.trace.graph(x).argmax(1).numpy()
    assert np.mean(evaluate(graph, x.numpy()).argmax(1) == expected) == 1
    found = simulated_logits(quantize(graph, x.numpy()), x.numpy()).argmax(1)
    assert np.mean(found == expected) > 0.8


@pytest.mark.parametrize("name", PLACES)
def test_a_checkpoints_structure_is_rebuilt_from_its_records(name, digits):
    """Two rounds of insertion with splits between: names, groups and outputs of the rebuilt network agree."""
    context, (x, _) = prepared(name, digits, make_smooth=False, products=2)
    records = []
    for _ in range(2):
        moves = [*offer("split", context)[::3], *offer("deepen", context)[::2]]
        made = applied(context, moves)
        step_to(made, 0.1)
        records += [insertion.to_json() for insertion in made.insertions]
        context = type(context)(made.trace, context.batches, context.generator, 2)
    assert all(set(map(type, record.values())) == {str} for record in records)
    rebuilt = replay(trace(build(name, SMALL[name]), INPUTS[name]), records)
    resize(rebuilt, made.trace.widths())
    assert list(rebuilt.graph.state_dict()) == list(made.trace.graph.state_dict())
    assert [str(group) for group in rebuilt.groups] == [str(group) for group in made.trace.groups]
    rebuilt.graph.load_state_dict(made.trace.graph.state_dict())
    rebuilt.graph.eval()
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.graph(x), made.trace.graph(x))


def test_a_strange_record_is_refused():
    network = trace(build("mlp"), INPUTS["mlp"])
    for record in (
        {"after": "nowhere", "form": "plain"},
        {"after": "body_3", "form": "separable"},
        {"after": "body_3"},
        {"after": 3, "form": []},
        {"after": "body_3", "form": "plain", "more": "x"},
    ):
        with pytest.raises(InputError, match="no such place"):
            replay(network, [record])
    assert replay(network, []) is network


def test_a_place_can_be_used_again_and_a_block_grows_with_its_group(digits, double):
    context, (x, _) = prepared("tied", digits)
    made = applied(context, offer("deepen", context))
    step_to(made, 0.3)
    deeper = type(context)(made.trace, context.batches, context.generator, 8)
    with torch.no_grad():
        before = made.trace.graph(x)
    moves = [*offer("split", deeper), *offer("new", deeper), *offer("deepen", deeper)]
    again = applied(deeper, moves)
    with torch.no_grad():
        torch.testing.assert_close(again.trace.graph(x), before, rtol=1e-10, atol=1e-10)
    assert len(again.insertions) >= len(made.insertions)


def test_moves_are_not_used_up_by_trying_them(digits):
    context, (x, y) = prepared("dscnn", digits, make_smooth=False)
    moves = offer("deepen", context)
    first = applied(context, moves)
    step_to(first, 0.2)
    fit(first.trace.graph, x, y, steps=2)
    second = applied(context, moves)
    with torch.no_grad():
        assert torch.equal(second.trace.graph(x), context.trace.graph(x))


def test_the_gain_is_the_gradient_at_the_blocks_scales(digits, double):
    context, (x, y) = prepared("resnet8", digits)
    for move in offer("deepen", context)[::3]:
        made = applied(context, [move])
        ((scale, direction),) = made.directions.items()
        (gradient,) = torch.autograd.grad(F.cross_entropy(made.trace.graph(x), y), scale)
        assert (scale == 0).all()
        assert move.slope == pytest.approx(-(len(scale) ** 0.5) * gradient.norm().item())
        torch.testing.assert_close((gradient * direction).sum().item(), move.slope)


def test_blocks_draw_from_the_given_generator_alone(digits):
    context, _ = prepared("mlp", digits, n=16)
    state = torch.random.get_rng_state()
    (first, *_), (second, *_) = offer("deepen", context), offer("deepen", context)
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [next(m for m in move.block if isinstance(m, nn.Linear)).weight for move in (first, second)]
    assert not torch.equal(*weights)
    assert deepcopy(first.block)[-1].weight.abs().max() == 0
