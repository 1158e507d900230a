"""A device's outputs, compared with what they must be."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from edgegrow.errors import InputError
from edgegrow.measure.answers import Answer
from edgegrow.measure.device import Device, DeviceError
from edgegrow.measure.expected import Expected
from edgegrow.measure.protocol import Evidence, Identity, Measurement, Unavailable

METRIC = "output_deviation"
"""Largest difference of an output, in steps of its scale (LSB)."""

USUAL_LSB = 2
"""Steps that runtimes may differ by.

Convolutions, linear layers, sums and averages of whole maps are simulated as each runtime rounds them: the
outputs of edgegrow's own networks are then equal to the last bit. What is left are functions (sigmoid, hard
swish), which runtimes take from tables of their own, and averages in floats, by onnx's evaluator and of
windows by ONNX Runtime: one step each, which a layer behind can widen.
"""

MOST_LSB = 16
"""Steps beyond which an artifact is taken to compute something else.

Files from elsewhere with every function in a row, softmax last, have reached 12. Less than that is no reason
to keep a measurement from its user: it has the figure, and a warning.
"""


@dataclass(frozen=True)
class Compared:
    """How outputs compare.

    Attributes
    ----------
    words : str
        For a measurement's method.
    steps : int or None
        The largest difference, in LSB; None where they could not be compared.
    """

    words: str
    steps: int | None = None

    @property
    def doubt(self) -> str | None:
        """A warning, where they differ by more than is usual."""
        if self.steps is None or self.steps <= USUAL_LSB:
            return None
        return f"{self.words}, more than the usual {USUAL_LSB}"

    def measurements(self, identity: Identity, evidence: Evidence) -> tuple[Measurement, ...]:
        """Return the difference as a figure, where there is one."""
        if self.steps is None:
            return ()
        figure = Measurement(
            metric=METRIC,
            value=self.steps,
            unit="LSB",
            aggregation="max",
            evidence=evidence,
            identity=identity,
            method=self.words,
        )
        return (figure,)

    @property
    def unavailable(self) -> tuple[Unavailable, ...]:
        """Why there is no figure, where there is none."""
        return (Unavailable(metric=METRIC, reason=self.words),) if self.steps is None else ()


def compare_outputs(answer: Answer, device: Device, expected: Expected | str) -> Compared:
    """Compare outputs with what is expected, or say why they cannot be.

    Raises
    ------
    InputError
        If they differ by more than `MOST_LSB`; the words follow the artifact's name.
    DeviceError
        If they are damaged.
    """
    if isinstance(expected, str):
        return Compared(f"outputs not compared: {expected}")
    outputs = _decode(answer, device)
    if outputs is None:
        return Compared("outputs not compared: they are too large")
    steps, source = expected.deviation(outputs)
    if steps > MOST_LSB:
        raise InputError(
            f"its outputs differ from {source} by up to {steps} LSB, {MOST_LSB} are allowed: "
            f"report it to edgegrow, with the file and {answer.runtime} {answer.version}"
        )
    how = f"differ from {source} by {steps} LSB at most" if steps else f"equal {source}"
    return Compared(f"outputs of {len(expected.inputs)} random inputs {how}", steps)


def _decode(answer: Answer, device: Device) -> bytes | None:
    """Decode an answer's outputs; None where they were too large for it."""
    if answer.outputs is None:
        return None
    try:
        outputs = base64.b64decode(answer.outputs, validate=True)
    except binascii.Error:
        outputs = b""
    if hashlib.sha256(outputs).hexdigest() != answer.outputs_sha256:
        raise DeviceError(f"{device.name}: its outputs are not those of their hash: measure again")
    return outputs
