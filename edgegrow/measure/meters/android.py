"""What a phone tells of its own energy: its power rails where they may be read, else its battery."""

from __future__ import annotations

from edgegrow.measure.meters.battery import find_battery
from edgegrow.measure.meters.files import Files
from edgegrow.measure.meters.meter import MeterError
from edgegrow.measure.meters.odpm import find_rails
from edgegrow.measure.meters.polled import Gauge


def find_android(files: Files) -> Gauge:
    """Find the processor's power rails, or the battery.

    Raises
    ------
    MeterError
        If neither is there and may be read.
    """
    try:
        return find_rails(files)
    except MeterError as rails:
        try:
            return find_battery(files)
        except MeterError as battery:
            raise MeterError(f"power rails: {rails}; battery: {battery}") from battery
