"""Measuring an artifact on a target: which ways there are, and the one that is taken."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgegrow import __version__
from edgegrow.devices import DEVICES
from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.listener import Listener, Silent
from edgegrow.measure.device import Device
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.meters.meter import Meter
from edgegrow.measure.protocol import Artifact, Identity, Measurement, Profile
from edgegrow.measure.window_plan import Windows
from edgegrow.targets import Target, load_target

Way = Callable[[Path, Target, str, "Options", Listener], Profile]

EMULATED_INPUTS = 4
"""Random inputs that are emulated: kernels take a little longer or shorter by what they are given."""


@dataclass(frozen=True)
class Options:
    """How to measure; ``None`` is the default of the way that is taken.

    Attributes
    ----------
    threads : int or None
        Threads the runtime may use.
    iterations, seconds : int or None, float or None
        At least so many timed inferences, and so long, in seconds.
    compiler : str or None
        ``zig`` or ``gcc``, for a microcontroller.
    emulator : str or None
        ``unicorn`` or ``qemu``, for a microcontroller.
    meter : str or None
        An energy meter, one of `edgegrow.measure.meters.opening.METERS`.
    operators : bool or None
        Whether to count each operator of a ``.tflite`` file too, in an emulator of ARM Linux.
    """

    threads: int | None = None
    iterations: int | None = None
    seconds: float | None = None
    compiler: str | None = None
    emulator: str | None = None
    meter: str | None = None
    operators: bool | None = None

    def allow(self, way: str, *names: str) -> None:
        """Refuse options that a way of measuring has no use for."""
        for field in fields(self):
            if getattr(self, field.name) is not None and field.name not in names:
                raise InputError(f"--{field.name}: it means nothing to --via {way}: leave it out")


def measure_artifact(
    path: Path,
    target: str | Target = "host",
    via: str | None = None,
    options: Options | None = None,
    listener: Listener | None = None,
) -> Profile:
    """Measure an artifact on a target.

    Parameters
    ----------
    path : Path
        A ``.tflite`` or ``.onnx`` file for a Linux or Android target; a ``.tflite`` file or a C package, the
        folder that ``export --format c`` writes, for a microcontroller; a ``.tflite`` file for an NPU.
    target : str or Target
        A target, or the name or file of one.
    via : str, optional
        ``local``, ``ssh://USER@HOST[:PORT]``, ``adb:SERIAL``, ``container``, ``emulator``, ``serial:PORT`` or
        ``vela``, as `WAYS` has them for the target's kind; by default what the target's file says, or the
        first.
    options : Options, optional
    listener : Listener, optional
        Is shown the progress.

    Raises
    ------
    InputError
        If the artifact cannot be opened, or the target cannot be measured from here or not with it. Where
        a serial line fails midway it is a `edgegrow.measure.serial.SerialInterrupted`, whose ``profile`` has
        what was measured until then.
    """
    found = target if isinstance(target, Target) else load_target(target)
    way, address = choose_way(found, via)
    return WAYS[found.kind][way](path, found, address, options or Options(), listener or Silent())


def choose_way(found: Target, via: str | None = None) -> tuple[str, str]:
    """Choose the way to measure a target.

    Parameters
    ----------
    found : Target
    via : str, optional
        As `measure_artifact` takes it.

    Returns
    -------
    way, address : str
        A key of `WAYS`, and the address; empty for a way that has none.

    Raises
    ------
    InputError
        If the target cannot be measured so.
    """
    ways = WAYS[found.kind]
    way, address = _split(via or _default(found, ways))
    if way not in ways or bool(address) != (way in _ADDRESSED):
        known = ", ".join(_ADDRESSED.get(name, name) for name in ways)
        raise InputError(
            f"--via {via or way}: target {found.name} ({found.kind}) cannot be measured so: use {known}"
        )
    return way, address


def prepare_target(target: Target, listener: Listener) -> None:
    """Prepare what measuring a target takes by default, where that is an emulated core of ARM Linux.

    It takes half a minute the first time. What else is missing is told when it is measured.

    Raises
    ------
    InputError
        If it cannot be prepared: a program or an image is missing.
    """
    way, _ = choose_way(target)
    if WAYS[target.kind] is _DEVICE_WAYS and way in _CONTAINED:
        from edgegrow.emulating import open_emulated

        open_emulated(target, listener, _CONTAINED[way]).close()


def _split(via: str) -> tuple[str, str]:
    """Split ``ssh://pi@host:22``, ``adb:SERIAL``, ``serial:PORT`` or ``local`` into way and address."""
    way, _, address = via.partition(":")
    return way, address.removeprefix("//") if way == "ssh" else address


def _default(target: Target, ways: Iterable[str]) -> str:
    """Choose the way that a Linux or Android target's file names; of the others, the first."""
    if target.kind not in ("linux", "android"):
        return next(iter(ways))
    kind, address = target.transport.kind, target.transport.address
    return kind if address is None else f"{kind}:{address}"


@contextmanager
def _metered(name: str | None, target: Target, device: Device | None = None) -> Iterator[Meter | None]:
    """Set up a meter before anything is measured, and give it back at the end."""
    if name is None:
        yield None
        return
    from edgegrow.measure.meters.opening import make_meter

    meter = make_meter(name, power=target.active_power, voltage_v=target.soc.voltage_v, device=device)
    with closing(meter):
        meter.setup()
        yield meter


