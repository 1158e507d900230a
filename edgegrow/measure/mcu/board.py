"""A microcontroller board as predictions see it: from modelled cycles to time, from time to energy."""

from __future__ import annotations

from dataclasses import dataclass

from edgegrow.measure.mcu.cores import Core


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes
    ----------
    name : str
        The target's.
    core : Core
    clock_hz : float
    voltage_v : float or None
        The supply that `active_w` holds for.
    flash_bytes, ram_bytes : int or None
        What an application may use.
    cycle_scale : float or None
        Cycles on the board for one of the cycle model's: flash wait states and what the model leaves open.
    calibration : str or None
        What the scale was fitted on.
    error : float or None
        Relative error seen on networks that the scale was not fitted on; 0.1 is 10 %.
    active_w : float or None
        Power while it infers, in W.
    power_error : float or None
        Relative deviation of other figures published for it.
    power_conditions : str or None
        What the power holds for, and where it is from.
    compiler : str
        What compiles for it: ``zig`` or ``gcc``.
    emulator : str
        What stands for it: ``unicorn`` or ``qemu``.
    """

    name: str
    core: Core
    clock_hz: float
    voltage_v: float | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    cycle_scale: float | None = None
    calibration: str | None = None
    error: float | None = None
    active_w: float | None = None
    power_error: float | None = None
    power_conditions: str | None = None
    compiler: str = "zig"
    emulator: str = "unicorn"

    def latency_ms(self, cycles: float) -> float | None:
        """Predict the time of so many modelled cycles, in ms; None where nothing is known of the board's."""
        return None if self.cycle_scale is None else 1e3 * cycles * self.cycle_scale / self.clock_hz

    def energy_mj(self, latency_ms: float) -> float | None:
        """Predict the energy of a time, in mJ: power is constant within a few percent over networks."""
        return None if self.active_w is None else self.active_w * latency_ms
