"""C packages of models from elsewhere, on the host and on emulated cores."""

from pathlib import Path

import numpy as np
import pytest
from c_packages import Library, needs_compiler
from interpreters import tflm

from edgegrow.deploy.c import write_c
from edgegrow.deploy.foreign import HardSwish, Logistic, Relu, Reshape, Softmax
from edgegrow.deploy.graph import Graph, Tensor
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.simulate import simulate

pytestmark = needs_compiler
MLPERF_TINY = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"
needs_models = pytest.mark.skipif(
    not MLPERF_TINY.is_dir(), reason="the MLPerf Tiny reference models are not here"
)
SHARES = float(np.float32(1 / 256)), -128


def one(kind, shape, scale, ends, **fields):
    """A graph of one operator."""
    source = Tensor("input", shape, float(np.float32(scale)), 5)
    result = Tensor("output", fields.pop("result", shape), *ends)
    return Graph(source, result, (kind("op", (source,), result, **fields),))


GRAPHS = {
    "softmax": one(Softmax, (1, 12), 0.1, SHARES),
    "softmax, steep": one(Softmax, (1, 12), 3.0, SHARES, beta=2.0),
    "softmax, flat": one(Softmax, (1, 1000), 1e-4, SHARES),
    "softmax of one": one(Softmax, (1, 1), 0.5, SHARES),
    "softmax of rows": one(Softmax, (1, 3, 4, 7), 0.2, SHARES),
    "logistic": one(Logistic, (1, 4, 4, 3), 0.06, SHARES),
    "hard swish": one(HardSwish, (1, 4, 4, 3), 0.06, (float(np.float32(0.04)), -9)),
    "relu": one(Relu, (1, 4, 4, 3), 0.06, (float(np.float32(0.04)), -128)),
    "reshape": one(Reshape, (1, 4, 4, 3), 0.06, (float(np.float32(0.06)), 5), result=(1, 48)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_operators_bit_for_bit(name, tmp_path):
    graph = GRAPHS[name]
    rng = np.random.default_rng(0)
    q = rng.integers(-128, 128, (200, *graph.input.shape[1:]), np.int8)
    q[:100] //= rng.integers(1, 100, (100, *[1] * (q.ndim - 1)), np.int8)  # close ones too
    write_c(graph, tmp_path)
    library = Library(tmp_path, graph, "-fsanitize=undefined", "-fsanitize-trap=undefined")
    np.testing.assert_array_equal(library.run(q).reshape(200, -1), simulate(graph, q).reshape(200, -1))


@needs_models
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m33", "cortex-m7", "rv32imc"])
@pytest.mark.parametrize("name", ["kws_ref_model", "ad01_int8"])
def test_reference_models_on_emulated_cores_equal_tflite_micro(name, core, tmp_path):
    pytest.importorskip("unicorn")
    from edgegrow.measure.mcu.emulator import emulate

    model = (MLPERF_TINY / f"{name}.tflite").read_bytes()
    graph = read_tflite(model)
    write_c(graph, tmp_path)
    q = np.random.default_rng(0).integers(-128, 128, (50, *graph.input.shape[1:]), np.int8)
    if core == "cortex-m0plus":
        q = q[:5]  # a tenth of the speed
    emulation = emulate(tmp_path, core, q.reshape(len(q), -1), flash_bytes=2**20, ram_bytes=2**18)
    np.testing.assert_array_equal(emulation.outputs.reshape(len(q), -1), tflm(model, q).reshape(len(q), -1))
