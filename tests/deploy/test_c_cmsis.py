"""C packages that call CMSIS-NN, on an emulated Cortex-M4 and, with MVE, a Cortex-M55."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from c_packages import Layers, needs_compiler
from foreign_files import REFERENCE_MODELS

from edgegrow.deploy.c import c_package, write_c
from edgegrow.deploy.c_cmsis import find_kernels
from edgegrow.deploy.graph import AveragePool2D, MaxPool2D
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.simulate import simulate
from edgegrow.errors import InputError

pytest.importorskip("bakenn", reason="no CMSIS-NN: pip install edgegrow[cmsis]")
pytest.importorskip("unicorn", reason="no unicorn: pip install edgegrow[mcu]")
pytestmark = needs_compiler
KERNELS = find_kernels("cmsis-nn")

# Every function of CMSIS-NN that a wrapper chooses from is in one of them.
CHAINS = {
    "maps": Layers(13, 11, 3)
    .conv(5, (3, 3), (2, 2))
    .conv(8, (3, 3), extreme=-128)
    .conv(8, (3, 3), depthwise=True, activation="relu")
    .conv(12, (1, 1), activation="relu6")
    .pool(MaxPool2D, (3, 3), (1, 2), "SAME")
    .conv(9, (1, 1), (2, 2), gain=3.0)
    .pool(AveragePool2D, (3, 3), (2, 2), "SAME")
    .linear(10),
    "depthwise": Layers(14, 13, 2)
    .conv(6, (5, 4), (1, 1), "VALID", depthwise=True)
    .conv(24, (3, 3), depthwise=True)
    .conv(24, (3, 3), (2, 2), depthwise=True, activation="relu6")
    .conv(24, (2, 2), (1, 1), depthwise=True)
    .pool(AveragePool2D, (5, 5), (5, 5)),
    "signal": Layers(1, 40, 3)
    .conv(3, (1, 3))
    .add_input(0.07)
    .conv(6, (1, 7), (1, 2))
    .conv(6, (1, 3), depthwise=True)
    .conv(8, (1, 5), (1, 3))
    .linear(37)
    .linear(4, activation="relu"),
}


def inputs(graph, n):
    q = np.random.default_rng(1).integers(-128, 128, (n, *graph.input.shape[1:]), np.int8)
    q[0], q[1] = -128, 127
    return q


def emulated(folder, q, core="cortex-m4", **options):
    from edgegrow.measure.mcu.emulator import emulate

    return emulate(folder, core, q.reshape(len(q), -1), **options)


@pytest.mark.parametrize("name", CHAINS)
def test_layers_bit_for_bit(name, tmp_path):
    graph = CHAINS[name].graph()
    write_c(graph, tmp_path, KERNELS)
    q = inputs(graph, 20)
    emulation = emulated(tmp_path, q)
    np.testing.assert_array_equal(emulation.outputs, simulate(graph, q).reshape(len(q), -1))
    assert emulation.identity.kernels == "CMSIS-NN 4.0.0"
    used = [work.name.split("_", 2)[2].startswith("cmsis") for work in emulation.operators[:-1]]
    assert used == [type(op).__name__ != "Add" for op in graph.operators]


ARENAS = {"kws_ref_model": 17_152, "ad01_int8": 768}


@pytest.mark.parametrize("path", REFERENCE_MODELS)
def test_reference_models_bit_for_bit(path, tmp_path):
    graph, arena_bytes = read_tflite(path), ARENAS[path.stem]
    write_c(graph, tmp_path, KERNELS)
    q = inputs(graph, 10)
    emulation = emulated(tmp_path, q)
    np.testing.assert_array_equal(emulation.outputs, simulate(graph, q).reshape(len(q), -1))
    assert emulation.arena_bytes == arena_bytes


def test_scratch_that_is_too_small_is_refused(tmp_path):
    graph = Layers(6, 6, 4).conv(4, (3, 3)).graph()
    write_c(graph, tmp_path, KERNELS)
    source = tmp_path / "src/model.c"
    planned = 4 * 3 * 3 * 4
    text = source.read_text()
    assert f".dsp = {planned}," in text
    source.write_text(text.replace(f".dsp = {planned},", f".dsp = {planned - 1},"))
    with pytest.raises(InputError, match="model_invoke returned 2"):
        emulated(tmp_path, inputs(graph, 2))


def test_with_vector_extension(tmp_path):
    """Its scratch is of other sizes; with those of the DSP extension, outputs would be wrong."""
    if not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")):
        pytest.skip("arm-none-eabi-gcc or qemu-system-arm is not installed")
    graph = Layers(12, 9, 3).conv(20, (3, 3), (2, 2)).conv(20, (3, 3), depthwise=True).linear(7).graph()
    write_c(graph, tmp_path, KERNELS)
    q = inputs(graph, 5)
    on_m55 = {"core": "cortex-m55", "compiler": "gcc", "emulator": "qemu"}
    emulation = emulated(tmp_path, q, **on_m55)
    np.testing.assert_array_equal(emulation.outputs, simulate(graph, q).reshape(len(q), -1))
    # The depthwise convolution: four columns of 9 taps and 124 channels.
    source = tmp_path / "src/model.c"
    text = source.read_text()
    assert f".mve = {4 * 9 * 124}," in text
    source.write_text(text.replace(f".mve = {4 * 9 * 124},", f".mve = {2 * 9 * 20},"))
    with pytest.raises(InputError, match="model_invoke returned 2"):
        emulated(tmp_path, q, **on_m55)


def test_a_package_has_the_sources_it_needs_and_says_whose_they_are(tmp_path):
    write_c(CHAINS["signal"].graph(), tmp_path, KERNELS)
    folder = tmp_path / "src/cmsis_nn"
    assert "Apache License" in (folder / "LICENSE-CMSIS-NN.txt").read_text()
    assert "Apache License" in (folder / "LICENSE-CMSIS-Core.txt").read_text()
    write_c(Layers(16).linear(4).graph(), tmp_path, KERNELS)
    assert {path.name for path in folder.glob("*.c")} == {
        "arm_fully_connected_s8.c",
        "arm_nn_vec_mat_mult_t_s8.c",
    }
    notes = (tmp_path / "KERNELS.md").read_text()
    assert "CMSIS-NN 4.0.0" in notes
    assert "`op_00_cmsis_fully_connected`: arm_fully_connected_s8" in notes
    listed = re.findall(r"src/cmsis_nn/\w+\.c", (tmp_path / "CMakeLists.txt").read_text())
    assert {Path(path).name for path in listed} == {path.name for path in folder.glob("*.c")}
    write_c(Layers(16).linear(4).graph(), tmp_path)
    assert not list(folder.glob("*"))
    assert not (tmp_path / "KERNELS.md").exists()


def test_the_arena_holds_the_scratch_of_cmsis(tmp_path):
    graph = Layers(6, 6, 4).conv(4, (3, 3)).graph()
    write_c(graph, tmp_path, KERNELS)
    # Input and output of 144 bytes; four columns of int8 in vectors of 8 with MVE, else two of int16.
    with_mve, without = 144 + 144 + 4 * 40, 144 + 144 + 2 * 2 * 36
    header = (tmp_path / "src/model.h").read_text()
    assert [int(size) for size in re.findall(r"MODEL_ARENA_BYTES (\d+)", header)] == [with_mve, without]


@pytest.fixture
def sources(tmp_path):
    """A copy of the installed CMSIS-NN, to be changed."""
    for file in KERNELS.source.files.values():
        shutil.copy(file, tmp_path)
    (tmp_path / "LICENSE.txt").write_text("licence")
    return tmp_path


def test_a_folder_of_sources(sources):
    graph = CHAINS["signal"].graph()
    installed, copied = c_package(graph, KERNELS), c_package(graph, find_kernels(f"cmsis-nn:{sources}"))
    assert copied["src/model.c"] == installed["src/model.c"]
    assert copied["src/cmsis_nn/arm_convolve_s8.c"] == installed["src/cmsis_nn/arm_convolve_s8.c"]
    assert '"CMSIS-NN 4.0, release unknown"' in copied["src/model.h"]


def another_version(folder):
    header = folder / "arm_nnfunctions.h"
    text = header.read_text()
    header.write_text(re.sub(r"(arm_convolve_wrapper_s8\()", r"\1const cmsis_nn_dims *upscale_dims, ", text))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_version, "its arm_convolve_wrapper_s8 is not that of CMSIS-NN 4.0"),
        (lambda folder: (folder / "arm_nnfunctions.h").unlink(), "it has no arm_nnfunctions.h"),
        (lambda folder: (folder / "cmsis_gcc.h").unlink(), "it has no cmsis_gcc.h"),
        (lambda folder: (folder / "LICENSE.txt").unlink(), "comes without its LICENSE"),
        (lambda folder: (folder / "arm_nn_types.h").write_bytes(b"\xff"), "cannot read it"),
        (
            lambda folder: ((folder / "old").mkdir(), (folder / "old/arm_nn_types.h").write_text("")),
            "it has two arm_nn_types.h",
        ),
        (shutil.rmtree, "there is no such folder"),
    ],
)
def test_folders_that_do_not_serve(sources, change, said):
    change(sources)
    with pytest.raises(InputError, match=said) as caught:
        c_package(CHAINS["signal"].graph(), find_kernels(f"cmsis-nn:{sources}"))
    assert "\n" not in str(caught.value)
