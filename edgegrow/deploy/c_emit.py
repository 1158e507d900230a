"""The text of one operator in C: its constants, and a function that calls a kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgegrow.deploy.operators import Array, Operator
from edgegrow.errors import UnsupportedError

INPUT = ("const int8_t *in",)
"""Parameters of a function with one input."""

_AXES = 3  # that the kernels of Mul and Pad run over: all of a map but the batch's
_LINE = 100  # columns of a constant's lines

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Constant:
    """A constant array in C.

    Attributes
    ----------
    kind, name : str
        Type of its elements, and its own name.
    values : str
        What stands in its braces.
    count : int
        Number of its elements.
    """

    kind: str
    name: str
    values: str
    count: int

    @property
    def text(self) -> str:
        """Its definition."""
        return f"static const {self.kind} {self.name}[{self.count}] = {{\n{self.values}}};\n"


@dataclass(frozen=True)
class EmittedOperator:
    """An operator in C.

    Attributes
    ----------
    function : str
        Its name, ``op_00_conv2d``; it takes the inputs, the output, and scratch where it needs some.
    kernel : str
        The kernel it calls; the header is ``edgegrow_KERNEL.h``.
    comment : str
        What it is.
    constants : tuple of Constant
        Arrays that the function reads.
    text : str
        The function.
    scratch_bytes : int
        Working memory, from an address that is a multiple of 4.
    mve_scratch_bytes : int or None
        The same where Arm's vector extension (MVE) is used; None: it makes no difference.
    in_place : bool
        Its output may lie over any of its inputs.
    can_fail : bool
        The function returns an int, not 0 where it has failed.
    """

    function: str
    kernel: str
    comment: str
    constants: tuple[Constant, ...]
    text: str
    scratch_bytes: int = 0
    mve_scratch_bytes: int | None = None
    in_place: bool = False
    can_fail: bool = False


def array(kind: str, name: str, values: Array | Iterable[str]) -> Constant:
    """Write a constant array; unsigned words in hexadecimal."""
    if isinstance(values, np.ndarray):
        if values.dtype == np.uint32:
            texts = [f"0x{value:08x}" for value in values.tolist()]
        else:
            texts = [integer(value) for value in values.reshape(-1).tolist()]
    else:
        texts = list(values)
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) > _LINE:
            lines.append(line.rstrip())
            line = ""
        line += f"{text}, "
    lines.append(line.rstrip())
    body = "".join(f"    {line}\n" for line in lines)
    return Constant(kind, name, body, len(texts))


def emit(
    index: int,
    op: Operator,
    kernel: str,
    structure: str,
    constants: Sequence[Constant],
    fields: Fields,
    inputs: Sequence[str],
    given: Sequence[str],
    scratch: int = 0,
    mve_scratch: int | None = None,
    *,
    can_fail: bool = False,
    gather: bool = False,
) -> EmittedOperator:
    """Put an operator together: the kernel gets its shape, the activations, scratch, and what is `given`.

    Parameters
    ----------
    index : int
        Its place in the graph.
    op : Operator
    kernel, structure : str
        The function to call, of the header ``edgegrow_KERNEL.h``, and the type of its shape.
    constants : sequence of Constant
        Arrays, as `array` writes them.
    fields : mapping
        Of the shape.
    inputs : sequence of str
        Parameters that take the inputs.
    given : sequence of str
        Names of the arrays that the kernel takes.
    scratch : int
        Bytes of working memory.
    mve_scratch : int, optional
        The same with Arm's vector extension.
    can_fail : bool
        Whether the kernel returns an int, not 0 where it has failed.
    gather : bool
        The kernel takes any number of inputs, as an array of pointers.
    """
    function = f"op_{index:02}_{kernel}"
    parameters = [*inputs, "int8_t *out", *(["int16_t *scratch"] if scratch or mve_scratch else [])]
    names = [text.split("*")[1] for text in parameters]
    if gather:
        names[: len(inputs)] = [f"(const int8_t *const[]){{{', '.join(names[: len(inputs)])}}}"]
    arguments = ["&shape", *names, *given]
    shapes = ", ".join("x".join(map(str, tensor.shape[1:])) for tensor in op.inputs)
    name = re.sub(r"[^\w .:-]", "_", op.name, flags=re.ASCII)  # nothing that could end a comment
    comment = f"/* {name}: {shapes} -> {'x'.join(map(str, op.output.shape[1:]))} */\n"
    text = (
        f"MODEL_OPERATOR {'int' if can_fail else 'void'} {function}({', '.join(parameters)}) {{\n"
        f"    static const struct {structure} shape = {_structure(fields, 1)};\n"
        f"    {'return ' if can_fail else ''}{kernel}({', '.join(arguments)});\n}}\n"
    )
    return EmittedOperator(
        function, kernel, comment, tuple(constants), text, scratch, mve_scratch, can_fail=can_fail
    )


def share_parameters(operators: Iterable[EmittedOperator]) -> list[EmittedOperator]:
    """Let operators read the weights and biases of an earlier one where theirs are equal.

    Other constants stay: what layers share can be told from a network's structure, as
    `edgegrow.deploy.c_memory.constant_bytes` does; that others are equal is chance.
    """
    first: dict[tuple[str, str], str] = {}
    shared = []
    for op in operators:
        own, text = [], op.text
        for constant in op.constants:
            name = constant.name
            if name.startswith(("weights_", "bias_")):
                name = first.setdefault((constant.kind, constant.values), name)
            if name == constant.name:
                own.append(constant)
            else:
                text = re.sub(rf"\b{constant.name}\b", name, text)
        shared.append(replace(op, constants=tuple(own), text=text))
    return shared


def _structure(fields: Fields, depth: int) -> str:
    """Write an initializer, a field a line."""
    inner = "    " * (depth + 1)
    lines = "".join(f"{inner}.{name} = {_value(value, depth + 1)},\n" for name, value in fields.items())
    return "{\n" + lines + "    " * depth + "}"


def _value(value: object, depth: int) -> str:
    match value:
        case dict():
            return _structure(value, depth)
        case list():
            return "{" + ", ".join(map(integer, value)) + "}"
    return str(value)


def integer(value: int) -> str:
    """Write a number of 32 bits."""
    # -2147483648 would be the negative of a number that int cannot hold.
    return "-2147483647 - 1" if value == -(2**31) else str(value)


def leading_axes(
    index: int, op: Operator, axes: Sequence[tuple[int, ...]], one: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Put axes of one element before, up to the number that kernels run over."""
    if len(axes) > _AXES:
        raise UnsupportedError(
            f"operator {index} ({op.name}): the C kernel takes {_AXES} axes, not {len(axes)}: use fewer"
        )
    return [one] * (_AXES - len(axes)) + list(axes)
