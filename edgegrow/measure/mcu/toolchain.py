"""Compilers: zig's clang, which pip installs, and arm-none-eabi-gcc."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from edgegrow.errors import InputError
from edgegrow.measure.compiling import compile_shared, find_zig, run_compiler
from edgegrow.measure.mcu.cores import Core
from edgegrow.measure.mcu.elf import Elf

RESOURCES = Path(__file__).parent / "resources"

# No -ffreestanding: it would turn every memcpy of four bytes into a call.
FLAGS = (
    "-std=c11",
    "-O2",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-unwind-tables",
    "-fomit-frame-pointer",
)
"""How a package is compiled, besides the flags of its core."""

DRIVER_BYTES = 4096
"""Room for what drives the firmware in QEMU, beyond its flash; the samples stand after it."""

SKIPPED = ("selftest.c",)
"""Files of a package that have a ``main`` of their own."""


@dataclass(frozen=True)
class Compiler:
    """A compiler: its command, and what it calls itself, e.g. ``zig 0.17.1``."""

    name: str
    command: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Firmware:
    """A linked firmware: its ELF file, the memory it was linked for, in bytes, and who compiled it how.

    `function` is what is called in it for an inference.
    """

    elf: Elf
    core: Core
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    compiler: str
    function: str


@cache
def find_compiler(name: str = "zig") -> Compiler:
    """Find a compiler, ``zig`` or ``gcc``.

    Raises
    ------
    InputError
        If it is not installed.
    """
    if name == "zig":
        command = find_zig()
        if command is None:
            raise InputError("compiler zig: it is not installed: pip install 'edgegrow[mcu]'")
        version = run_compiler((*command, "version"), "zig").strip()
        return Compiler("zig", (*command, "cc"), f"zig {version}")
    if name == "gcc":
        try:
            version = run_compiler(("arm-none-eabi-gcc", "-dumpfullversion"), "gcc").strip()
        except InputError as error:
            raise InputError(f"{error}: install gcc-arm-none-eabi, or use zig") from error
        return Compiler("gcc", ("arm-none-eabi-gcc",), f"arm-none-eabi-gcc {version}")
    raise InputError(f"compiler {name}: unknown: choose zig or gcc")


def compile_firmware(
    package: Path,
    core: Core,
    folder: Path,
    *,
    compiler: Compiler,
    flash_bytes: int,
    ram_bytes: int,
    stack_bytes: int,
    flags: Sequence[str] = (),
    driven: bool = False,
    function: str = "model_invoke",
) -> Firmware:
    """Compile a C package and link it with our start-up code.

    Parameters
    ----------
    package : Path
        Folder with ``model.h`` and C files, in it or in ``src``.
    core : Core
    folder : Path
        Where to put intermediate files.
    compiler : Compiler
    flash_bytes, ram_bytes, stack_bytes : int
        Sizes of the memories in bytes; the stack is a part of RAM.
    flags : sequence of str
        Further flags of the compiler, e.g. ``-O3``.
    driven : bool
        Whether to link, beside the firmware, what starts it in QEMU and gives it samples.
    function : str
        What is called for an inference.

    Raises
    ------
    InputError
        If it is no package, does not compile, or does not fit.
    """
    selecting = core.zig if compiler.name == "zig" else core.gcc
    if not selecting:
        raise InputError(f"compiler {compiler.name}: it has no {core.cpu}: use zig")
    headers, sources = package_sources(package)
    own = ("firmware.c", "support.c", *(("qemu_driver.c",) if driven else ()))
    script = folder / "firmware.ld"
    script.write_text(
        Template((RESOURCES / "firmware.ld").read_text(encoding="utf-8")).substitute(
            entry="edgegrow_entry" if core.isa == "riscv" else "edgegrow_start",
            driver_bytes=DRIVER_BYTES,
            flash_base=hex(core.flash_base),
            flash_bytes=flash_bytes,
            ram_base=hex(core.ram_base),
            ram_bytes=ram_bytes,
            stack_bytes=stack_bytes,
        ),
        encoding="utf-8",
    )
    output = folder / "firmware.elf"
    command = (
        *compiler.command,
        *selecting,
        *FLAGS,
        *flags,
        "-DMODEL_PROFILE",
        "-w",  # warnings are the writer's business, errors ours
        "-isystem",
        str(RESOURCES / "include"),
        "-I",
        str(headers),
        *(str(source) for source in sources),
        *(str(RESOURCES / name) for name in own),
        "-nostartfiles",
        "-static",
        f"-Wl,-T,{script}",
        f"-DEDGEGROW_FUNCTION={function}",
        f"-Wl,-u,{function}",  # a self-test is referred to by nothing else
        "-Wl,--gc-sections",
        "-o",
        str(output),
        # Zig links its run-time library by itself.
        *(("-nostdlib", "-lgcc") if compiler.name == "gcc" else ()),
    )
    run_compiler(command, f"package {package}", folder)
    described = " ".join((compiler.version, *selecting, *FLAGS, *flags))
    elf = Elf.parse(output.read_bytes())
    return Firmware(elf, core, flash_bytes, ram_bytes, stack_bytes, described, function)


def compile_counter(folder: Path, source: str = "counter.c") -> Path:
    """Compile a block counter for this machine: ``counter.c`` for Unicorn, ``qemu_plugin.c`` for QEMU.

    Returns the shared library.
    """
    output = (folder / source).with_suffix(".so")
    compile_shared(find_compiler("zig").command, RESOURCES / source, output, "block counter")
    return output


def package_sources(package: Path) -> tuple[Path, tuple[Path, ...]]:
    """Find the folder of a package's header, and its C files, sorted; its self-test is none of them.

    Raises
    ------
    InputError
        If it has no ``model.h``, itself or in ``src``, or no C file beside it or below.
    """
    folder = next((f for f in (package, package / "src") if (f / "model.h").is_file()), None)
    if folder is None:
        hint = "give the folder that export --format c wrote"
        raise InputError(f"package {package}: it has no model.h: {hint}")
    # A pipe or a folder of such a name would hold the compiler up, or confuse it.
    found = (path for path in folder.rglob("*.c") if path.is_file() and path.name not in SKIPPED)
    sources = tuple(sorted(path.resolve() for path in found))
    if not sources:
        raise InputError(f"package {package}: it has no .c files")
    return folder, sources


def package_kernels(package: Path) -> str | None:
    """Read from a package's header what computes its operators; None where it does not say."""
    folder, _ = package_sources(package)
    header = (folder / "model.h").read_text(encoding="utf-8", errors="replace")
    match = re.search(r'^#define MODEL_KERNELS "([\w .,-]{1,80})"$', header, re.MULTILINE)
    return match[1] if match else None
