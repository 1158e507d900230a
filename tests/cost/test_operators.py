"""Operators alone in a file: what is timed there is what the network runs, at the widths asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgegrow.cost.operators import alone, can_stand_alone, kind, sizes
from edgegrow.deploy.graph import Concatenation, Mul, Tensor
from edgegrow.deploy.lower import lower
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.measure.session import open_artifact

sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy"))
from families import FAMILIES, SHAPE


def float_graph(name):
    build, widths = FAMILIES[name]
    return lower(build(*widths).eval(), SHAPE)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_operator_alone_is_that_of_the_network(name):
    """Of its kind and sizes, reading the same shapes; everything else in its file is far smaller."""
    for op in filter(can_stand_alone, float_graph(name).operators):
        for more in 0, 3:
            widths = tuple(size + more for size in sizes(op))
            graph = alone(op, widths)
            *rest, last = graph.operators
            assert (kind(last), sizes(last)) == (kind(op), widths)
            if not more and len(sizes(op)) == 1:
                assert [t.shape for t in last.inputs] == [t.shape for t in op.inputs]
            assert sum(other.macs for other in rest) <= widths[0]


def test_a_gate_is_priced_as_a_gate(tmp_path):
    """A map times (n, 1, 1, c) is of another kind than the product of two maps, and its file runs."""
    products = [op for op in float_graph("squeeze and excite").operators if isinstance(op, Mul)]
    gates = [op for op in products if len({tensor.shape for tensor in op.inputs}) == 2]
    assert len(gates) == 3
    assert {kind(op) for op in gates} == {"Mul none 8x8 1x1", "Mul none 1x1 8x8"}
    assert "Mul none 8x8" in {kind(op) for op in products}  # SiLU: a map times its own sigmoid
    for op in gates:
        graph = alone(op, (20,))
        assert {tensor.shape for tensor in graph.operators[-1].inputs} == {(1, 8, 8, 20), (1, 1, 1, 20)}
        path = tmp_path / "gate.tflite"
        path.write_bytes(tflite_bytes(graph))
        samples = np.random.default_rng(0).normal(size=(3, 20, 8, 8)).astype(np.float32)
        q = graph.quantize_input(samples)
        with open_artifact(path, 1) as session:
            found = session.run(q)
        expected = simulate(graph, q).reshape(found.shape)
        np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def test_maps_of_which_none_is_repeated_cannot_stand_alone():
    """Put together along the height, of unlike heights: one tensor cannot stand for both."""
    a, b, c = (Tensor(name, (1, height, 4, 8)) for name, height in (("a", 3), ("b", 5), ("c", 8)))
    assert not can_stand_alone(Concatenation("cat", (a, b), c, axis=1))
    twice = Tensor("twice", (1, 6, 4, 8))
    assert can_stand_alone(Concatenation("cat", (a, a), twice, axis=1))
