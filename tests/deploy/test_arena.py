from itertools import pairwise

import numpy as np
import pytest
import torch
from tflm_arena import head

from edgegrow.deploy.arena import ALIGNMENT, plan_arena
from edgegrow.deploy.graph import Add, Concatenation, Graph, Operator, Tensor
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.nets import load_net


def build(name: str, shape: tuple[int, ...], widths: tuple[int, ...] | None = None) -> Graph:
    torch.manual_seed(0)
    module = load_net(name).build(shape, 10, widths)
    return quantize(lower(module, shape), np.random.default_rng(0).normal(size=(4, *shape)))


@pytest.mark.parametrize(
    ("name", "shape", "widths"),
    [
        ("mlp", (1, 28, 28), None),
        ("mlp", (40,), (7, 100, 3)),
        ("conv1d", (1, 40), None),
        ("conv1d", (3, 61), (5, 9)),
        ("dscnn", (1, 8, 8), None),
        ("dscnn", (1, 49, 10), (64, 64, 64, 64, 64)),
        ("mobilenet", (1, 28, 28), None),
        ("mobilenet", (3, 32, 32), None),
        ("mobilenet", (3, 31, 17), (3, 7, 11, 5, 40, 8, 9, 10)),
        ("resnet8", (3, 32, 32), None),
        ("resnet8", (1, 13, 9), (5, 3, 9, 4, 2, 7)),
    ],
)
def test_equals_tflm(name, shape, widths):
    graph = build(name, shape, widths)
    assert plan_arena(graph).peak_bytes == head(tflite_bytes(graph))


def test_tensors_that_live_together_do_not_overlap():
    graph = build("resnet8", (1, 13, 9))
    plan = plan_arena(graph)
    sizes = {tensor.name: int(np.prod(tensor.shape)) for tensor in graph.tensors}
    assert set(plan.offsets) == set(sizes)
    assert all(offset % ALIGNMENT == 0 for offset in plan.offsets.values())
    for step, op in enumerate(graph.operators):
        kept = {tensor.name for later in graph.operators[step:] for tensor in later.inputs}
        made = {graph.input.name, *(earlier.output.name for earlier in graph.operators[:step])}
        alive = sorted((kept & made) | {op.output.name}, key=plan.offsets.__getitem__)
        for low, high in pairwise(alive):
            assert plan.offsets[low] + sizes[low] <= plan.offsets[high]
    assert plan.peak_bytes >= max(plan.offsets[name] + size for name, size in sizes.items())


def test_the_place_of_a_dead_tensor_is_used_again():
    tensors = [Tensor(f"t{i}", (1, 100), 1.0) for i in range(6)]
    operators: list[Operator] = [Add(f"op{i}", (tensors[i], tensors[i]), tensors[i + 1]) for i in range(5)]
    assert plan_arena(Graph(tensors[0], tensors[-1], tuple(operators))).peak_bytes == 2 * 112


def test_scratch_lies_beside_what_is_alive():
    graph = build("resnet8", (1, 8, 8))
    sizes = {op.output.name: 100 * (step % 3) for step, op in enumerate(graph.operators)}
    plan, bare = plan_arena(graph, sizes), plan_arena(graph)
    assert plan.offsets == bare.offsets
    assert plan.peak_bytes <= bare.peak_bytes + 208
    assert plan.scratch.keys() == {name for name, size in sizes.items() if size}
    for op in graph.operators:
        if op.output.name in plan.scratch:
            start = plan.scratch[op.output.name]
            assert start % ALIGNMENT == 0
            assert start + sizes[op.output.name] <= plan.peak_bytes
            for tensor in (*op.inputs, op.output):
                offset = plan.offsets[tensor.name]
                assert offset + np.prod(tensor.shape) <= start or start + sizes[op.output.name] <= offset


def test_outputs_in_the_place_of_inputs():
    graph = build("resnet8", (1, 8, 8))
    everywhere = {op.output.name for op in graph.operators}
    plan, bare = plan_arena(graph, in_place=everywhere), plan_arena(graph)
    assert plan.peak_bytes < bare.peak_bytes
    contents = {plan.offsets[graph.input.name]: graph.input.name}
    for step, op in enumerate(graph.operators):
        # A tensor's first byte is still its own when it is read.
        assert all(contents[plan.offsets[tensor.name]] == tensor.name for tensor in op.inputs), step
        start = plan.offsets[op.output.name]
        contents = {
            at: name for at, name in contents.items() if not start < at < start + np.prod(op.output.shape)
        }
        contents[start] = op.output.name
    assert plan_arena(graph, in_place=[graph.output.name]) == bare


def test_a_larger_output_has_a_place_of_its_own():
    tensors = [Tensor(f"t{i}", (1, features), 1.0) for i, features in enumerate((16, 16, 32, 32))]
    operators: tuple[Operator, ...] = (
        Add("first", (tensors[0], tensors[0]), tensors[1]),
        Concatenation("twice", (tensors[1], tensors[1]), tensors[2], 1),
        Add("last", (tensors[2], tensors[2]), tensors[3]),
    )
    plan = plan_arena(Graph(tensors[0], tensors[-1], operators), in_place=["t2"])
    assert plan.offsets["t1"] + 16 <= plan.offsets["t2"] or plan.offsets["t2"] + 32 <= plan.offsets["t1"]
