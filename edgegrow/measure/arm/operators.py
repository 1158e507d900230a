"""Each operator's part in the instructions of a ``.tflite`` file, which is counted cut off behind each.

A runtime computes all operators in one call, and nothing marks where one ends. So networks that end behind an
operator are counted too, and what one takes more than the one before it is the operator's part. That repeats:
operators that are alike have equal parts, to the instruction. ONNX Runtime's counts vary by hundreds of
instructions, which can be a tenth of an operator's: its files are refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgegrow.deploy.graph import Graph
from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.tflite import write_tflite
from edgegrow.errors import InputError
from edgegrow.measure.protocol import Measurement, Profile, Unavailable


def count_operators(path: Path, count: Callable[[Path], Profile]) -> Profile:
    """Count a ``.tflite`` file, and each operator's part in it.

    Parameters
    ----------
    path : Path
        The file.
    count : callable
        Counts a file; called once for the whole and once an operator.

    Returns
    -------
    Profile
        Of the whole, with ``instructions:op_00_conv2d`` and so on, which sum up to its instructions; or with
        the reason why not, where edgegrow would write the file otherwise, with other counts.

    Raises
    ------
    InputError
        If it is no ``.tflite`` file that edgegrow can read.
    """
    if path.suffix.lower() != ".tflite":
        raise InputError(f"artifact {path}: --operators takes a .tflite file: only LiteRT's counts repeat")
    graph = read_tflite(path)
    profile = count(path)
    parts: list[Measurement] = []
    before: float = 0
    with tempfile.TemporaryDirectory(prefix="edgegrow-") as folder:
        cut = Path(folder) / path.name
        for first, last in stretches(graph):
            kept = graph.operators[: last + 1]
            write_tflite(Graph(graph.input, kept[-1].output, kept), cut)
            counted = _instructions(count(cut))
            parts.append(_part(graph, first, last, counted, before))
            before = counted.value
    whole = _instructions(profile).value
    if before != whole:
        reason = f"as edgegrow writes it, it takes {before:,.0f} instructions, not {whole:,.0f}"
        missing = Unavailable(metric="instructions of operators", reason=reason)
        return profile.model_copy(update={"unavailable": (*profile.unavailable, missing)})
    return profile.model_copy(update={"measurements": (*profile.measurements, *parts)})


def _instructions(profile: Profile) -> Measurement:
    found = profile.find("instructions")
    assert found is not None
    return found


def stretches(graph: Graph) -> Iterator[tuple[int, int]]:
    """Divide a graph where it can be cut: behind an operator to whose output all before it contribute.

    Yields
    ------
    first, last : int
        Places of operators, mostly one and the same; of branches, from the second one's first to where they
        meet.
    """
    first = 0
    unread: set[str] = set()
    for place, op in enumerate(graph.operators):
        unread -= {tensor.name for tensor in op.inputs}
        unread.add(op.output.name)
        if len(unread) == 1:
            yield first, place
            first = place + 1


def _part(graph: Graph, first: int, last: int, counted: Measurement, before: float) -> Measurement:
    kind = type(graph.operators[last]).__name__.lower()
    name = f"op_{last:02}_{kind}" if first == last else f"op_{first:02}_to_{last:02}_{kind}"
    call = ", with the call from Python" if first == 0 else ""
    return counted.model_copy(
        update={
            "metric": f"instructions:{name}",
            "value": counted.value - before,
            "aggregation": "exact",
            "samples": (),
            "method": f"median of the network that ends here, less that of the one before{call}",
        }
    )
