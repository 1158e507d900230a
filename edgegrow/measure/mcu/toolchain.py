"""Compilers: zig's clang, which pip installs, and arm-none-eabi-gcc."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from edgegrow.errors import InputError
from edgegrow.measure.mcu.cores import Core
from edgegrow.measure.mcu.elf import Elf

RESOURCES = Path(__file__).parent / "resources"

COMPILE_SECONDS = 300
"""Time that one call of a compiler may take; zig builds its run-time library the first time."""

COMPILE_BYTES = 2**32
"""Address space of a compiler: without a bound, a few lines of macros take all memory."""

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
        if importlib.util.find_spec("ziglang") is None:
            raise InputError("compiler zig: it is not installed: pip install 'edgegrow[mcu]'")
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "ziglang")
        version = _call((*command, "version"), "zig").strip()
        return Compiler("zig", (*command, "cc"), f"zig {version}")
    if name == "gcc":
        try:
            version = _call(("arm-none-eabi-gcc", "-dumpfullversion"), "gcc").strip()
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
    _call(command, f"package {package}", folder)
    described = " ".join((compiler.version, *selecting, *FLAGS, *flags))
    elf = Elf.parse(output.read_bytes())
    return Firmware(elf, core, flash_bytes, ram_bytes, stack_bytes, described, function)


def compile_counter(folder: Path, source: str = "counter.c") -> Path:
    """Compile a block counter for this machine: ``counter.c`` for Unicorn, ``qemu_plugin.c`` for QEMU.

    Returns the shared library.
    """
    output = (folder / source).with_suffix(".so")
    command = (
        *find_compiler("zig").command,
        *("-std=c11", "-O2", "-shared", "-fPIC", "-nostdlib"),
        *(str(RESOURCES / source), "-o", str(output)),
    )
    _call(command, "block counter", folder)
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


def _call(command: Sequence[str], what: str, folder: Path | None = None) -> str:
    """Run a compiler; `what` it is for starts the message of an error."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise InputError(f"{what}: cannot run {command[0]}: {error.strerror}") from error
    with process:
        try:
            _limit_memory(process.pid)
            out, err = process.communicate(timeout=COMPILE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{what}: the compiler took longer than {COMPILE_SECONDS} s") from error
        finally:
            if process.returncode is None:
                _end_all(process)
    if process.returncode:
        raise InputError(f"{what}: it does not compile: {_first_error(err)}")
    return out


def _limit_memory(process_id: int) -> None:
    """Bound what a compiler and the programs that it starts may take, each for itself."""
    if sys.platform != "linux":
        return
    import resource

    with suppress(ProcessLookupError):  # it has ended already
        resource.prlimit(process_id, resource.RLIMIT_AS, (COMPILE_BYTES, COMPILE_BYTES))


def _end_all(process: subprocess.Popen[str]) -> None:
    """End a compiler with the programs that it has started: they share its session."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _first_error(text: str) -> str:
    """Find the line of a compiler's or linker's output that says what is wrong, without its folder."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\berror\b|undefined|overflow|will not fit", line)]
    line = (telling or lines or ["the compiler says nothing"])[0]
    return re.sub(r"(?:/[^\s:/]+)+/", "", line)[:300]
