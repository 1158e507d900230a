"""Read an int8 TensorFlow Lite file from anywhere into the quantized graph, strictly checked.

`edgegrow.deploy.flatbuffer` checks the file's structure, `read_tensors` and `read_operators` what it means.
"""

from __future__ import annotations

from pathlib import Path

import tflite
from tflite import BuiltinOperator as Code

from edgegrow.deploy.flatbuffer import Flatbuffer
from edgegrow.deploy.graph import Array, Graph, Operator
from edgegrow.deploy.read_operators import READERS, Call
from edgegrow.deploy.read_tensors import Tensors
from edgegrow.deploy.tflite_schema import IDENTIFIER, Model, OperatorCode
from edgegrow.errors import InputError, UnsupportedError
from edgegrow.files import read_regular

LARGEST_FILE = 100_000_000
"""Bytes."""

_NAMES = {number: name for name, number in vars(Code).items() if isinstance(number, int)}
_BORDERS = {Code.QUANTIZE: 2, Code.DEQUANTIZE: 2}
_MOST_INPUTS = 256  # of one operator


def read_tflite(source: Path | str | bytes) -> Graph:
    """Read a file that may come from anyone.

    Operators that only quantize a float input or dequantize the output are dropped: the graph begins and ends
    with int8. Operators are named ``POSITION (KIND)`` and tensors ``tensor INDEX``, after the file.

    Parameters
    ----------
    source : path or bytes
        The file, or its contents.

    Returns
    -------
    Graph

    Raises
    ------
    InputError
        Where the file cannot be read, is damaged, or is no int8 model; one line.
    UnsupportedError
        Where it is a model that edgegrow cannot run; the line names operator and position.
    """
    if isinstance(source, bytes):
        return _graph(source)
    path = Path(source)
    try:
        return _graph(_contents(path))
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error


def _contents(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InputError("no such file: give the path of a .tflite file")
        return read_regular(path, LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}: give another file") from error


def _graph(data: bytes) -> Graph:
    if len(data) > LARGEST_FILE:
        raise InputError(f"it has more than {LARGEST_FILE:,} bytes: that is no model for a device")
    flatbuffer = Flatbuffer(data, IDENTIFIER)
    model = flatbuffer.root(Model)
    if model.version != 3:
        raise UnsupportedError(f"it has schema version {model.version}: export the model with version 3")
    if len(model.subgraphs) != 1:
        raise UnsupportedError(
            f"it has {len(model.subgraphs)} subgraphs: export the model without control flow"
        )
    return _Reader(model, flatbuffer).graph()


class _Reader:
    """Reads the operators in order, and moves the graph's ends past those at the borders."""

    def __init__(self, model: Model, flatbuffer: Flatbuffer) -> None:
        self.codes = model.operator_codes
        self.flatbuffer = flatbuffer
        self.subgraph = model.subgraphs[0]
        self.tensors = Tensors(model)
        self.input = _single(self.subgraph.inputs, "input")
        self.output = _single(self.subgraph.outputs, "output")
        self.ends_moved: set[str] = set()

    def graph(self) -> Graph:
        """Read everything; the graph checks that it fits together."""
        if not self.subgraph.operators:
            raise InputError("it has no operators: export the model again")
        operators = [self.operator(position) for position in range(len(self.subgraph.operators))]
        try:
            source, result = self.tensors.activation(self.input), self.tensors.activation(self.output)
        except InputError as error:
            raise type(error)(f"the graph's ends: {error}") from error
        try:
            return Graph(source, result, tuple(op for op in operators if op is not None))
        except InputError as error:
            raise type(error)(f"{error}; correct the model or export it again") from error

    def operator(self, position: int) -> Operator | None:
        """Read an operator; None where it is one at the borders."""
        table = self.subgraph.operators[position]
        if table.code >= len(self.codes):
            raise InputError(
                f"operator {position}: its kind {table.code} is not in the file: export it again"
            )
        code = self.codes[table.code]
        number = max(code.code, code.deprecated_code)
        name = f"{position} ({_kind(code, number)})"
        try:
            if number not in READERS and number not in _BORDERS:
                raise UnsupportedError(f"edgegrow cannot deploy it: build the model of {_supported()}")
            newest = _BORDERS.get(number) or READERS[number][0]
            if not 1 <= code.version <= newest:
                raise UnsupportedError(
                    f"it has version {code.version}, known are 1 to {newest}: convert the model to plain int8"
                )
            if len(table.inputs) > _MOST_INPUTS:
                raise InputError(f"it has {len(table.inputs):,} inputs: that is no model for a device")
            inputs = tuple(int(index) for index in table.inputs)
            output = _single(table.outputs, "output")
            if number in _BORDERS:
                self.drop(inputs, output)
                return None
            return READERS[number][1](Call(name, inputs, output, table, self.tensors, self.flatbuffer))
        except InputError as error:
            raise type(error)(f"operator {name}: {error}") from error

    def drop(self, inputs: tuple[int, ...], output: int) -> None:
        """Move an end of the graph to the int8 tensor beside this operator."""
        if len(inputs) != 1:
            raise InputError(f"it has {len(inputs)} inputs, not 1: export the model again")
        if self.tensors.shape(inputs[0]) != self.tensors.shape(output):
            raise InputError("it changes the shape: export the model again")
        if inputs[0] == self.input and "input" not in self.ends_moved and self.matches(self.input, output):
            self.input = output
            self.ends_moved.add("input")
        elif (
            output == self.output and "output" not in self.ends_moved and self.matches(self.output, inputs[0])
        ):
            self.output = inputs[0]
            self.ends_moved.add("output")
        else:
            raise UnsupportedError(
                "it is supported only at the model's input and output: convert to int8 whole"
            )

    def matches(self, end: int, inside: int) -> bool:
        """Whether a border tensor is float, or the same int8 values as uint8."""
        if self.tensors.kind(end) == tflite.TensorType.FLOAT32:
            return True
        if self.tensors.kind(end) != tflite.TensorType.UINT8:
            return False
        scale, zero_point = self.tensors.step(end)
        return (scale, zero_point - 128) == self.tensors.step(inside)


def _single(indices: Array, what: str) -> int:
    if len(indices) != 1:
        raise UnsupportedError(f"{len(indices)} {what}s: export a model with one {what}")
    return int(indices[0])


def _kind(code: OperatorCode, number: int) -> str:
    if number == Code.CUSTOM:
        # Whoever wrote the file chose this text: one short printable line of it is shown.
        return f"CUSTOM {code.custom[:40].decode(errors='replace')!a}"
    return _NAMES.get(number, f"code {number}")


def _supported() -> str:
    return ", ".join(sorted(_NAMES[number] for number in READERS))
