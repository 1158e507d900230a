"""What a quantized artifact must compute: the simulator's outputs of a few random inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.measure.session import METADATA_KEY

if TYPE_CHECKING:
    from edgegrow.deploy.graph import Graph, Tensor

Array = NDArray[Any]

USUAL_LSB = 2
"""Steps of the output's scale by which a runtime usually differs at most: each rounds in its own way."""

MOST_LSB = 16
"""Steps beyond which it computes something else; random networks on random inputs have reached 5."""

_INPUTS = 4


@dataclass(frozen=True)
class Border:
    """How an artifact's input or output holds a tensor of the quantized graph.

    Attributes
    ----------
    tensor : Tensor
    dtype : numpy.dtype
        ``int8``, ``uint8`` or ``float32``.
    channels_first : bool
        Whether maps are ``(n, c, h, w)`` there.
    """

    tensor: Tensor
    dtype: np.dtype[Any]
    channels_first: bool

    def outward(self, q: Array) -> Array:
        """Turn int8 values ``(n, h, w, c)`` or ``(n, features)`` into the artifact's."""
        if self.channels_first and q.ndim == 4:
            q = q.transpose(0, 3, 1, 2)
        if self.dtype == np.float32:
            return (q.astype(np.float32) - self.tensor.zero_point) * np.float32(self.tensor.scale)
        return (q.astype(np.int16) + self._offset).astype(self.dtype)

    def inward(self, y: Array) -> Array:
        """Turn an artifact's values ``(n, ...)`` into the graph's, int64 ``(n, size)``, channels last."""
        if self.channels_first and len(self.tensor.shape) == 4:
            _, h, w, c = self.tensor.shape
            y = y.reshape(-1, c, h, w).transpose(0, 2, 3, 1)
        if self.dtype == np.float32:
            y = np.rint(y / np.float64(self.tensor.scale)) + self.tensor.zero_point
        else:
            y = y.astype(np.int64) - self._offset
        return y.reshape(len(y), -1).astype(np.int64)

    @property
    def _offset(self) -> int:
        return 128 if self.dtype == np.uint8 else 0


@dataclass(frozen=True)
class Expected:
    """Inputs of an artifact, and what must come out.

    Attributes
    ----------
    inputs : ndarray
        ``(n, ...)`` as the artifact takes them.
    outputs : ndarray
        int8 ``(n, size)``, the simulator's.
    border : Border
        Of the output.
    """

    inputs: Array
    outputs: Array
    border: Border

    def deviation(self, outputs: bytes) -> int:
        """Largest difference of an artifact's outputs from the simulator's, in LSB.

        Raises
        ------
        InputError
            If they have another size.
        """
        if len(outputs) != self.outputs.size * self.border.dtype.itemsize:
            raise InputError(f"its outputs have {len(outputs):,} bytes: another size than the simulator's")
        y = np.frombuffer(outputs, self.border.dtype).reshape(len(self.outputs), -1)
        if not np.isfinite(y).all():
            raise InputError("its outputs are not finite")
        return int(np.abs(self.border.inward(y) - self.outputs).max(initial=0))


def expect(path: Path, format: str, content: bytes) -> Expected | str:
    """Simulate an artifact, where edgegrow can read it; or say why not.

    A ``.tflite`` file is read itself. An ``.onnx`` file of edgegrow's is the quantized graph of the
    ``.tflite`` file beside it, where their inputs and outputs have equal scales.

    Parameters
    ----------
    path : Path
    format : {"tflite", "onnx"}
    content : bytes
        The file's.
    """
    from edgegrow.deploy.read import read_tflite
    from edgegrow.deploy.simulate import simulate

    try:
        if format == "tflite":
            graph = read_tflite(content)
            kinds = _tflite_kinds(content)
        else:
            beside = path.with_suffix(".tflite")
            if not beside.is_file():
                return f"there is no {beside.name} beside it to simulate"
            graph = read_tflite(beside)
            kinds = _onnx_kinds(content, graph)
    except InputError as error:
        return str(error)
    borders = [
        Border(tensor, np.dtype(kind), format == "onnx")
        for tensor, kind in zip((graph.input, graph.output), kinds, strict=True)
    ]
    q = np.random.default_rng(0).integers(-128, 128, (_INPUTS, *graph.input.shape[1:]), np.int8)
    return Expected(borders[0].outward(q), simulate(graph, q), borders[1])


def _tflite_kinds(content: bytes) -> tuple[str, str]:
    """Types of input and output of a file that `read_tflite` has checked."""
    import tflite

    known = {tflite.TensorType.INT8: "int8", tflite.TensorType.FLOAT32: "float32"}
    subgraph = tflite.Model.GetRootAs(content).Subgraphs(0)
    types = [subgraph.Tensors(place).Type() for place in (subgraph.Inputs(0), subgraph.Outputs(0))]
    if not all(kind in known for kind in types):
        raise InputError("its input or output is neither int8 nor float32")
    return known[types[0]], known[types[1]]


def _onnx_kinds(content: bytes, graph: Graph) -> tuple[str, str]:
    """Types of input and output of a file whose metadata say that it is a graph's."""
    import onnx
    from google.protobuf.message import DecodeError

    known = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8"}
    try:
        model = onnx.load_model_from_string(content)
        told = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
        kinds = [known[end[0].type.tensor_type.elem_type] for end in (model.graph.input, model.graph.output)]
        scales = [(told[end]["scale"], told[end]["zero_point"]) for end in ("input", "output")]
    except (DecodeError, ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise InputError("it is no quantized file of edgegrow's") from error
    for tensor, kind, found in zip((graph.input, graph.output), kinds, scales, strict=True):
        if found != (tensor.scale, tensor.zero_point + (128 if kind == "uint8" else 0)):
            raise InputError("the .tflite file beside it is another network")
    return kinds[0], kinds[1]
