import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from c_packages import Layers

from edgegrow.deploy.c import write_c
from edgegrow.deploy.graph import AveragePool2D
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.simulate import simulate
from edgegrow.errors import InputError
from edgegrow.measure.mcu.cores import CORES
from edgegrow.measure.mcu.emulator import emulate
from edgegrow.measure.mcu.figures import profile_measurements

for package in ("ziglang", "unicorn", "capstone"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)
if shutil.which("qemu-system-arm") is None:
    pytest.skip("qemu-system-arm is not installed", allow_module_level=True)

MLPERF_TINY = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"
SMALL = {"flash_bytes": 2**17, "ram_bytes": 2**13, "stack_bytes": 2**12}
"""Memory that the smallest board has."""

LAYERS = {
    "convolution, stride 2": Layers(9, 7, 3).conv(5, (3, 3), (2, 2)),
    "convolution, 16 channels": Layers(4, 5, 16).conv(12, (1, 1), activation="relu"),
    "weights of -128": Layers(4, 4, 8).conv(8, (3, 3), extreme=-128),
    "gains above 1": Layers(4, 4, 3).conv(8, (3, 3), gain=400.0),
    "depthwise": Layers(7, 9, 5).conv(5, (3, 3), depthwise=True, activation="relu"),
    "depthwise, stride 2": Layers(9, 8, 6).conv(6, (3, 3), (2, 2), depthwise=True),
    "depthwise, multiplier 3": Layers(6, 7, 2).conv(6, (5, 4), (1, 1), "VALID", depthwise=True),
    "depthwise, gains above 1": Layers(5, 6, 4).conv(4, (3, 3), depthwise=True, gain=400.0),
    "depthwise, more channels than 16 bits reach": Layers(1, 8, 9364).conv(9364, (1, 2), depthwise=True),
    "linear": Layers(37).linear(11),
    "linear of whole eights": Layers(48).linear(8, activation="relu"),
    "linear, sums of 25 bits": Layers(3000).linear(4, spread=1000),
    "network": Layers(8, 8, 1)
    .conv(8, (3, 3))
    .conv(8, (3, 3), depthwise=True)
    .conv(10, (1, 1))
    .pool(AveragePool2D, (8, 8), (8, 8))
    .linear(4),
}


def package(layers, folder, n):
    """Write a package; returns n inputs and what the simulator gives for them."""
    graph = layers.graph()
    q = np.random.default_rng(1).integers(-128, 128, (n, *graph.input.shape[1:]), np.int8)
    q[0] = -128
    write_c(graph, folder)
    return q.reshape(n, -1), simulate(graph, q).reshape(n, -1)


def fails(source, folder, core="cortex-m4", **options):
    (folder / "model.h").write_text(
        "#include <stdint.h>\n#define MODEL_INPUT_BYTES 4\n#define MODEL_OUTPUT_BYTES 4\n"
        "#define MODEL_ARENA_BYTES 64\nint model_invoke(const int8_t *in, int8_t *out, void *arena);\n"
    )
    invoke = "int model_invoke(const int8_t *in, int8_t *out, void *arena)"
    (folder / "model.c").write_text(f'#include "model.h"\n{invoke} {{ {source} }}\n')
    with pytest.raises(InputError) as caught:
        emulate(folder, core, np.ones((2, 4), np.int8), emulator="qemu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("core", [core.name for core in CORES.values() if core.board and core.model])
def test_qemu_gives_what_unicorn_gives(core, tmp_path):
    q, expected = package(LAYERS["network"], tmp_path, 3)
    one, other = (emulate(tmp_path, core, q, emulator=name, **SMALL) for name in ("qemu", "unicorn"))
    np.testing.assert_array_equal(one.outputs, expected)
    np.testing.assert_array_equal(other.outputs, expected)
    assert (one.total, one.operators) == (other.total, other.operators)
    for size in ("stack_bytes", "flash_bytes", "ram_bytes", "arena_bytes"):
        assert getattr(one, size) == getattr(other, size)
    assert one.identity.runtime == "qemu"


@pytest.mark.parametrize("name", LAYERS)
def test_layers_on_a_cortex_m55(name, tmp_path):
    q, expected = package(LAYERS[name], tmp_path, 4)
    emulation = emulate(tmp_path, "Cortex-M55", q, emulator="qemu", ram_bytes=2**20)
    np.testing.assert_array_equal(emulation.outputs, expected)


def test_vectors_pay(tmp_path):
    q, _ = package(Layers(6, 8, 16).conv(16, (1, 1)).conv(16, (3, 3), depthwise=True), tmp_path, 1)
    vectors, words = (
        emulate(tmp_path, core, q, emulator="qemu").total.instructions[0]
        for core in ("cortex-m55", "cortex-m33")
    )
    assert vectors < 0.75 * words


def test_gcc_compiles_for_a_cortex_m55(tmp_path):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    q, expected = package(LAYERS["network"], tmp_path, 2)
    result = emulate(tmp_path, "cortex-m55", q, emulator="qemu", compiler="gcc")
    np.testing.assert_array_equal(result.outputs, expected)
    _, unavailable = profile_measurements(result)
    assert [u.metric for u in unavailable] == ["cycles"]


@pytest.mark.parametrize("model", ["kws_ref_model", "ad01_int8"])
def test_reference_models_on_a_cortex_m55(model, tmp_path):
    path = MLPERF_TINY / f"{model}.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    graph = read_tflite(path)
    q = np.random.default_rng(2).integers(-128, 128, (3, *graph.input.shape[1:]), np.int8)
    write_c(graph, tmp_path)
    result = emulate(tmp_path, "cortex-m55", q.reshape(3, -1), emulator="qemu")
    np.testing.assert_array_equal(result.outputs, simulate(graph, q).reshape(3, -1))


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_programs_that_go_astray(core, tmp_path):
    endless = 'for (;;) __asm__ volatile("");'
    said = fails(endless, tmp_path, core, max_instructions=10_000)
    assert "it took more than 10000 instructions, in model_invoke" in said
    assert "took longer than 2 s" in fails(endless, tmp_path, core, max_instructions=2**62, seconds=2)
    assert "model_invoke returned -3 for input 0" in fails("return -3;", tmp_path, core)
    assert "it raised an exception in model_invoke" in fails(
        "return *(volatile int *)0x70000001;" if core == "cortex-m4" else "__builtin_trap();", tmp_path, core
    )


def test_it_leaves_nothing_behind(tmp_path):
    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        pytest.skip("no /proc/self/fd to see open files in")
    before = len(list(opened.iterdir()))
    fails("return 1;", tmp_path)
    assert len(list(opened.iterdir())) <= before


def test_more_inputs_than_a_board_has_room_for(tmp_path):
    q, _ = package(LAYERS["network"], tmp_path, 1)
    with pytest.raises(InputError, match=r"5000 inputs at once: QEMU's microbit has room for \d+"):
        emulate(tmp_path, "cortex-m0plus", np.repeat(q, 5000, 0), emulator="qemu", stack_bytes=2**12)
