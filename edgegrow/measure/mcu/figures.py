"""What an emulation says, as measurements of a profile."""

from __future__ import annotations

from edgegrow.measure.aggregation import exact_or_median
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.mcu.emulator import Emulation
from edgegrow.measure.protocol import Identity, Measurement, Unavailable

COUNTED = "runs of each block counted in the emulator, times the block's instructions"
TIMED = (
    "the core's published instruction timings, weighted with runs of each block counted in the emulator; "
    "zero wait states, no caches"
)
MEMORY = {
    "flash": "code, constants and initial values of the linked firmware, start-up code included",
    "ram": "variables, arena, input and output of the linked firmware, and the stack's high-water mark",
    "arena": "of the model, as its header says",
    "stack": "high-water mark of a painted stack, below the caller of model_invoke; no interrupts",
}


def profile_measurements(
    emulation: Emulation, board: Board | None = None
) -> tuple[tuple[Measurement, ...], tuple[Unavailable, ...]]:
    """Report an emulation, and with a board what it predicts of it.

    Returns
    -------
    measurements : tuple of Measurement
        With a board ``latency`` in ms and ``energy`` in mJ (predicted). Then ``instructions`` (emulated) and
        ``cycles`` (predicted) of an inference; ``flash``, ``ram``, ``arena`` and ``stack`` in bytes; and the
        instructions and cycles of each operator as ``instructions:op_00_conv2d``. What depends on the input
        is exact where all inferences took the same, else the median and the maximum.
    unavailable : tuple of Unavailable
        ``cycles`` where the core has no model; with a board, ``latency`` or ``energy`` that cannot be
        predicted.
    """
    total, identity = emulation.total, emulation.identity
    inferences = f"{len(total.instructions)} inference{'s' * (len(total.instructions) > 1)}"
    counted = {"identity": identity, "evidence": "emulated", "method": f"{COUNTED}; {inferences}"}
    timed = {"identity": identity, "evidence": "predicted", "method": f"{TIMED}; {inferences}"}
    measurements: list[Measurement] = []
    unavailable: list[Unavailable] = []
    if board is not None:
        found, unavailable = _predict(emulation, board)
        measurements += found
    measurements += exact_or_median("instructions", "instructions", total.instructions, **counted)
    if total.cycles is None:
        unavailable.append(Unavailable(metric="cycles", reason=_untimed(emulation)))
    else:
        measurements += exact_or_median("cycles", "cycles", total.cycles, **timed)
    for name, method in MEMORY.items():
        value = getattr(emulation, f"{name}_bytes")
        measurements += exact_or_median(name, "bytes", [value], **{**counted, "method": method})
    for operator in emulation.operators:
        metric = f"instructions:{operator.name}"
        measurements += exact_or_median(metric, "instructions", operator.instructions, **counted)
        if operator.cycles is not None:
            measurements += exact_or_median(f"cycles:{operator.name}", "cycles", operator.cycles, **timed)
    return tuple(measurements), tuple(unavailable)


def _predict(emulation: Emulation, board: Board) -> tuple[list[Measurement], list[Unavailable]]:
    """Predict time and energy on a board, as far as it is known."""
    if emulation.total.cycles is None:
        latencies, reason = [], _untimed(emulation)
    else:
        latencies = [t for t in map(board.latency_ms, emulation.total.cycles) if t is not None]
        reason = f"no published time of {board.name} is known that would tell what its memory adds to cycles"
    if not latencies:
        energy = Unavailable(metric="energy", reason="it is predicted from the latency, which is unavailable")
        return [], [Unavailable(metric="latency", reason=reason), energy]
    measurements = list(
        exact_or_median(
            "latency",
            "ms",
            latencies,
            identity=_on(board, emulation.identity),
            evidence="predicted",
            error=board.error,
            method=f"cycles x {board.cycle_scale} / {board.clock_hz / 1e6:g} MHz; {board.calibration}",
        )
    )
    if board.power is None:
        reason = f"no published power of {board.name} is known with its voltage"
        return measurements, [Unavailable(metric="energy", reason=reason)]
    # Both may be off in the same direction.
    errors = [error for error in (board.error, board.power.error) if error is not None]
    measurements += exact_or_median(
        "energy",
        "mJ",
        [board.power.energy_mj(latency) for latency in latencies],
        identity=_on(board, emulation.identity, board.power.voltage_v),
        evidence="predicted",
        error=sum(errors) if errors else None,
        method=f"latency x {board.power.method}",
    )
    return measurements, []


def _on(board: Board, identity: Identity, voltage_v: float | None = None) -> Identity:
    """Add what a prediction depends on besides the emulation; only energy depends on the voltage."""
    return identity.model_copy(update={"clock_hz": board.clock_hz, "voltage_v": voltage_v})


def _untimed(emulation: Emulation) -> str:
    return f"there are no published instruction timings of the {emulation.core.cpu}"
