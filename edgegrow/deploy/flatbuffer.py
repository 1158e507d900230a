"""Read flatbuffers from anywhere: every offset is checked before it is followed.

A table is described by a dataclass whose fields are made by `scalar`, `vector`, `text`, `table` and `tables`,
and read into it whole. Tables that are described may not contain themselves, so nothing can go in circles;
what several places share is read once, and all tables and vectors of tables together are limited.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from edgegrow.errors import InputError

Record = TypeVar("Record")

_MOST_TABLES = 2**16
_LONGEST_TEXT = 2**16


@dataclass(frozen=True)
class _Slot:
    """How a field is stored: its number in the schema, and what is there."""

    number: int
    kind: str
    """``scalar``, ``vector``, ``text``, ``table`` or ``tables``."""
    content: Any
    """NumPy dtype of a scalar or of a vector's elements; or the dataclass of tables."""
    default: Any = None


def scalar(number: int, dtype: str, default: float = 0) -> Any:
    """Describe a number or a truth value."""
    return field(metadata={"slot": _Slot(number, "scalar", np.dtype(dtype), default)})


def vector(number: int, dtype: str) -> Any:
    """Describe a vector of numbers: an ndarray, a view of the file; empty where there is none."""
    return field(metadata={"slot": _Slot(number, "vector", np.dtype(dtype), np.empty(0, dtype))})


def text(number: int) -> Any:
    """Describe a string: bytes, empty where there is none."""
    return field(metadata={"slot": _Slot(number, "text", None, b"")})


def table(number: int, record: type) -> Any:
    """Describe a table; None where there is none."""
    return field(metadata={"slot": _Slot(number, "table", record)})


def tables(number: int, record: type) -> Any:
    """Describe a vector of tables: a tuple, empty where there is none."""
    return field(metadata={"slot": _Slot(number, "tables", record, ())})


@dataclass(frozen=True)
class TableAt:
    """A table whose kind another field tells: a union's value, read by `Flatbuffer.read_table`."""

    position: int


class Flatbuffer:
    """A file, and what was read of it.

    Parameters
    ----------
    data : bytes
    identifier : bytes
        Four bytes that say which schema the file follows.

    Raises
    ------
    InputError
        Here and in every method: where the file is damaged, in one line.
    """

    def __init__(self, data: bytes, identifier: bytes) -> None:
        self.data = data
        if len(data) < 8 or data[4:8] != identifier:
            raise InputError(f"it does not begin as a {identifier.decode()} flatbuffer: give a .tflite file")
        self._read: dict[tuple[type, int], Any] = {}
        self._tables = 0

    def root(self, record: type[Record]) -> Record:
        """Read the table that holds all."""
        return self.read_table(record, TableAt(self._follow(0, "root")))

    def read_table(self, record: type[Record], place: TableAt) -> Record:
        """Read a table; one that was read as the same kind before is the same object."""
        key = record, place.position
        if key not in self._read:
            self._count(1)
            self._read[key] = self._table(record, place.position)
        value: Record = self._read[key]
        return value

    def _table(self, record: type[Record], position: int) -> Record:
        name = record.__name__
        self._check(position, 4, 4, name)
        vtable = position - struct.unpack_from("<i", self.data, position)[0]
        self._check(vtable, 4, 2, name)
        vtable_size, table_size = struct.unpack_from("<HH", self.data, vtable)
        if vtable_size < 4 or vtable_size % 2 or table_size < 4:
            raise _damaged(name, vtable)
        self._check(vtable, vtable_size, 2, name)
        self._check(position, table_size, 4, name)
        values = {}
        for described in fields(record):  # type: ignore[arg-type]
            slot: _Slot = described.metadata["slot"]
            entry = 4 + 2 * slot.number
            offset = struct.unpack_from("<H", self.data, vtable + entry)[0] if entry < vtable_size else 0
            if not offset:
                values[described.name] = slot.default
                continue
            what = f"{name}.{described.name}"
            size = slot.content.itemsize if slot.kind == "scalar" else 4
            if offset < 4 or offset + size > table_size:
                raise _damaged(what, position)
            values[described.name] = self._value(slot, position + offset, what)
        return record(**values)

    def _value(self, slot: _Slot, position: int, what: str) -> Any:
        if slot.kind == "scalar":
            self._check(position, slot.content.itemsize, slot.content.itemsize, what)
            return np.frombuffer(self.data, slot.content, 1, position)[0].item()
        target = self._follow(position, what)
        match slot.kind:
            case "table" if slot.content is TableAt:
                return TableAt(target)
            case "table":
                return self.read_table(slot.content, TableAt(target))
            case "text":
                length, start = self._vector(target, 1, what)
                if length > _LONGEST_TEXT:
                    raise InputError(
                        f"{what}: a text of {length:,} bytes is too long: export the model again"
                    )
                self._check(start + length, 1, 1, what)
                if self.data[start + length]:  # programs in C read up to a zero
                    raise _damaged(what, start + length)
                return self.data[start : start + length]
            case "vector":
                length, start = self._vector(target, slot.content.itemsize, what)
                return np.frombuffer(self.data, slot.content, length, start)
            case _:
                length, start = self._vector(target, 4, what)
                self._count(length)
                places = (TableAt(self._follow(start + 4 * i, what)) for i in range(length))
                return tuple(self.read_table(slot.content, place) for place in places)

    def _vector(self, position: int, itemsize: int, what: str) -> tuple[int, int]:
        """Length and start of a vector's elements, which are all inside the file."""
        self._check(position, 4, 4, what)
        length = struct.unpack_from("<I", self.data, position)[0]
        # Where nothing is stored, there is nothing to align.
        self._check(position + 4, length * itemsize, itemsize if length else 1, what)
        return length, position + 4

    def _follow(self, position: int, what: str) -> int:
        """Place to which the offset at `position` points, always forward."""
        self._check(position, 4, 4, what)
        offset = struct.unpack_from("<I", self.data, position)[0]
        if offset < 4:
            raise _damaged(what, position)
        self._check(position + offset, 4, 4, what)
        return int(position + offset)

    def _check(self, position: int, size: int, alignment: int, what: str) -> None:
        if position < 0 or position + size > len(self.data) or position % alignment:
            raise _damaged(what, position)

    def _count(self, number: int) -> None:
        self._tables += number
        if self._tables > _MOST_TABLES:
            raise InputError(f"it has more than {_MOST_TABLES:,} tables: export the model again")


def _damaged(what: str, position: int) -> InputError:
    return InputError(f"damaged at byte {position:,} ({what}): copy or export the file again")
