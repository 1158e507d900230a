"""The counter: a plugin for QEMU, compiled when it is first needed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.files import write_atomic
from edgegrow.measure.arm.sysroot import installation_folder
from edgegrow.measure.compiling import compile_shared, find_zig

SOURCES = tuple(Path(__file__).parent / name for name in ("counter.c", "a64.h", "a32.h", "classes.h"))


def counter_name() -> str:
    """Name of the compiled counter's file: other sources give another."""
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in SOURCES)).hexdigest()
    return f"counter-{digest[:12]}.so"


def prepare_counter() -> Path:
    """Compile the counter, unless it is there, with a C compiler of this machine, or with zig.

    Raises
    ------
    InputError
        If there is no compiler, or the cache cannot be written.
    """
    output = installation_folder() / counter_name()
    if output.is_file():
        return output
    system, zig = shutil.which("gcc") or shutil.which("cc"), find_zig()
    compiler = (system,) if system else (*zig, "cc") if zig else None
    if compiler is None:
        raise InputError(
            "emulator: its counter needs a C compiler: pip install 'edgegrow[mcu]', or install gcc"
        )
    with tempfile.TemporaryDirectory(prefix="edgegrow-") as name:
        compiled = Path(name) / "counter.so"
        compile_shared(compiler, SOURCES[0], compiled, "instruction counter")
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(output, compiled.read_bytes())
    return output
