"""What a firmware's ELF file says: its segments, its symbols, and the memory that it takes."""

from __future__ import annotations

import bisect
import struct
from dataclasses import dataclass, field
from functools import cached_property

PT_LOAD, SHT_SYMTAB, STT_FUNC = 1, 2, 2


@dataclass(frozen=True)
class Segment:
    """A loadable piece of memory: where it lies at run time and in flash, its bytes, and its whole size."""

    address: int
    load_address: int
    content: bytes = field(repr=False)
    size_bytes: int


@dataclass(frozen=True)
class Symbol:
    """A function or an object: its name, address (without the Thumb bit) and size in bytes."""

    name: str
    address: int
    size_bytes: int
    is_function: bool


@dataclass(frozen=True)
class Elf:
    """A linked 32-bit little-endian firmware (System V ABI, chapters 4 and 5)."""

    segments: tuple[Segment, ...]
    symbols: dict[str, Symbol]

    @classmethod
    def parse(cls, content: bytes) -> Elf:
        """Parse a file that our own linker has just written."""
        # Offsets of the program and section headers, then the size and number of each.
        program, section = struct.unpack_from("<II", content, 28)
        program_size, programs, section_size, sections = struct.unpack_from("<HHHH", content, 42)
        segments = []
        for i in range(programs):
            kind, offset, address, load, filed, size = struct.unpack_from(
                "<6I", content, program + i * program_size
            )
            if kind == PT_LOAD and size:
                segments.append(Segment(address, load, content[offset : offset + filed], size))
        headers = [struct.unpack_from("<10I", content, section + i * section_size) for i in range(sections)]
        symbols = {}
        for _, kind, _, _, offset, size, link, _, _, entry in headers:
            if kind != SHT_SYMTAB:
                continue
            names = headers[link][4]
            for at in range(offset, offset + size, entry):
                name, value, length, info = struct.unpack_from("<IIIB", content, at)
                text = content[names + name : content.index(b"\0", names + name)].decode()
                function = info & 15 == STT_FUNC
                symbols[text] = Symbol(text, value & ~1 if function else value, length, function)
        return cls(tuple(segments), symbols)

    @cached_property
    def _functions(self) -> list[Symbol]:
        return sorted((s for s in self.symbols.values() if s.is_function), key=lambda s: s.address)

    def function_at(self, address: int) -> str | None:
        """Name the function that an address lies in."""
        i = bisect.bisect_right(self._functions, address, key=lambda s: s.address) - 1
        if i < 0 or address >= self._functions[i].address + self._functions[i].size_bytes:
            return None
        return self._functions[i].name

    def flash_bytes(self, flash_base: int, flash_bytes: int) -> int:
        """Flash that it takes: code, constants, and the initial values of variables."""
        inside = range(flash_base, flash_base + flash_bytes)
        return sum(len(segment.content) for segment in self.segments if segment.load_address in inside)

    def static_ram_bytes(self, ram_base: int, ram_bytes: int) -> int:
        """RAM that variables take, the arena among them; not the stack."""
        inside = range(ram_base, ram_base + ram_bytes)
        return sum(segment.size_bytes for segment in self.segments if segment.address in inside)
