"""The tensors of a TensorFlow Lite file, each checked when an operator asks for it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import tflite

from edgegrow.deploy.operators import Array, Tensor
from edgegrow.deploy.tflite_schema import Model, Quantization, TensorTable
from edgegrow.errors import InputError, UnsupportedError

_TYPES = {number: name for name, number in vars(tflite.TensorType).items() if isinstance(number, int)}
_DTYPES: dict[int, np.dtype[Any]] = {
    tflite.TensorType.INT8: np.dtype("i1"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}
_MOST_ELEMENTS = 2**31
_MOST_CHANNELS = 2**16  # of one operator; ...
_MOST_CHANNELS_IN_ALL = 2**20  # ... and of all, for each takes a multiplier
_MOST_AXES = 4  # which all kernels take
_LARGEST_SCALE = 2.0**60  # so that products of scales stay finite in float32


class Tensors:
    """The tensors of a file's graph, by their index.

    Raises
    ------
    InputError
        In every method: where a tensor is not what is asked for; the message names it.
    """

    def __init__(self, model: Model) -> None:
        self.buffers = model.buffers
        self.tables = model.subgraphs[0].tensors
        self.channels = 0

    def table(self, index: int) -> TensorTable:
        """Table of a tensor that must exist."""
        if not 0 <= index < len(self.tables):
            raise InputError(f"it uses tensor {index} of {len(self.tables)}: export the model again")
        return self.tables[index]

    def kind(self, index: int) -> int:
        """Return the number of a tensor's type in the schema."""
        return self.table(index).type

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor with at least one element, and fewer than 2^31."""
        shape = tuple(int(n) for n in self.table(index).shape[:9])
        if len(shape) > 8 or any(n < 1 for n in shape) or prod(shape) >= _MOST_ELEMENTS:
            raise InputError(f"tensor {index} has shape {shape}: export the model with fixed, positive sizes")
        return shape

    def activation(self, index: int) -> Tensor:
        """Describe an int8 tensor that an operator computes, or the input."""
        self._check_type(index, tflite.TensorType.INT8)
        tensor = self.table(index)
        shape = self._batch_of_one(index)
        if tensor.is_variable or self._has_data(tensor):
            raise UnsupportedError(f"tensor {index} is a constant or a state: only weights may be constant")
        scale, zero_point = self.step(index)
        if not -128 <= zero_point <= 127:
            raise InputError(f"tensor {index} has zero point {zero_point}: int8 has -128 to 127")
        return Tensor(f"tensor {index}", shape, scale, zero_point)

    def step(self, index: int) -> tuple[float, int]:
        """Scale and zero point of a tensor that has one of each."""
        quantization = self._quantization(index)
        if quantization is None or not len(quantization.scale) == len(quantization.zero_point) == 1:
            raise InputError(f"tensor {index} needs one scale and zero point: quantize the model to int8")
        self._check_scales(index, quantization.scale)
        return float(quantization.scale[0]), int(quantization.zero_point[0])

    def weight(self, index: int, channel_axis: int, rank: int) -> tuple[Array, Array]:
        """Weights and their scales: int8 of `rank` axes, float32 ``(1,)`` or one an output channel."""
        values = self.constant(index, tflite.TensorType.INT8)
        if values.ndim != rank:
            raise InputError(f"tensor {index}: weights have {rank} axes, not {values.ndim}: export it again")
        channels = values.shape[channel_axis]
        self.channels += channels
        if channels > _MOST_CHANNELS or self.channels > _MOST_CHANNELS_IN_ALL:
            raise InputError(
                f"tensor {index} has {channels:,} output channels: that is no network for a device"
            )
        quantization = self._quantization(index)
        if quantization is None or len(quantization.scale) not in (1, channels):
            raise InputError(f"tensor {index} needs 1 or {channels} scales: quantize the model to int8")
        if len(quantization.scale) > 1 and quantization.axis != channel_axis:
            raise UnsupportedError(
                f"tensor {index} has scales along axis {quantization.axis}, "
                f"not {channel_axis}: convert the model with output channels' scales"
            )
        self._check_scales(index, quantization.scale)
        if len(quantization.zero_point) != len(quantization.scale) or quantization.zero_point.any():
            raise UnsupportedError(f"tensor {index}: weights need zero points 0: quantize symmetrically")
        return values, quantization.scale.astype(np.float32)

    def bias(self, index: int, outputs: int, expected: Array) -> Array:
        """Bias int32 of so many outputs, whose scales, if given, must be `expected`."""
        values = self.constant(index, tflite.TensorType.INT32)
        if values.shape != (outputs,):
            raise InputError(
                f"tensor {index}: a bias of {outputs} outputs has shape {values.shape}: export it again"
            )
        quantization = self._quantization(index)
        if quantization is None or not len(quantization.scale):
            return values
        scales = quantization.scale
        if (
            len(scales) not in (1, len(expected))
            or not np.isfinite(scales).all()
            or not np.allclose(scales.astype(float), expected, rtol=1e-4, atol=1e-38)
        ):
            raise InputError(
                f"tensor {index}: a bias's scale is input scale times weight scale: quantize the model again"
            )
        if len(quantization.zero_point) != len(scales) or quantization.zero_point.any():
            raise InputError(f"tensor {index}: a bias needs zero points 0: quantize the model again")
        return values

    def constant(self, index: int, kind: int) -> Array:
        """Values of a tensor that the file holds, in its shape."""
        self._check_type(index, kind)
        shape, tensor, dtype = self.shape(index), self.table(index), _DTYPES[kind]
        if not self._has_data(tensor):
            raise UnsupportedError(f"tensor {index} must be constant: export the model with fixed weights")
        data = self.buffers[tensor.buffer].data
        if len(data) != prod(shape) * dtype.itemsize:
            raise InputError(
                f"tensor {index} of shape {shape} has {len(data):,} bytes, not "
                f"{prod(shape) * dtype.itemsize:,}: export the model again"
            )
        # Values that flatbuffers leave unaligned are legal in numpy, and copied where they are used.
        return data.view(dtype).reshape(shape)

    def _batch_of_one(self, index: int) -> tuple[int, ...]:
        shape, signature = self.shape(index), self.table(index).shape_signature
        if not 2 <= len(shape) <= _MOST_AXES or shape[0] != 1:
            raise UnsupportedError(f"tensor {index} has shape {shape}: export the model with batch size 1")
        if len(signature) not in (0, len(shape)) or any(
            given not in (size, -1) for given, size in zip(signature, shape, strict=False)
        ):
            raise InputError(f"tensor {index}: shape and shape signature disagree: export the model again")
        if -1 in signature[1:]:
            raise UnsupportedError(f"tensor {index} leaves a size open: export the model with fixed sizes")
        return shape

    def _check_type(self, index: int, kind: int) -> None:
        tensor = self.table(index)
        if tensor.type != kind:
            name = _TYPES.get(tensor.type, f"of type {tensor.type}")
            raise UnsupportedError(
                f"tensor {index} is {name}, not {_TYPES[kind]}: quantize the model to int8"
            )
        if tensor.sparsity is not None:
            raise UnsupportedError(f"tensor {index} is sparse: export it dense")

    def _has_data(self, tensor: TensorTable) -> bool:
        if tensor.buffer >= len(self.buffers):
            raise InputError(f"buffer {tensor.buffer} of {len(self.buffers)} is used: export the model again")
        buffer = self.buffers[tensor.buffer]
        if buffer.offset or buffer.size:
            raise UnsupportedError("weights lie outside the flatbuffer: export the model in one piece")
        return len(buffer.data) > 0

    def _quantization(self, index: int) -> Quantization | None:
        quantization = self.table(index).quantization
        if quantization is not None and quantization.details_type:
            raise UnsupportedError(f"tensor {index} has custom quantization: quantize the model to int8")
        return quantization

    def _check_scales(self, index: int, scales: Array) -> None:
        if not (np.isfinite(scales).all() and (scales > 0).all() and (scales <= _LARGEST_SCALE).all()):
            raise InputError(f"tensor {index} has a scale that is not positive and finite: quantize it again")
