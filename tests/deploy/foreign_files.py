"""Files as others write them: every operator in one graph, and files taken apart and put together again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgegrow.deploy.graph import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    HardSwish,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Relu,
    Reshape,
    Softmax,
    Tanh,
    Tensor,
    UpsampleNearest2D,
    Window,
)

MLPERF_TINY = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"
REFERENCE_MODELS = [
    pytest.param(
        MLPERF_TINY / f"{name}.tflite",
        id=name,
        marks=pytest.mark.skipif(
            not (MLPERF_TINY / f"{name}.tflite").exists(), reason=f"{MLPERF_TINY} has no {name}.tflite"
        ),
    )
    for name in ("kws_ref_model", "ad01_int8")
]


def unpack(data: bytes) -> Any:
    """Take a file apart into objects that may be changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def pack(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class Chain:
    """Builds a graph one operator after the other; scales are powers of two, with noise."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.input = self.last = self.tensor(shape)
        self.operators: list[Operator] = []

    def tensor(
        self, shape: tuple[int, ...], scale: float | None = None, zero_point: int | None = None
    ) -> Tensor:
        scale = float(np.float32(2.0 ** self.rng.uniform(-6, -3))) if scale is None else scale
        zero_point = int(self.rng.integers(-128, 128)) if zero_point is None else zero_point
        return Tensor(f"t{self.rng.integers(2**62)}", shape, scale, zero_point)

    def add(
        self, kind: type[Operator], *inputs: Tensor, output: Tensor | None = None, **options: Any
    ) -> Tensor:
        """Append an operator on `inputs`, or on the last output; returns its output."""
        inputs = inputs or (self.last,)
        op = kind(f"op{len(self.operators)}", inputs, output or self.tensor((1,)), **options)
        if output is None:
            scale, zero_point = None, None
            if op.fixed_quantization:
                scale, zero_point = op.fixed_quantization
            elif op.keeps_quantization or (options.get("activation") == "relu6" and kind is Relu):
                scale, zero_point = inputs[0].scale, inputs[0].zero_point
            op = kind(op.name, inputs, self.tensor(op.output_shape(), scale, zero_point), **options)
        self.operators.append(op)
        self.last = op.output
        return op.output

    def weighted(self, kind: type[Operator], shape: tuple[int, ...], outputs: int, **options: Any) -> Tensor:
        scales = self.rng.uniform(0.001, 0.01, 1 if kind is FullyConnected else outputs).astype(np.float32)
        return self.add(
            kind,
            weight=self.rng.integers(-127, 128, shape, np.int8),
            bias=self.rng.integers(-3000, 3000, outputs, np.int32),
            weight_scales=scales,
            **options,
        )

    def reshape(self, shape: tuple[int, ...]) -> Tensor:
        return self.add(Reshape, output=self.tensor(shape, self.last.scale, self.last.zero_point))

    def graph(self) -> Graph:
        return Graph(self.input, self.last, tuple(self.operators))


def every_operator() -> Graph:
    """Build a graph with all operators that a graph can have."""
    chain = Chain((1, 9, 7, 3), seed=4)  # of few seeds with which no output is constant
    chain.add(Pad, pads=((0, 0), (1, 0), (0, 2), (0, 0)))
    stem = chain.weighted(Conv2D, (4, 3, 3, 3), 4, window=Window((3, 3), (2, 2), "SAME"))
    rectified = chain.add(Relu, activation="relu")
    chain.weighted(
        DepthwiseConv2D, (1, 3, 3, 8), 8, window=Window((3, 3), (1, 1), "SAME"), activation="relu6"
    )
    swish = chain.add(HardSwish)
    pooled = chain.add(Mean, keep_dims=True)
    gate = chain.add(Logistic)
    chain.add(Mul, swish, gate)
    chain.add(Add, chain.last, swish, activation="relu")
    chain.add(MaxPool2D, window=Window((2, 2), (1, 1), "SAME"))
    chain.add(Relu, activation="relu6")
    chain.add(AveragePool2D, window=Window((2, 2), (2, 2), "VALID"), activation="relu")
    chain.add(Tanh)
    chain.add(Concatenation, chain.last, chain.last, axis=3)
    chain.add(UpsampleNearest2D, factor=(2, 3))
    chain.add(Mean)
    chain.weighted(FullyConnected, (6, 16), 6)
    chain.reshape((1, 2, 3))
    chain.add(Softmax, beta=1.0)
    assert stem.shape == rectified.shape == (1, 5, 5, 4)
    assert pooled.shape == gate.shape == (1, 1, 1, 8)
    return chain.graph()
