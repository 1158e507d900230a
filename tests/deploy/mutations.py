"""Damage files in the ways that disks, networks and attackers do."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from edgegrow.deploy.flatbuffer import Flatbuffer
from edgegrow.deploy.tflite_schema import IDENTIFIER, Model

_WORDS = [0, 1, 2, 3, 4, 8, 127, 128, 255, 2**15, 2**16, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1]


def structure(data: bytes) -> np.ndarray:
    """Positions of all bytes but those of large constants: where damage is not just another weight."""
    kept = np.ones(len(data), bool)
    base = np.frombuffer(data, np.uint8).ctypes.data
    for buffer in Flatbuffer(data, IDENTIFIER).root(Model).buffers:
        if len(buffer.data) > 64:
            start = buffer.data.ctypes.data - base
            kept[start : start + len(buffer.data)] = False
    return np.flatnonzero(kept)


def mutated(files: Sequence[bytes], places: Sequence[np.ndarray], seed: int) -> bytes:
    """Damage one of the files; equal seeds give equal bytes.

    Parameters
    ----------
    files : sequence of bytes
    places : sequence of ndarray
        The `structure` of each.
    seed : int
    """
    rng = np.random.default_rng(seed)
    chosen = int(rng.integers(len(files)))
    data, where = bytearray(files[chosen]), places[chosen]

    def place() -> int:
        """Mostly in the structure, at times anywhere."""
        return int(rng.choice(where)) if rng.random() < 0.9 else int(rng.integers(len(data)))

    def word() -> int:
        return min(place() & ~3, len(data) - 4)

    for _ in range(int(rng.choice([1, 1, 1, 1, 3]))):
        match int(rng.choice(6, p=[0.3, 0.2, 0.2, 0.1, 0.15, 0.05])):
            case 0:  # flipped bits
                for _ in range(int(rng.integers(1, 4))):
                    data[place()] ^= 1 << int(rng.integers(8))
            case 1:  # a number of the kind that breaks programs
                struct.pack_into("<I", data, word(), int(rng.choice(_WORDS)))
            case 2:  # one number of the file in place of another
                at = word()
                data[at : at + 4] = files[chosen][(other := word()) : other + 4]
            case 3:  # an offset that leads elsewhere, perhaps to another table, perhaps in a circle
                at = word()
                struct.pack_into("<I", data, at, (word() - at) % 2**32)
            case 4:  # a piece of a file, spliced in
                piece = files[int(rng.integers(len(files)))]
                size = min(4 * int(rng.integers(1, 64)), len(piece) - 4)
                start = int(rng.integers(len(piece) - size)) & ~3
                at = word()
                data[at : at + size] = piece[start : start + size]
            case _:  # bytes that are missing or too many
                at = place()
                if rng.random() < 0.5:
                    del data[at : at + int(rng.integers(1, 64))]
                else:
                    data[at:at] = rng.bytes(int(rng.integers(1, 64)))
        if len(data) < 64:
            break
        where = where[where < len(data)]
    if rng.random() < 0.08:
        del data[int(rng.integers(len(data))) :]
    return bytes(data)
