"""What an emulation says, as measurements of a profile."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from edgegrow.measure.mcu.emulator import Emulation
from edgegrow.measure.protocol import Aggregation, Evidence, Measurement, Unavailable

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


def profile_measurements(emulation: Emulation) -> tuple[tuple[Measurement, ...], tuple[Unavailable, ...]]:
    """Report an emulation.

    Returns
    -------
    measurements : tuple of Measurement
        ``instructions`` (emulated) and ``cycles`` (predicted) of an inference: exact where all inferences
        took the same, else the median and the maximum; the same of each operator as
        ``instructions:op_00_conv2d``; ``flash``, ``ram``, ``arena`` and ``stack`` in bytes.
    unavailable : tuple of Unavailable
        ``cycles``, where the core has no model.
    """
    measurements = list(_work(emulation, "instructions", emulation.total.instructions))
    unavailable = []
    if emulation.total.cycles is None:
        reason = f"there are no published instruction timings of the {emulation.core.cpu}"
        unavailable.append(Unavailable(metric="cycles", reason=reason))
    else:
        measurements += _work(emulation, "cycles", emulation.total.cycles)
    for operator in emulation.operators:
        measurements += _work(emulation, f"instructions:{operator.name}", operator.instructions)
        if operator.cycles is not None:
            measurements += _work(emulation, f"cycles:{operator.name}", operator.cycles)
    measurements += [
        Measurement(
            metric=name,
            value=getattr(emulation, f"{name}_bytes"),
            unit="bytes",
            evidence="emulated",
            identity=emulation.identity,
            method=method,
        )
        for name, method in MEMORY.items()
    ]
    return tuple(measurements), tuple(unavailable)


def _work(emulation: Emulation, metric: str, samples: tuple[int, ...]) -> Iterator[Measurement]:
    unit = metric.partition(":")[0]
    evidence: Evidence = "emulated" if unit == "instructions" else "predicted"

    def measurement(value: int, aggregation: Aggregation, kept: tuple[int, ...]) -> Measurement:
        return Measurement(
            metric=metric,
            value=value,
            unit=unit,
            aggregation=aggregation,
            samples=kept,
            evidence=evidence,
            identity=emulation.identity,
            method=f"{COUNTED if unit == 'instructions' else TIMED}; {len(samples)} inferences",
        )

    if len(set(samples)) == 1:
        yield measurement(samples[0], "exact", ())
    else:
        yield measurement(statistics.median_high(samples), "median", samples)
        yield measurement(max(samples), "max", ())
