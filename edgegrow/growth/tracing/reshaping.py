"""Reshapes: which dimensions become which, and whose new sizes the network's code writes down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import fx, nn

from edgegrow.growth.tracing.operations import argument


def blocks(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[range, range]]:
    """Pair the shortest stretches of dimensions that hold equally many elements.

    Examples
    --------
    >>> [(list(a), list(b)) for a, b in blocks((2, 8, 3, 3), (2, 2, 4, 9))]
    [([0], [0]), ([1], [1, 2]), ([2, 3], [3])]
    """
    i = j = 0
    while i < len(old) or j < len(new):
        first, second = i, j
        before = after = 1
        if i < len(old):
            before, i = old[i], i + 1
        if j < len(new):
            after, j = new[j], j + 1
        while before != after:
            if before < after:
                before, i = before * old[i], i + 1
            else:
                after, j = after * new[j], j + 1
        yield range(first, i), range(second, j)


def written_sizes(node: fx.Node, name: str, rank: int, module: nn.Module | None = None) -> list[bool]:
    """Whether each new size is a number that the code fixes, rather than found (-1) or computed.

    Parameters
    ----------
    node : fx.Node
        A call of ``view``, ``reshape``, ``expand``, ``flatten`` or ``unflatten``, or of a module like them.
    name : str
        Which of them.
    rank : int
        Dimensions of what it yields.
    module : nn.Module, optional
        What it calls.
    """
    if name == "flatten":
        return [False] * rank
    if name == "unflatten":
        dim: Any = module.dim if module is not None else argument(node, 1, "dim")
        sizes: Any = module.unflattened_size if module is not None else argument(node, 2, "sizes")
        start = int(dim) % (rank - len(sizes) + 1)
        written = [False] * rank
        written[start : start + len(sizes)] = [_is_written(size) for size in sizes]
        return written
    sizes = node.kwargs.get("shape", node.kwargs.get("size", node.args[1:]))
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        sizes = sizes[0]
    if isinstance(sizes, fx.Node):  # a whole shape that is computed
        return [False] * rank
    return [_is_written(size) for size in sizes]


def _is_written(size: Any) -> bool:
    return isinstance(size, int) and size != -1
