"""What an artifact's input and output may be: one of each, of numbers, with fixed sizes."""

from __future__ import annotations

from typing import Any

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_NUMBERS = (*_INTEGERS, "float16", "float32", "float64")


class Unusable(Exception):
    """The artifact cannot be run; the message says why."""


def check_one_each(inputs: int, outputs: int) -> None:
    """Refuse an artifact of several inputs or outputs."""
    if (inputs, outputs) != (1, 1):
        raise Unusable(f"it has {inputs} inputs and {outputs} outputs, not one of each")


def batch_of_one(shape: list[int]) -> list[int]:
    """Settle a batch that was left open (-1); one sample is what a device is given."""
    return [1, *shape[1:]] if shape[:1] == [-1] else shape


def check_tensor(what: str, tensor: dict[str, Any]) -> None:
    """Refuse an input or output that is left open, or holds no numbers."""
    shape = tensor["shape"]
    if min(shape, default=0) < 1 or shape[0] != 1:
        raise Unusable(f"its {what} has shape {shape}: export it with fixed sizes and a batch of 1")
    if tensor["dtype"] not in _NUMBERS:
        raise Unusable(f"its {what} holds {tensor['dtype']}, not numbers")