def _windows(options: Options, meter: Meter | None = None) -> Windows:
    """Return how that is taken which needs long windows: times of boards, and energy."""
    default = Windows() if meter is None else Windows(min_seconds=meter.description.window_s)
    return Windows(
        min_iterations=default.min_iterations if options.iterations is None else options.iterations,
        min_seconds=default.min_seconds if options.seconds is None else options.seconds,
    )


_METERED = ("local", "ssh", "adb")
"""Ways to real devices: what an emulator draws is its host's power."""


def _on_device(way: str) -> Way:
    """Measure on a device: by edgegrow's runner, or on a phone without Python by Google's benchmark_model."""

    def measure(path: Path, target: Target, address: str, options: Options, listener: Listener) -> Profile:
        from edgegrow.measure.benchmark_model import instead_of_python, measure_benchmark_model
        from edgegrow.measure.identity import numbers
        from edgegrow.measure.remote import measure_on
        from edgegrow.measure.timing_plan import TimingPlan

        metered = ("meter",) if way in _METERED else ()
        options.allow(way, "threads", "iterations", "seconds", *metered)
        affinity = target.runtime.affinity
        how: dict[str, Any] = {
            "target": target.reference,
            "plan": TimingPlan(
                threads=target.runtime.threads if options.threads is None else options.threads,
                affinity=None if affinity is None else numbers(affinity),
                min_iterations=50 if options.iterations is None else options.iterations,
                min_seconds=1.0 if options.seconds is None else options.seconds,
                cpu_part=target.emulator.part if target.emulator is not None else None,
            ),
            "progress": listener.detail,
        }
        with (
            DEVICES[way](target, address) as device,
            _metered(options.meter, target, None if way == "local" else device) as meter,
        ):
            program = instead_of_python(device) if way == "adb" else None
            if program is None:
                windows = None if meter is None else _windows(options, meter)
                return measure_on(device, path, meter=meter, windows=windows, warn=listener.warn, **how)
            if meter is not None:
                raise InputError(f"--meter: {device.name} has no Python to run its windows: leave it out")
            listener.warn(f"{device.name}: there is no Python: {program} measures, and tells no outputs")
            return measure_benchmark_model(device, path, program=program, **how)

    return measure


_CONTAINED = {"emulator": False, "container": True}
"""Ways to an emulated core of a Linux or Android target, and whether it is in a container."""


def _counted(way: str) -> Way:
    """Count on an emulated core, on this machine or in a container."""

    def measure(path: Path, target: Target, _: str, options: Options, listener: Listener) -> Profile:
        from edgegrow.emulating import count_artifact

        options.allow(way, "threads", "iterations", "operators")
        return count_artifact(
            path,
            target,
            listener,
            contained=_CONTAINED[way],
            threads=options.threads,
            iterations=options.iterations,
            operators=bool(options.operators),
        )

    return measure


def _in_emulator(path: Path, target: Target, _: str, options: Options, listener: Listener) -> Profile:
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


def _over_serial(path: Path, target: Target, port: str, options: Options, listener: Listener) -> Profile:
    """Measure on a board that runs the firmware of the artifact's package."""
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
    with _metered(options.meter, target) as meter:
        return measure_serial(
            port,
            artifact=artifact,
            target=target.reference,
            model_id=model_id,
            inputs=inputs,
            expected=expected,
            baud=target.transport.baud or BAUD,
            windows=_windows(options),
            meter=meter,
            progress=listener.detail,
            warn=listener.warn,
        )


def _random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, shape, np.int8)


def _by_vela(path: Path, target: Target, _: str, options: Options, listener: Listener) -> Profile:
    from edgegrow.measure.vela import Npu, estimate

    options.allow("vela")
    core, clock_hz, emulator = target.soc.core, target.soc.clock_hz, target.emulator
    if (
        core is None
        or clock_hz is None
        or emulator is None
        or not (emulator.machine and emulator.memory_mode)
    ):
        needed = "soc.core, soc.clock_hz, emulator.machine and emulator.memory_mode"
        raise InputError(f"target {target.name}: Vela needs {needed}: add them to its file")
    listener.detail(f"estimating {path} for {target.name}")
    npu = Npu(core, emulator.machine, emulator.memory_mode, clock_hz)
    return estimate(path, npu, target.reference)


_ADDRESSED = {"serial": "serial:PORT", "ssh": "ssh://USER@HOST[:PORT]", "adb": "adb:SERIAL"}
"""Ways that are given an address, as they are written."""

_DEVICE_WAYS: dict[str, Way] = {
    **{way: _on_device(way) for way in DEVICES},
    **{way: _counted(way) for way in _CONTAINED},
}

WAYS: dict[str, dict[str, Way]] = {
    "linux": _DEVICE_WAYS,
    "android": _DEVICE_WAYS,
    "mcu": {"emulator": _in_emulator, "serial": _over_serial},
    "npu": {"vela": _by_vela},
}
"""How targets of a kind can be measured; the third argument is the address, or empty."""
