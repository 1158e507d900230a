"""Models emulated with our kernels and with CMSIS-NN's, as two scripts need it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegrow.deploy.c import write_c
from edgegrow.deploy.c_cmsis import CmsisKernels
from edgegrow.deploy.graph import Graph
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.simulate import simulate
from edgegrow.errors import InputError
from edgegrow.measure.mcu.emulator import Emulation, emulate

SAMPLES = 3
"""Random inputs of a run; counts hardly depend on them."""


@dataclass(frozen=True)
class Build:
    """How a package is built: the kernels' library (None: ours), the compiler and its optimization."""

    library: CmsisKernels | None
    compiler: str
    optimization: str

    @property
    def kernels(self) -> str:
        """Name of the kernels."""
        return "edgegrow" if self.library is None else self.library.name


def read_graph(path: Path) -> Graph:
    """Read a ``.tflite`` file."""
    try:
        return read_tflite(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}: give a .tflite file") from error


def run(graph: Graph, core: str, build: Build) -> Emulation:
    """Emulate `SAMPLES` inferences, and hold the outputs against the simulator's.

    Raises
    ------
    InputError
        If an output is another.
    """
    q = np.random.default_rng(0).integers(-128, 128, (SAMPLES, *graph.input.shape[1:]), np.int8)
    with tempfile.TemporaryDirectory() as folder:
        write_c(graph, folder, build.library)
        emulation = emulate(
            folder,
            core,
            q.reshape(SAMPLES, -1),
            compiler=build.compiler,
            flags=(build.optimization,),
            flash_bytes=2**22,
            ram_bytes=2**20,
        )
    if not np.array_equal(emulation.outputs.reshape(-1), simulate(graph, q).reshape(-1)):
        raise InputError(f"{build.kernels} on {core}: outputs differ from the simulator's")
    return emulation
