"""Calibrating a target for a network's structure, and keeping what was found.

Of the host, Linux boards and phones, layers and whole networks are timed by a clock. For a microcontroller,
whole networks are emulated. Either goes on where it was interrupted. `edgegrow.pricing` makes cost models of
what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgegrow import __version__
from edgegrow.cost.calibration import (
    BoardCalibration,
    LatencyCalibration,
    LayerReading,
    NetworkReading,
    Trial,
    digest,
    read_latencies,
    read_trials,
)
from edgegrow.cost.clock import Clock, Windows
from edgegrow.cost.latency import LatencyModel, Table
from edgegrow.cost.latency_plan import LatencyPlan
from edgegrow.cost.microcontroller import emulate_network, emulation_identity
from edgegrow.cost.operators import alone, structure_of
from edgegrow.cost.staircase import Sizes
from edgegrow.cost.structure import random_graph, resize_graph
from edgegrow.deploy.graph import Array, FloatGraph, Graph
from edgegrow.errors import InputError
from edgegrow.files import cache_folder
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.seed import NARROWEST
from edgegrow.listener import Listener
from edgegrow.measure.device import DeviceError
from edgegrow.measure.protocol import Identity
from edgegrow.targets import Target

_BATCH = 32
"""Files that are timed in one run: what is lost if calibration is interrupted."""

_SEED = 0

_DOUBTFUL = 0.15
"""Error on unseen networks that is warned about."""

_EMULATED_SCALES = (0.2, 1.5)
"""Widths of emulated networks, in those of the net itself: the loops of kernels tell the rest."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes
    ----------
    widest : float
        Greatest widths that tables reach to, in those of the net itself; a straight line goes on from there.
    rounds, seconds : int, float
        Windows of each layer, and the length of one in s; of a network twice as long.
    networks : int
        Whole networks that are timed: every other one for the error alone.
    emulated : int
        Networks that are emulated for a microcontroller.
    """

    widest: float = 2.0
    rounds: int = 5
    seconds: float = 0.02
    networks: int = 12
    emulated: int = 6


@dataclass(frozen=True)
class Subject:
    """The network that a target is calibrated for.

    Attributes
    ----------
    trace : NetworkTrace
        At the widths that it comes with.
    graph : FloatGraph
        The same, to be deployed.
    samples : ndarray
        A few, for the ranges of activations.
    net, data : str
        What they are called.
    """

    trace: NetworkTrace
    graph: FloatGraph
    samples: Array
    net: str
    data: str

    def at(self, widths: Mapping[str, int]) -> FloatGraph:
        """Resize the graph; its weights are all 0."""
        return resize_graph(self.graph, self.trace.shapes(widths))

    def quantized(self, widths: Mapping[str, int]) -> Graph:
        """Resize the graph, and fill it with random weights."""
        return random_graph(self.at(widths), self.samples, _SEED)

    @property
    def narrowest(self) -> dict[str, int]:
        """The least widths that a seed has."""
        return dict.fromkeys(self.trace.widths(), NARROWEST)

    @property
    def structure(self) -> str:
        """Hash of all but the widths."""
        return structure_of(self.at(self.narrowest))

    def again(self, target: Target) -> str:
        """Tell how to calibrate a target for this network again, for messages."""
        kept, via = target.latency_table, f" --via {target.via}" if target.via else ""
        command = f"edgegrow targets calibrate {target.name} --net {self.net} --data {self.data}{via}"
        return f"calibrate again: {command}" + (f" --out {kept}" if kept is not None else "")


def scaled(widths: Mapping[str, int], low: float, high: float, rng: np.random.Generator) -> dict[str, int]:
    """Multiply each width by a factor of its own, drawn so that its logarithm is uniform."""
    return {
        name: max(NARROWEST, round(width * float(np.exp(rng.uniform(np.log(low), np.log(high))))))
        for name, width in widths.items()
    }


def calibrate_latencies(
    target: Target,
    subject: Subject,
    clock: Clock,
    listener: Listener,
    path: Path | None = None,
    effort: Effort | None = None,
    command: str = "",
) -> LatencyCalibration:
    """Time layers over widths, and whole networks; keep them in a file after every few.

    An unfinished calibration of the same network, machine and runtime is continued, any other is replaced.

    Parameters
    ----------
    target : Target
    subject : Subject
    clock : Clock
        Its reference is `subject` at its own widths.
    listener : Listener
    path : Path, optional
        Where to keep it; by default in the user's cache.
    effort : Effort, optional
    command : str
        What asked for it, for the record.

    Raises
    ------
    InputError
        If the network does not run there, or the file cannot be written or is none of ours.
    DeviceError
        If the device fails: what has been measured is kept.
    """
    effort = effort or Effort()
    place = path or latency_path(target, subject)
    begun = _begin(target, subject, clock.identity(), effort, command)
    kept = read_latencies(place) if place.exists() else None
    if kept is not None and not kept.finished and _comparable(kept, begun):
        listener.say(f"going on with {place}: {len(kept.layers)} layers and {len(kept.networks)} networks")
        begun = kept
    calibration = _Calibrator(subject, clock, listener, place, effort, target.cost.channel_block, begun).run()
    assert calibration.error is not None
    if calibration.error > _DOUBTFUL:
        listener.warn(
            f"calibration {place}: on networks that it has not seen it is wrong by up to "
            f"{100 * calibration.error:.0f} %: calibrate again when the machine is idle"
        )
    return calibration


def _begin(
    target: Target, subject: Subject, identity: Identity, effort: Effort, command: str
) -> LatencyCalibration:
    reference = subject.trace.widths()
    return LatencyCalibration(
        **_about(target, subject, identity, command),
        reference=reference,
        # Wider than the narrowest, so that every width is seen to vary.
        widest={name: max(2 * NARROWEST, round(effort.widest * n)) for name, n in reference.items()},
    )


def _comparable(kept: LatencyCalibration, begun: LatencyCalibration) -> bool:
    try:
        kept.check("", begun.structure, begun.identity, "")
    except InputError:
        return False
    return kept.reference == begun.reference and kept.widest == begun.widest


class _Calibrator:
    """Measures what a calibration lacks."""

    def __init__(
        self,
        subject: Subject,
        clock: Clock,
        listener: Listener,
        place: Path,
        effort: Effort,
        channel_block: int | None,
        calibration: LatencyCalibration,
    ) -> None:
        self.subject, self.clock, self.listener = subject, clock, listener
        self.place, self.effort, self.calibration = place, effort, calibration
        self.plan = latency_plan(subject, calibration, channel_block)

    def run(self) -> LatencyCalibration:
        plan = self.plan
        swept = [(sweep.layer.kind, at) for sweep in plan.sweeps.values() for at in sweep.points]
        self.measure_layers("steps of widths", swept)
        blocks = Table(plan, self.calibration).blocks
        tabled = [(layer.kind, at) for layer in plan.layers.values() for at in plan.grid(layer, blocks)]
        self.measure_layers("layers over widths", tabled)
        self.measure_networks()
        model = LatencyModel(self.subject.graph, plan, self.calibration, self.subject.trace.shapes)
        self.keep(finished=True, spread=model.spread, error=model.error)
        return self.calibration

    def measure_layers(self, stage: str, points: Sequence[tuple[str, Sizes]]) -> None:
        table = Table(self.plan, self.calibration)
        missing = [point for point in dict.fromkeys(points) if not table.has(*point)]

        def graph(point: tuple[str, Sizes]) -> Graph:
            return alone(self.plan.layers[point[0]].operator, point[1])

        def keep(point: tuple[str, Sizes], windows_ns: tuple[float, ...], reference_ns: float) -> None:
            reading = LayerReading(
                kind=point[0], sizes=point[1], windows_ns=windows_ns, reference_ns=reference_ns
            )
            self.keep(layers=(*self.calibration.layers, reading))

        self._measure(stage, missing, graph, self.effort.seconds, keep)

    def measure_networks(self) -> None:
        rng = np.random.default_rng(_SEED)
        low, high = 1 / 4, self.effort.widest
        drawn = [scaled(self.calibration.reference, low, high, rng) for _ in range(self.effort.networks)]
        missing = drawn[len(self.calibration.networks) :]

        def keep(widths: dict[str, int], windows_ns: tuple[float, ...], reference_ns: float) -> None:
            reading = NetworkReading(widths=widths, windows_ns=windows_ns, reference_ns=reference_ns)
            self.keep(networks=(*self.calibration.networks, reading))

        self._measure("networks", missing, self.subject.quantized, 2 * self.effort.seconds, keep)

    def _measure(
        self,
        stage: str,
        items: Sequence[Item],
        graph: Callable[[Item], Graph],
        seconds: float,
        keep: Callable[[Item, tuple[float, ...], float], None],
    ) -> None:
        for first in range(0, len(items), _BATCH):
            batch = items[first : first + _BATCH]
            graphs = [graph(item) for item in batch]
            try:
                found: list[Windows] = self.clock.time(graphs, self.effort.rounds, seconds)
            except DeviceError as error:
                if not self.calibration.layers:
                    raise
                made = f"{len(self.calibration.layers)} layers and {len(self.calibration.networks)} networks"
                raise DeviceError(f"{error}: {made} are kept in {self.place}, to go on from") from error
            for item, (windows_ns, reference_ns) in zip(batch, found, strict=True):
                keep(item, windows_ns, reference_ns)
            self.calibration.write(self.place)
            done = first + len(batch)
            self.listener.step(f"calibrating: {stage}", done, len(items), f"kept in {self.place.name}")

    def keep(self, **found: object) -> None:
        self.calibration = self.calibration.model_copy(update=found)
        if "finished" in found:
            self.calibration.write(self.place)


def latency_plan(subject: Subject, calibration: LatencyCalibration, channel_block: int | None) -> LatencyPlan:
    """Tell what belongs into a calibration of a network."""
    return LatencyPlan(subject.at(subject.narrowest), subject.at(calibration.widest), channel_block)


def latency_path(target: Target, subject: Subject) -> Path:
    """Where latencies are kept: the target's own file, or the user's cache, with a file for each device."""
    device = f"-{digest(target.via.encode())[:8]}" if target.via else ""
    return target.latency_table or _folder() / f"{target.name}{device}-{subject.structure[:16]}.json"


def emulate_trials(
    target: Target,
    subject: Subject,
    listener: Listener,
    path: Path | None = None,
    effort: Effort | None = None,
    command: str = "",
    replace: bool = False,
) -> BoardCalibration:
    """Find the emulated networks of a microcontroller's calibration, and emulate those that it lacks.

    Parameters
    ----------
    target, subject, listener
    path : Path, optional
        Where they are kept; by default in the user's cache, under a name that tells network, core, compiler
        and kernels apart.
    effort : Effort, optional
    command : str
        What asked for it, for the record.
    replace : bool
        Whether to emulate anew where the file is of something else, instead of refusing it.

    Raises
    ------
    InputError
        If the file is damaged or was made with what is not here now, or a network cannot be emulated.
    """
    effort, board = effort or Effort(), target.board()
    widths = subject.trace.widths()
    about = _about(target, subject, emulation_identity(board), command)
    structure = about["structure"] = _sampled_structure(subject)
    place = path or trials_path(target, subject)
    trials: tuple[Trial, ...] = ()
    if place.exists():
        kept = read_trials(place)
        try:
            kept.check(place, structure, about["identity"], subject.again(target))
            operators = len(kept.trials[0].cycles)
            if kept.trials[0].widths.keys() != widths.keys() or operators not in (
                0,
                len(subject.graph.operators),
            ):
                raise InputError(f"calibration {place}: it is of another network: {subject.again(target)}")
            if len(kept.trials) >= effort.emulated:
                return kept
            trials = kept.trials
        except InputError:
            if not replace:
                raise
    rng = np.random.default_rng(_SEED)
    drawn = [scaled(widths, *_EMULATED_SCALES, rng) for _ in range(effort.emulated)]
    listener.say(f"pricing: emulating {len(drawn) - len(trials)} networks on a {board.core.cpu}, once")
    for drawn_widths in drawn[len(trials) :]:
        emulated = emulate_network(board, subject.at(drawn_widths), subject.samples)
        trials = (*trials, Trial(widths=drawn_widths, **asdict(emulated)))
        calibration = BoardCalibration(**about, trials=trials)
        calibration.write(place)
        listener.step("pricing", len(trials), len(drawn), f"kept in {place.name}")
    return calibration


def trials_path(target: Target, subject: Subject) -> Path:
    """Where emulated networks are kept: the target's own file, or one in the user's cache."""
    board = target.board()
    identity = emulation_identity(board).model_dump_json()
    name = digest(_sampled_structure(subject).encode(), identity.encode())[:16]
    return target.latency_table or _folder() / f"{board.core.name}-{name}.json"


def _sampled_structure(subject: Subject) -> str:
    """Hash of a network's structure, and of what else decides what its emulated examples take.

    Ranges of samples decide zero points, and those some of the cycles.
    """
    samples = np.ascontiguousarray(subject.samples).tobytes()
    return digest(subject.structure.encode(), samples, repr(subject.trace.widths()).encode())


def _about(target: Target, subject: Subject, identity: Identity, command: str) -> dict[str, Any]:
    """Tell what every calibration tells of itself."""
    return {
        "schema": 1,
        "target": target.name,
        "structure": subject.structure,
        "net": subject.net,
        "data": subject.data,
        "identity": identity,
        "edgegrow": __version__,
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _folder() -> Path:
    return cache_folder() / "calibrations"
