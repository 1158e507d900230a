"""Grow tiny neural networks by splitting neurons, under a budget measured on the device that runs them."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgegrow.api import (
        Family,
        Run,
        export,
        grow,
        grow_ladder,
        open_ladder,
        open_run,
        resume,
        resume_ladder,
    )
    from edgegrow.budget import Budget, Goal, Ladder, TargetLadder
    from edgegrow.config import RunConfig, resolve_config
    from edgegrow.measuring import measure_artifact
    from edgegrow.targets import Target, load_target

__all__ = [
    "Budget", "Family", "Goal", "Ladder", "Run", "RunConfig", "Target", "TargetLadder",
    "export", "grow", "grow_ladder", "load_target", "measure_artifact", "open_ladder", "open_run",
    "resolve_config", "resume", "resume_ladder",
]  # fmt: skip

_HOMES = {
    "Budget": "budget", "Goal": "budget", "Ladder": "budget", "TargetLadder": "budget",
    "RunConfig": "config", "resolve_config": "config",
    "Target": "targets", "load_target": "targets", "measure_artifact": "measuring",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds: only what uses it waits for it.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"edgegrow.{_HOMES.get(name, 'api')}"), name)
    raise AttributeError(f"module 'edgegrow' has no attribute '{name}'")
