"""What a growth step could do with its share of the budget: a few options, of which a training picks one.

What moves promise says little of what training makes of them, and choosing by promise alone starves dear
early layers. So the same budget is laid out in several ways: in proportion, where the promise is highest, or
into a block of some kind with the rest in proportion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgegrow.cost.layers import LayerShape, count_macs
from edgegrow.growth.architecture import Records
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.menu import Candidate, Menu
from edgegrow.growth.moves import Move
from edgegrow.growth.moves.blocks import Restructuring
from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.insertion import Insertion
from edgegrow.growth.proportional import proportional_widths
from edgegrow.growth.select import (
    CheckedCostModel,
    CostModel,
    Selection,
    choose_checked,
    select_checked,
    share,
)

_BLOCKS = 2
"""Blocks that are tried at most: on some targets pricing a new structure takes minutes."""

Pricing = Callable[[Records], CostModel]
"""Cost model of the network with some inserted blocks."""


@dataclass(frozen=True, eq=False)
class Option:
    """One way to grow within the limits.

    Attributes
    ----------
    name : str
        ``proportional``, ``gain``, or the kind of a block, such as ``deepen``.
    moves : tuple of Move
        What is done.
    insertions : Records
        All blocks that the network has with it.
    selection : Selection
        The widths, and how they were chosen.
    learnt : mapping
        What checks on the target have taught the cost model by then.
    """

    name: str
    moves: tuple[Move, ...]
    insertions: Records
    selection: Selection
    learnt: Mapping[str, Any]

    @property
    def network(self) -> list[str | int]:
        """What tells the grown network from others of the same step: its records, then widths."""
        records = (str(Insertion(**record)) for record in self.insertions)  # type: ignore[arg-type]
        return [*records, *self.selection.widths.values()]

    @property
    def gain(self) -> float:
        """What all moves promise, at the step that gains are compared at."""
        return sum(move.gain for move in self.moves)

    @property
    def blocks(self) -> tuple[Restructuring, ...]:
        """Its moves that restructure the network."""
        return tuple(move for move in self.moves if isinstance(move, Restructuring))


@dataclass(frozen=True)
class Allocator:
    """Lays a growth step's budget out.

    Attributes
    ----------
    trace : NetworkTrace
        The network that moves were offered for; it is not changed.
    insertions : Records
        Blocks that it has already.
    moves : sequence of Move
        What there is to choose from, of any kinds.
    pricing : Pricing
    limits : mapping
        ``{metric: upper bound}`` of this step.
    proportions : mapping
        ``{group name: channels}``: what growing in proportion keeps to.
    """

    trace: NetworkTrace
    insertions: Records
    moves: Sequence[Move]
    pricing: Pricing
    limits: Mapping[str, float]
    proportions: Mapping[str, int]

    def every(self, ways: Iterable[str], blocks: Iterable[str]) -> list[Option]:
        """Lay the budget out in some ways, and with a block of some kinds where one fits; none twice.

        Parameters
        ----------
        ways : iterable of str
            ``proportional`` or ``gain``.
        blocks : iterable of str
            Kinds.
        """
        own = {"proportional": self.proportional, "gain": self.gain}
        found = [own[way]() for way in ways]
        found += [option for kind in blocks if (option := self.block(kind)) is not None]
        distinct: dict[tuple[str | int, ...], Option] = {}
        for option in found:
            distinct.setdefault(tuple(option.network), option)
        return list(distinct.values())

    def proportional(self) -> Option:
        """Widen all groups in proportion, each by its most promising moves."""
        return self._in_proportion("proportional", (), self.trace, self.costs)

    def gain(self) -> Option:
        """Widen where the moves promise most for what they cost."""
        selection = select_checked(
            self.trace.widths(), self.trace.shapes, self._candidates, self.costs, self.limits
        )
        return Option("gain", self._chosen(selection), self.insertions, selection, _learnt(self.costs))

    def block(self, kind: str) -> Option | None:
        """Make the block of a kind that promises most for what it costs, and widen all in proportion.

        What it leaves of the budget, or frees by narrowing kernels, goes into channels.

        None where none of the best few fits, by the cost model or as tried on the target.

        Raises
        ------
        InputError
            If the network with it cannot be priced.
        """
        blocks = (move for move in self.moves if isinstance(move, Restructuring) and move.kind == kind)
        ranked = sorted(blocks, key=lambda move: -move.gain / _macs(move))
        for block in ranked[:_BLOCKS]:
            deeper = block.made(deepcopy(self.trace))
            costs = self.pricing([*self.insertions, block.insertion.to_json()])
            if isinstance(costs, CheckedCostModel):
                costs.recall({})  # what it has learnt in an earlier step is not known after an interruption
            if share(costs(deeper.shapes(deeper.widths())), self.limits) > 1:
                continue
            option = self._in_proportion(kind, (block,), deeper, costs)
            checked = option.selection.checked
            if not checked or any(share(found, self.limits) <= 1 for found in checked):
                return option
        return None

    @cached_property
    def costs(self) -> CostModel:
        """Prices the network with the blocks that it has."""
        return self.pricing(self.insertions)

    @cached_property
    def _candidates(self) -> list[Candidate]:
        """Every move that widens: its key is its place among all moves."""
        return [
            Candidate(
                move.group,
                move.gain,
                move.channels[move.group],
                key=place,
                source=move.channel if isinstance(move, Copies) else None,
            )
            for place, move in enumerate(self.moves)
            if move.channels
        ]

    @cached_property
    def _menus(self) -> dict[str, Menu]:
        return {
            name: Menu([c for c in self._candidates if c.group == name], width)
            for name, width in self.trace.widths().items()
        }

    def _chosen(self, selection: Selection) -> tuple[Move, ...]:
        return tuple(self.moves[int(str(candidate.key))] for candidate in selection.chosen)

    def _in_proportion(
        self, name: str, blocks: tuple[Restructuring, ...], trace: NetworkTrace, costs: CostModel
    ) -> Option:
        present = trace.widths()

        def share_used(widths: Mapping[str, int]) -> float:
            return share(costs(trace.shapes(widths)), self.limits)

        def choose() -> Selection:
            most = {group: width + self._menus[group].levels[-1] for group, width in present.items()}
            widths = proportional_widths(self.proportions, present, share_used, most) or present
            levels = {
                group: max(n for n in self._menus[group].levels if present[group] + n <= width)
                for group, width in widths.items()
            }
            chosen = tuple(c for group, n in levels.items() for c in self._menus[group].chosen(n))
            promise = sum(candidate.promise for candidate in chosen)
            reached = {group: present[group] + n for group, n in levels.items()}
            return Selection(chosen, reached, promise, promise)

        selection = choose_checked(choose, present, trace.shapes, costs, self.limits)
        insertions = [*self.insertions, *(block.insertion.to_json() for block in blocks)]
        return Option(name, (*blocks, *self._chosen(selection)), insertions, selection, _learnt(costs))


def _learnt(costs: CostModel) -> dict[str, Any]:
    return costs.learnt() if isinstance(costs, CheckedCostModel) else {}


def _macs(move: Move) -> int:
    shapes: list[LayerShape] = [layer.shape for layer in move.layers]
    return max(1, count_macs(shapes))
