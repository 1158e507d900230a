"""Emit in C the operators that only files from elsewhere have."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from edgegrow.deploy.c_emit import EmittedOperator, array, emit
from edgegrow.deploy.foreign import HardSwish, Logistic, Relu, Reshape, Softmax
from edgegrow.deploy.operators import Operator
from edgegrow.deploy.simulate_foreign import run_foreign, softmax_powers
from edgegrow.errors import UnsupportedError

_IN = ["const int8_t *in"]


def emit_foreign(index: int, op: Operator) -> EmittedOperator:
    """Write an operator in C.

    What depends on a single int8 input alone is computed here, for all 256 of them.

    Parameters
    ----------
    index : int
        Its place in the graph, which its names begin with.
    op : Operator

    Raises
    ------
    UnsupportedError
        If there is no kernel for it.
    """
    count = prod(op.output.shape)
    match op:
        case Reshape():
            emitted = replace(
                emit(index, op, "reshape", "flat", [], {"count": count}, _IN, []), in_place=True
            )
        case Relu() | Logistic() | HardSwish():
            every = np.arange(-128, 128, dtype=np.int8)[None]
            table = array("int8_t", f"table_{index:02}", run_foreign(op, [every])[0])
            given = [f"table_{index:02}"]
            emitted = replace(
                emit(index, op, "lookup", "flat", [table], {"count": count}, _IN, given), in_place=True
            )
        case Softmax():
            depth = op.output.shape[-1]
            fields = {"rows": count // depth, "depth": depth}
            powers = array("int32_t", f"powers_{index:02}", softmax_powers(op))
            emitted = emit(index, op, "softmax", "softmax", [powers], fields, _IN, [f"powers_{index:02}"])
        case _:
            raise UnsupportedError(
                f"operator {index} ({op.name}): there is no C kernel for {type(op).__name__}"
            )
    return emitted
