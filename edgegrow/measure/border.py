"""Where an artifact and the simulator meet: how its input and output hold the quantized graph's tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.measure.session import METADATA_KEY

if TYPE_CHECKING:
    from edgegrow.deploy.graph import Graph, Tensor

Array = NDArray[Any]


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


def tflite_borders(content: bytes, graph: Graph) -> tuple[Border, Border]:
    """Find how a ``.tflite`` file holds input and output of its graph, which `read_tflite` has read.

    Raises
    ------
    InputError
        If they are neither int8 nor float32.
    """
    import tflite

    known = {tflite.TensorType.INT8: "int8", tflite.TensorType.FLOAT32: "float32"}
    subgraph = tflite.Model.GetRootAs(content).Subgraphs(0)
    types = [subgraph.Tensors(place).Type() for place in (subgraph.Inputs(0), subgraph.Outputs(0))]
    if not all(kind in known for kind in types):
        raise InputError("its input or output is neither int8 nor float32")
    first, last = (np.dtype(known[kind]) for kind in types)
    return Border(graph.input, first, False), Border(graph.output, last, False)


def onnx_borders(content: bytes, graph: Graph) -> tuple[Border, Border]:
    """Find how an ``.onnx`` file of edgegrow's holds input and output of a graph.

    Raises
    ------
    InputError
        If the file's metadata do not say that it is the graph's.
    """
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
    first, last = map(np.dtype, kinds)
    return Border(graph.input, first, True), Border(graph.output, last, True)
