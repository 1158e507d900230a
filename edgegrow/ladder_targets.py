"""What the targets of a ladder decide together, before anything is trained: the moves, and their order."""

from __future__ import annotations

from collections.abc import Mapping

from edgegrow.budget import TargetLadder
from edgegrow.config import RunConfig
from edgegrow.cost.layers import count_macs
from edgegrow.errors import InputError
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.proportional import proportional_widths
from edgegrow.growth.seed import NARROWEST
from edgegrow.growth.select import CostModel, share
from edgegrow.setting import Setting

_WIDEST = 64
"""Greatest widths that are looked at, in those of the network itself."""


def settle(config: RunConfig, setting: Setting) -> RunConfig:
    """Bring the targets of a ladder into the order of growth, and leave out moves that one cannot price.

    Growth goes from the tightest target to the loosest, by the largest network of the net's own proportions
    that each has room for, as their cost models tell: networks of fixed proportions come in one order on all
    targets, whatever the metrics that bind. A move is left out for all, as all rungs are of one trunk.

    Parameters
    ----------
    config : RunConfig
        Of the whole; one with a ladder of bounds is returned as it is.
    setting : Setting
        Of any of its rungs.

    Raises
    ------
    InputError
        If a target is unknown, networks cannot be grown for it, or none is within this budget there.
    """
    if not isinstance(config.ladder, TargetLadder):
        return config
    settings = {name: setting.of(rung) for name, rung in config.rungs().items()}
    check_distinct(settings)
    priced = [set(one.grow_config.moves) for one in settings.values()]
    moves = tuple(kind for kind in config.grow.moves if all(kind in kinds for kinds in priced))
    sizes = {name: _room(one) for name, one in settings.items()}
    order = sorted(sizes, key=lambda name: (sizes[name], name))
    for name in order:
        if sizes[name] == 0:
            check_possible(name, settings[name])
    rooms = ", ".join(f"{name} ({sizes[name]:,} MACs)" for name in order)
    setting.listener.say(f"ladder: by the largest network in proportion that fits: {rooms}")
    ladder = TargetLadder(targets=tuple(config.ladder.by_name[name] for name in order))
    return config.model_copy(
        update={"ladder": ladder, "grow": config.grow.model_copy(update={"moves": moves})}
    )


def check_possible(name: str, setting: Setting) -> None:
    """Refuse a rung whose seed network is above its limits.

    Raises
    ------
    InputError
        With the nearest rung that is not impossible.
    """
    try:
        assert setting.seed
    except InputError as error:
        raise InputError(f"rung {name}: {error}") from error


def check_distinct(settings: Mapping[str, Setting]) -> None:
    """Refuse a ladder of targets two of which have one name, in files of different names.

    Raises
    ------
    InputError
        With the names of both files.
    """
    rungs: dict[str, str] = {}
    for name, setting in settings.items():
        other = rungs.setdefault(setting.target.name, name)
        if other != name:
            raise InputError(
                f"ladder: targets {other} and {name} are both called {setting.target.name}: give each a name "
                "of its own in its file"
            )


def largest_macs(
    trace: NetworkTrace, least: Mapping[str, int], costs: CostModel, limits: Mapping[str, float]
) -> int:
    """Count the multiply-accumulates of the largest network in proportion that keeps every limit.

    Parameters
    ----------
    trace : NetworkTrace
        The proportions.
    least : mapping
        ``{group name: channels}`` that it has at least.
    costs, limits
        Price networks, and bound them.

    Returns
    -------
    int
        0 where even the least widths are above a limit.
    """
    own = trace.widths()

    def share_used(widths: Mapping[str, int]) -> float:
        return share(costs(trace.shapes(widths)), limits)

    most = {name: _WIDEST * width for name, width in own.items()}
    widths = proportional_widths(own, least, share_used, most)
    return 0 if widths is None else count_macs(trace.shapes(widths))


def _room(setting: Setting) -> int:
    """Find the size of the largest network that a rung's target has room for; the seed may be fixed."""
    own = setting.example.widths()
    scaled = setting.net.widths is not None and setting.config.net.widths is None
    least = {name: min(NARROWEST, width) for name, width in own.items()} if scaled else own
    return largest_macs(setting.example, least, setting.costs, setting.limits)
