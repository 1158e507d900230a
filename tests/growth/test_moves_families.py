"""Moves on twelve families of networks: whatever can grow grows by every kind, and keeps its function."""

import pytest
import torch

from edgegrow.cost.layers import count_macs, count_params
from edgegrow.growth.groups import trace
from edgegrow.growth.moves import KINDS, Context, offer
from edgegrow.training import generator

from .architectures import FAMILIES
from .moving import applied, step_to
from .test_architectures import assert_close, inputs_of, loss_sum, outputs, trained


def context_of(name):
    family = FAMILIES[name]
    module, _, inputs, y = trained(family, dtype=torch.float64)
    batch = inputs_of(family, dtype=torch.float64)
    inputs = inputs if len(inputs) > 1 else inputs[0]
    shapes = family.shapes if len(family.shapes) > 1 else family.shapes[0]
    module.eval()
    assert len(batch[1]) == len(y)
    return Context(trace(module, shapes), [(inputs, y)], generator(0), 6, loss_sum), inputs


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_grows_by_every_kind(name, double):
    """A zero step changes nothing, costs are as predicted, and the first-order law holds right away.

    But trim, which changes the function, and never the shape of what a network returns.
    """
    context, inputs = context_of(name)
    as_tuple = inputs if isinstance(inputs, tuple) else (inputs,)
    before = outputs(context.trace.graph, as_tuple)
    y = context.batches[0][1]
    loss = loss_sum(before, y) / len(y)
    offered = {kind: offer(kind, context) for kind in KINDS}
    growable = set(FAMILIES[name].growable)
    for kind in ("split", "signed", "new", "firefly", "widen"):
        assert {move.group for move in offered[kind]} >= growable
    for kind, moves in offered.items():
        made = applied(context, moves)
        after = outputs(made.trace.graph, as_tuple)
        if kind == "trim":
            assert [output.shape for output in after] == [output.shape for output in before]
        else:
            assert_close(after, before, 1e-10)
        widths = context.trace.widths()
        for move in moves:
            for group, count in move.channels.items():
                widths[group] += count
        assert made.trace.widths() == widths
        recounted = trace(made.trace.graph, FAMILIES[name].shapes)
        for count in (count_macs, count_params):
            assert count(made.trace.shapes(widths)) == count(recounted.shapes({}))
        # (A block moves what a max pool may hold for equal: its law is tested where nothing has kinks.)
        if kind in ("new", "gradmax") and moves:
            step_to(made, 1e-6)
            predicted = sum(move.slope for move in moves)
            change = loss_sum(outputs(made.trace.graph, as_tuple), y) / len(y) - loss
            assert change.item() / 1e-6 == pytest.approx(predicted, rel=0.01)
