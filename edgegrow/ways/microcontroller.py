"""Microcontrollers: emulated with what that predicts, or measured over a board's serial line."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgegrow import __version__
from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.listener import Listener
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.protocol import Artifact, Identity, Measurement, Profile
from edgegrow.targets import Target
from edgegrow.ways.way import Options, metered, windows

EMULATED_INPUTS = 4
"""Random inputs that are emulated: kernels take a little longer or shorter by what they are given."""


def in_emulator(path: Path, target: Target, _: str, options: Options, listener: Listener) -> Profile:
    """Emulate a ``.tflite`` file as C, or a C package, and predict its time and energy on the board.

    Raises
    ------
    InputError
        If the file or package cannot be read, built or run, or its outputs are not the simulator's.
    """
    options.allow("emulator", "compiler", "emulator")
    board = target.board()
    board = replace(
        board, compiler=options.compiler or board.compiler, emulator=options.emulator or board.emulator
    )
    if path.is_dir():
        return _emulate_package(path, board, target, listener)
    if not path.exists():
        raise InputError(f"artifact {path}: no such file or folder: give a .tflite file, or a C package")
    if path.suffix.lower() != ".tflite":
        hint = "give a .tflite file, or a C package: the folder of export --format c"
        raise InputError(f"artifact {path}: target {target.name} cannot run it: {hint}")
    return _emulate_tflite(path, board, target, listener)


def _emulate_package(path: Path, board: Board, target: Target, listener: Listener) -> Profile:
    from edgegrow.measure.mcu.prediction import check_selftest, emulate_on, input_bytes

    shape = (EMULATED_INPUTS, input_bytes(path))
    artifact = Artifact.of_package(path)
    listener.detail(f"emulating {path} on a {board.core.cpu}")
    figures = emulate_on(board, path, _random(shape))
    if not check_selftest(board, path):
        listener.warn(f"package {path}: it has no self-test: nothing tells whether its outputs are right")
    return Profile(
        artifact=artifact,
        target=target.reference,
        measurements=figures.measurements,
        unavailable=figures.unavailable,
    )


def _emulate_tflite(path: Path, board: Board, target: Target, listener: Listener) -> Profile:
    from edgegrow.deploy.c import write_c
    from edgegrow.deploy.read import read_tflite
    from edgegrow.deploy.simulate import simulate
    from edgegrow.measure.mcu.prediction import emulate_on
    from edgegrow.working_memory import memory_figures

    graph = read_tflite(path)
    artifact = Artifact.of(path, read_regular(path))
    inputs = _random((EMULATED_INPUTS, *graph.input.shape[1:]))
    listener.detail(f"emulating {path} as C on a {board.core.cpu}")
    with tempfile.TemporaryDirectory(prefix="edgegrow-") as folder:
        package = Path(folder) / path.stem
        write_c(graph, package)
        try:
            figures = emulate_on(board, package, inputs.reshape(len(inputs), -1))
        except InputError as error:
            # The package is gone when this is read: the file is what the user knows.
            raise type(error)(str(error).replace(f"package {package.resolve()}", f"{path}, as C")) from error
    if not np.array_equal(figures.emulation.outputs, simulate(graph, inputs)):
        raise InputError(
            f"{path}: in the emulator its outputs are not the simulator's: "
            f"report it to edgegrow, with the file and {figures.emulation.identity.compiler}"
        )
    macs = Measurement(
        metric="macs",
        value=graph.macs,
        unit="macs",
        evidence="predicted",
        identity=Identity(runtime="edgegrow", version=__version__),
        method="counted from the file's convolutions and linear layers",
    )
    memory, unavailable = memory_figures(graph, path)
    return Profile(
        artifact=artifact,
        target=target.reference,
        measurements=(*figures.measurements, *memory, macs),
        unavailable=(*figures.unavailable, *unavailable),
    )


def over_serial(path: Path, target: Target, port: str, options: Options, listener: Listener) -> Profile:
    """Measure on a board that runs the firmware of the artifact's package.

    Raises
    ------
    InputError
        If the artifact cannot be read, or the board does not answer as its firmware does.
    """
    from edgegrow.deploy.c import write_c
    from edgegrow.deploy.read import read_tflite
    from edgegrow.deploy.simulate import simulate
    from edgegrow.measure.mcu.prediction import emulate_on, input_bytes
    from edgegrow.measure.serial import BAUD, measure_serial, package_model_id

    options.allow("serial", "iterations", "seconds", "meter")
    if path.is_dir():
        artifact, model_id = Artifact.of_package(path), package_model_id(path)
        inputs = _random((EMULATED_INPUTS, input_bytes(path)))
        expected = emulate_on(target.board(), path, inputs).emulation.outputs
    else:
        graph = read_tflite(path)
        artifact = Artifact.of(path, read_regular(path))
        with tempfile.TemporaryDirectory(prefix="edgegrow-") as folder:
            write_c(graph, Path(folder))
            model_id = package_model_id(folder)
        inputs = _random((EMULATED_INPUTS, *graph.input.shape[1:]))
        expected = simulate(graph, inputs).reshape(len(inputs), -1)
        inputs = inputs.reshape(len(inputs), -1)
    with metered(options.meter, target) as meter:
        return measure_serial(
            port,
            artifact=artifact,
            target=target.reference,
            model_id=model_id,
            inputs=inputs,
            expected=expected,
            baud=target.transport.baud or BAUD,
            windows=windows(options),
            meter=meter,
            progress=listener.detail,
            warn=listener.warn,
        )


def _random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, shape, np.int8)
