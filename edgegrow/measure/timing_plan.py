"""How inferences are timed on a device, by whatever program does it there."""

from __future__ import annotations

from dataclasses import dataclass

from edgegrow.errors import InputError


@dataclass(frozen=True)
class TimingPlan:
    """What is asked of a device that times inferences.

    Attributes
    ----------
    threads : int
        Threads the runtime may use.
    affinity : tuple of int, optional
        Numbers of the processors to run on; by default those that the device gives.
    min_iterations : int
        Timed inferences at least.
    min_seconds : float
        Time that they take at least, in s.
    cpu_part : str, optional
        ``CPU part`` in ``/proc/cpuinfo`` of the target's processor, e.g. ``0xd08``: the device must have it.
    """

    threads: int = 1
    affinity: tuple[int, ...] | None = None
    min_iterations: int = 50
    min_seconds: float = 1.0
    cpu_part: str | None = None

    def __post_init__(self) -> None:
        if self.min_iterations < 1 or not 0 <= self.min_seconds < float("inf"):
            raise InputError("measure: it takes 1 iteration or more, and a time of 0 s or more")

    def check_core(self, found: str, machine: str) -> None:
        """Refuse a device whose processor is not the target's.

        Parameters
        ----------
        found : str
            Part numbers of its cores, e.g. ``0xd05, 0xd0b``.
        machine : str
            What it is, e.g. ``aarch64``.

        Raises
        ------
        InputError
            If none is the target's; the words follow the artifact's name.
        """
        if self.cpu_part is not None and self.cpu_part not in found.split(", "):
            raise InputError(
                f"the target's processor has CPU part {self.cpu_part}, this {machine} has "
                f"{found or 'none'}: name the target that the device is"
            )
