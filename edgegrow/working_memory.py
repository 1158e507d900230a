"""Working memory of a deployed network that no emulation tells: its kernels' scratch, and TFLM's arena."""

from __future__ import annotations

from pathlib import Path

from edgegrow import __version__
from edgegrow.deploy.c_memory import operator_memory
from edgegrow.deploy.graph import Graph
from edgegrow.errors import InputError
from edgegrow.measure.mcu.tflm import tflm_arena
from edgegrow.measure.protocol import Identity, Measurement, Unavailable


def memory_figures(graph: Graph, tflite: Path) -> tuple[tuple[Measurement, ...], tuple[Unavailable, ...]]:
    """Report scratch, and the arena that TensorFlow Lite for Microcontrollers (TFLM) would take.

    Parameters
    ----------
    graph : Graph
        What is deployed, with our kernels.
    tflite : Path
        Its ``.tflite`` file.

    Returns
    -------
    measurements : tuple of Measurement
        ``scratch`` and, where tflite-micro is installed and runs the file, ``tflm_arena``, in bytes.
    unavailable : tuple of Unavailable
        ``tflm_arena`` otherwise.
    """
    scratch = Measurement(
        metric="scratch",
        value=max((operator_memory(op).scratch_bytes for op in graph.operators), default=0),
        unit="bytes",
        evidence="predicted",
        identity=Identity(runtime="edgegrow", version=__version__),
        method="the most that a kernel needs while it runs; a part of the arena",
    )
    try:
        return (scratch, tflm_arena(tflite).measurement()), ()
    except InputError as error:
        return (scratch,), (Unavailable(metric="tflm_arena", reason=str(error)),)
