"""How many growth steps there is room for: what their tries take, against all training."""

from __future__ import annotations

from edgegrow.config import GrowConfig
from edgegrow.errors import InputError
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves import BLOCKS

LONGEST_GROWTH = 0.5
"""Share of all training that the tries of all growth steps may take; the rest is for the final size."""


def block_kinds(seed: NetworkTrace, config: GrowConfig) -> list[str]:
    """List the kinds of blocks that a growth step can try.

    Parameters
    ----------
    seed : NetworkTrace
        The network that growth starts from, of any widths: a kind of block that it has no place for is never
        tried, for growing makes no places of another kind.
    config : GrowConfig
    """
    return [kind for kind, find in BLOCKS.items() if kind in config.moves and find(seed)]


def most_tries(seed: NetworkTrace, config: GrowConfig) -> int:
    """Count the ways that a growth step tries at most; parameters as of `block_kinds`."""
    return len(config.allocations) + len(block_kinds(seed, config))


def most_steps(seed: NetworkTrace, config: GrowConfig) -> int:
    """Count the growth steps whose tries `LONGEST_GROWTH` has room for; parameters as of `block_kinds`."""
    return int(LONGEST_GROWTH / (most_tries(seed, config) * config.interval))


def check_leaves_training(seed: NetworkTrace, config: GrowConfig) -> None:
    """Refuse growth steps that would leave too little training for the final size.

    Parameters are those of `block_kinds`.

    Raises
    ------
    InputError
        If the seed's training and all tries take more than `LONGEST_GROWTH`.
    """
    tries = most_tries(seed, config)
    if (1 + config.steps * tries) * config.interval > LONGEST_GROWTH:
        raise InputError(
            f"grow: {config.steps} steps of {tries} tries of {config.interval} of all training each leave "
            "less than half of it for the final size: lower steps or interval"
        )
