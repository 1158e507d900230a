"""A microcontroller board as predictions see it: from modelled cycles to time, from time to energy."""

from __future__ import annotations

from dataclasses import dataclass

from edgegrow.measure.mcu.cores import Core
from edgegrow.measure.meters.constant import ActivePower


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes
    ----------
    name : str
        The target's.
    core : Core
    clock_hz : float
    flash_bytes, ram_bytes : int or None
        What an application may use.
    cycle_scale : float or None
        Cycles on the board for one of the cycle model's: flash wait states and what the model leaves open.
    calibration : str or None
        What the scale was fitted on.
    error : float or None
        Relative error seen on networks that the scale was not fitted on; 0.1 is 10 %.
    power : ActivePower or None
        What it draws while it infers.
    compiler : str
        What compiles for it: ``zig`` or ``gcc``.
    emulator : str
        What stands for it: ``unicorn`` or ``qemu``.
    """

    name: str
    core: Core
    clock_hz: float
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    cycle_scale: float | None = None
    calibration: str | None = None
    error: float | None = None
    power: ActivePower | None = None
    compiler: str = "zig"
    emulator: str = "unicorn"

    def latency_ms(self, cycles: float) -> float | None:
        """Predict the time of so many modelled cycles, in ms; None where nothing is known of the board's."""
        return None if self.cycle_scale is None else 1e3 * cycles * self.cycle_scale / self.clock_hz
