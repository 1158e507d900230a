"""Grow tiny neural networks by splitting neurons, under a budget measured on the device that runs them."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgegrow.api import Run, export, grow, open_run, resume
    from edgegrow.config import Budget, RunConfig, resolve_config
    from edgegrow.measuring import measure_artifact
    from edgegrow.targets import Target, load_target

__all__ = [
    "Budget", "Run", "RunConfig", "Target",
    "export", "grow", "load_target", "measure_artifact", "open_run", "resolve_config", "resume",
]  # fmt: skip

_HOMES = {
    "Budget": "config", "RunConfig": "config", "resolve_config": "config",
    "Target": "targets", "load_target": "targets", "measure_artifact": "measuring",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds: only what uses it waits for it.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"edgegrow.{_HOMES.get(name, 'api')}"), name)
    raise AttributeError(f"module 'edgegrow' has no attribute '{name}'")
