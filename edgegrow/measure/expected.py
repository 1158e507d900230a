"""What a quantized artifact must compute: outputs of a few random inputs, known from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.measure.border import Border, onnx_borders, tflite_borders
from edgegrow.measure.reference import REFERENCE, reference_outputs

if TYPE_CHECKING:
    from edgegrow.deploy.graph import Graph
    from edgegrow.deploy.rounding import Rounding

Array = NDArray[Any]

_INPUTS = 4


@dataclass(frozen=True)
class Expected:
    """Inputs of an artifact, and what must come out.

    Attributes
    ----------
    inputs : ndarray
        ``(n, ...)`` as the artifact takes them.
    outputs : mapping
        Whole numbers ``(n, size)``, in steps of the output's scale, by who has computed them, e.g.
        ``the simulator's``; the artifact's must be near to one of them.
    dtype : numpy.dtype
        Type of the artifact's output.
    in_steps : callable
        From the artifact's outputs ``(n, size)`` to whole numbers such as those of `outputs`.
    """

    inputs: Array
    outputs: Mapping[str, Array]
    dtype: np.dtype[Any]
    in_steps: Callable[[Array], Array]

    def deviation(self, outputs: bytes) -> tuple[int, str]:
        """Compare an artifact's outputs with what is expected.

        Returns
        -------
        steps : int
            The largest difference, in LSB.
        source : str
            The key of `outputs` that they are nearest to.

        Raises
        ------
        InputError
            If they have another size, or are not finite.
        """
        rows, size = next(iter(self.outputs.values())).shape
        if len(outputs) != rows * size * self.dtype.itemsize:
            raise InputError(f"its outputs have {len(outputs):,} bytes: another size than they should")
        y = np.frombuffer(outputs, self.dtype).reshape(rows, size)
        if not np.isfinite(y).all():
            raise InputError("its outputs are not finite")
        found = self.in_steps(y)
        return min(
            (int(np.abs(found - known).max(initial=0)), source) for source, known in self.outputs.items()
        )


def expect(path: Path, format: str, content: bytes) -> Expected | str:
    """Compute what an artifact must compute; or say why that cannot be.

    A ``.tflite`` file is read, and simulated as LiteRT's own kernels round, and as XNNPACK does: which of
    them run on a device, its runtime decides. An ``.onnx`` file of edgegrow's is the quantized graph of the
    ``.tflite`` file beside it, where their inputs and outputs have equal scales, and is simulated as ONNX
    Runtime rounds. One that lies alone is evaluated by the reference implementation of the onnx package.

    Parameters
    ----------
    path : Path
    format : {"tflite", "onnx"}
    content : bytes
        The file's.
    """
    from edgegrow.deploy.read import read_tflite
    from edgegrow.deploy.rounding import ONNX_RUNTIME, TFLM, XNNPACK

    beside = path.with_suffix(".tflite")
    try:
        if format == "tflite":
            graph = read_tflite(content)
            return _simulated(graph, tflite_borders(content, graph), (TFLM, XNNPACK))
        if beside.is_file():
            graph = read_tflite(beside)
            return _simulated(graph, onnx_borders(content, graph), (ONNX_RUNTIME,))
        return _evaluated(content)
    except InputError as error:
        return str(error)


def _simulated(graph: Graph, ends: tuple[Border, Border], roundings: tuple[Rounding, ...]) -> Expected:
    from edgegrow.deploy.simulate import simulate

    q = np.random.default_rng(0).integers(-128, 128, (_INPUTS, *graph.input.shape[1:]), np.int8)
    outputs = {
        f"the simulator's (rounded as {rounding.name} does)": simulate(graph, q, rounding).astype(np.int64)
        for rounding in roundings
    }
    return Expected(ends[0].outward(q), outputs, ends[1].dtype, ends[1].inward)


def _evaluated(content: bytes) -> Expected:
    inputs, outputs = reference_outputs(content, _INPUTS)
    known = {REFERENCE: outputs.reshape(len(outputs), -1).astype(np.int64)}
    return Expected(inputs, known, outputs.dtype, lambda y: y.astype(np.int64))
