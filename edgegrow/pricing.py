"""Cost models of a target for a network, from calibrations: those that are kept, or made now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from edgegrow.calibrating import (
    Subject,
    calibrate_latencies,
    emulate_trials,
    latency_path,
    latency_plan,
    trials_path,
)
from edgegrow.cost.calibration import BoardCalibration, LatencyCalibration, read_latencies
from edgegrow.cost.clock import ArtifactClock, Clock
from edgegrow.cost.latency import LatencyModel
from edgegrow.cost.microcontroller import Emulated, MicrocontrollerCosts
from edgegrow.cost.model import LayerCosts
from edgegrow.cost.timed import TimedCosts
from edgegrow.data import load_dataset
from edgegrow.delivery import STRUCTURE_SAMPLES, file_bytes, formats_of
from edgegrow.deploy.lower import lower
from edgegrow.errors import InputError
from edgegrow.growth.seed import build_network
from edgegrow.listener import Listener
from edgegrow.measuring import reach, turns_of
from edgegrow.nets import load_net
from edgegrow.targets import Target, load_target


def calibrate(
    target: str,
    net: str,
    data: str,
    data_dir: str | None,
    out: Path | None,
    listener: Listener,
    via: str | None = None,
) -> tuple[LatencyCalibration | BoardCalibration, Path]:
    """Calibrate a target for a network, whether or not that has been done before.

    Parameters
    ----------
    target : str
        Name or file of one that has a clock, or of a microcontroller.
    net, data, data_dir
        The network, and the data that decide its shapes, as a configuration names them.
    out : Path, optional
        Where to keep it, for ``cost.latency_table`` of a target's file; by default in the user's cache.
    listener : Listener
    via : str, optional
        How a Linux board or phone is reached, as `edgegrow.measuring.measure_artifact` takes it.

    Returns
    -------
    calibration, path
        What was found, and where it is kept.

    Raises
    ------
    InputError
        If something is not there, or the target can be calibrated by other means only.
    DeviceError
        If the board or phone cannot be reached, or fails: what has been measured is kept.
    """
    found = reach(load_target(target), via)
    dataset = load_dataset(data, Path(data_dir) if data_dir else None)
    example = build_network(load_net(net), dataset.input_shape, dataset.classes, None, 0)
    graph = lower(example.graph, dataset.input_shape)
    subject = Subject(example, graph, dataset.calibration(STRUCTURE_SAMPLES), net, data)
    command = f"edgegrow targets calibrate {target} --net {net} --data {data}"
    command += f" --via {via}" if via is not None else ""
    if found.kind == "mcu":
        place = out or trials_path(found, subject)
        return emulate_trials(found, subject, listener, place, command=command, replace=True), place
    place, clock = out or latency_path(found, subject), _clock(found, subject, example.widths())
    return calibrate_latencies(found, subject, clock, listener, place, command=command), place


def board_costs(
    metrics: Iterable[str], target: Target, subject: Subject, listener: Listener
) -> MicrocontrollerCosts:
    """Cost model of a network on a microcontroller; networks are emulated now where they have not been.

    Raises
    ------
    InputError
        If the calibration is damaged, or was made with what is not here now.
    """
    calibration = emulate_trials(target, subject, listener, command="edgegrow grow")
    trials = [
        (
            subject.trace.shapes(trial.widths),
            Emulated(trial.cycles, trial.rest_cycles, trial.flash_bytes, trial.ram_bytes),
        )
        for trial in calibration.trials
    ]
    return MicrocontrollerCosts(metrics, target.board(), subject.graph, trials, subject.samples)


def timed_costs(
    metrics: Iterable[str], counted: LayerCosts, target: Target, subject: Subject, listener: Listener
) -> TimedCosts:
    """Cost model with latency of a network on a device; it is calibrated now where it has not been.

    Parameters
    ----------
    metrics : iterable of str
        Metrics to give.
    counted : LayerCosts
        All of them but the latency.
    target, subject, listener

    Raises
    ------
    InputError
        If the calibration is damaged, or was made with what is not there now.
    DeviceError
        If the device cannot be reached, or fails.
    """
    place, kept = latency_path(target, subject), _kept(target, subject)
    reference = subject.trace.widths() if kept is None else kept.reference
    clock = _clock(target, subject, reference)
    if kept is not None:
        kept.check(place, subject.structure, clock.identity(), subject.again(target))
    if kept is None or not kept.finished:
        clock = _clock(target, subject, subject.trace.widths())
        listener.say(f"calibrating {target.name} for {subject.net}, once: it takes a minute or two")
        kept = calibrate_latencies(target, subject, clock, listener, command="edgegrow grow")
    plan = latency_plan(subject, kept, target.cost.channel_block)
    try:
        model = LatencyModel(subject.graph, plan, kept, subject.trace.shapes)
    except InputError as error:
        raise InputError(f"{place}: {error}: {subject.again(target)}") from error
    costs = TimedCosts(metrics, counted, model, clock, subject.samples, listener.warn, target.name)
    listener.say(
        f"latency: predicted from {place}, wrong by up to {100 * model.error:.1f} % on networks "
        f"that it has not seen; timed after every growth step, with a margin of {100 * costs.margin:.1f} %"
    )
    return costs


def _clock(target: Target, subject: Subject, reference: Mapping[str, int]) -> Clock:
    """Clock of a target's device whose reference is a network at some widths."""
    item = formats_of(target)[0]
    write = partial(file_bytes, item=item, target=target)
    return ArtifactClock(subject.quantized(reference), write, turns_of(target, item))


def _kept(target: Target, subject: Subject) -> LatencyCalibration | None:
    """Read the calibration that there is; of the user's cache there may be none."""
    place = latency_path(target, subject)
    if not place.exists():
        if target.latency_table is None:
            return None
        raise InputError(
            f"target {target.name}: its latency table {place} is not there: {subject.again(target)}"
        )
    kept = read_latencies(place)
    if kept.reference.keys() != subject.trace.widths().keys():
        raise InputError(f"calibration {place}: it is of another network: {subject.again(target)}")
    return kept
