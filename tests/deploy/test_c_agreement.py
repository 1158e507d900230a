"""C packages on every emulated core against tflite-micro: scripts/c_agreement.py with fewer inputs."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from c_packages import needs_compiler
from foreign_files import every_operator
from interpreters import tflm
from networks import float_graph

from edgegrow.data import load_dataset
from edgegrow.deploy.c import write_c
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.measure.mcu.cores import CORES
from edgegrow.measure.mcu.emulator import emulate

pytestmark = needs_compiler
pytest.importorskip("unicorn", reason="no unicorn: pip install edgegrow[mcu]")
ROOT = Path(__file__).resolve().parents[2]
MLPERF_TINY = ROOT.parent / "shared" / "data" / "mlperf_tiny"
EACH = 5


@cache
def own(name: str) -> tuple[bytes, np.ndarray]:
    """A model for digits, and images that it was not calibrated on."""
    data = load_dataset("digits")
    model = tflite_bytes(quantize(float_graph(name, data.input_shape), data.train.x[:100]))
    return model, data.test.x[:EACH]


def reference(name: str) -> tuple[bytes, np.ndarray | None]:
    """A reference model, and features of recordings, if there are any here."""
    file = MLPERF_TINY / f"{name}.tflite"
    if not file.exists():
        pytest.skip("the MLPerf Tiny reference models are not here")
    sys.path.append(str(ROOT / "scripts"))
    import recordings

    inputs = {"kws_ref_model": recordings.keyword_inputs, "ad01_int8": recordings.machine_inputs}[name]
    return file.read_bytes(), inputs(EACH) if recordings.RECORDINGS.is_dir() else None


MODELS = {
    "dscnn": lambda: own("dscnn"),
    "resnet8": lambda: own("resnet8"),
    "every operator": lambda: (tflite_bytes(every_operator()), None),
    "kws_ref_model": lambda: reference("kws_ref_model"),
    "ad01_int8": lambda: reference("ad01_int8"),
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", MODELS)
def test_equals_tflite_micro(name, core, tmp_path):
    model, real = MODELS[name]()
    graph = read_tflite(model)
    write_c(graph, tmp_path)
    q = np.random.default_rng(0).integers(-128, 128, (EACH, *graph.input.shape[1:]), np.int8)
    if real is not None:
        q = np.concatenate([q, graph.quantize_input(real)])
    options = {"emulator": "qemu"} if core == "cortex-m55" else {}  # unicorn has no such core
    emulation = emulate(tmp_path, core, q.reshape(len(q), -1), **options)
    np.testing.assert_array_equal(emulation.outputs, tflm(model, q))
