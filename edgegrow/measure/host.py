"""Measuring an artifact on the machine that edgegrow runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgegrow.measure.answers import TensorInfo
from edgegrow.measure.device import LocalDevice
from edgegrow.measure.process import Worker
from edgegrow.measure.protocol import Profile, TargetRef
from edgegrow.measure.remote import measure_on
from edgegrow.measure.session import Session, open_artifact, predict

__all__ = ["Session", "TensorInfo", "Worker", "measure_host", "open_artifact", "predict"]


def measure_host(path: str | Path, *, target: TargetRef, **options: Any) -> Profile:
    """Measure a ``.tflite`` or ``.onnx`` file on this machine; options are `measure_on`'s."""
    with LocalDevice() as device:
        return measure_on(device, path, target=target, **options)
