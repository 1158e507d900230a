"""What edgegrow finds on this machine, and how to get what it does not find."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from edgegrow.data.builtin import installed_fashion_mnist
from edgegrow.errors import InputError
from edgegrow.listener import Listener
from edgegrow.measure.arm.counter import prepare_counter
from edgegrow.measure.arm.preparing import missing_packages, prepare_sysroot
from edgegrow.measure.arm.sysroot import RECIPES, find_sysroot

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked for.

    Attributes
    ----------
    name : str
        A package, ``python``, a program, or a data set.
    status : str
        ``ok``; ``missing``; or ``broken``: there, but too old, or it does not work.
    version : str or None
        Its version, or where a data set is.
    remedy : str
        What to do; empty where there is nothing to do.
    group : str
        ``core`` is needed always; the others are the extras (``mcu``, ``tf``, ...), ``programs`` that pip
        cannot install and that check what the extras do, the ``emulator`` of ARM Linux, and ``data``.
    """

    name: str
    status: Status
    version: str | None = None
    remedy: str = ""
    group: str = "core"


_SHOWN_TO_WORK = {
    "ai-edge-litert": "import ai_edge_litert.interpreter as m; m.Interpreter(model_content=bytes(64))",
    "onnxruntime": "import onnxruntime as m; m.InferenceSession(bytes([255] * 64))",
    "tflite-runtime": "import tflite_runtime.interpreter as m; m.Interpreter(model_content=bytes(64))",
}
"""Programs that make a runtime open what is no artifact: one that works refuses it with its own exception.

tflite-runtime, beside numpy 2, can be imported and dies only when it is used.
"""

_PROGRAMS = {
    "adb": (("version",), "adb"),
    "arm-none-eabi-gcc": (("-dumpfullversion",), "gcc-arm-none-eabi"),
    "qemu-system-arm": (("--version",), "qemu-system-arm"),
}
"""Programs outside of Python: options that make them tell their version, and Debian's package of them."""

_DEVELOPMENT = ("dev",)  # extras that only edgegrow's developers need
_SEPARATE = ("legacy",)  # extras that need an environment of their own
_SECONDS = 20  # for a runtime to start on a slow board


@dataclass(frozen=True)
class _Requirement:
    name: str
    lowest: tuple[int, ...]
    extra: str
    marker: str


def diagnose() -> list[Check]:
    """Check Python, the dependencies, those of each extra, programs and data sets; takes a second or two."""
    requirements = list(_requirements())
    versions = {requirement.name: _version(requirement.name) for requirement in requirements}
    running = {
        name: _start(program) for name, program in _SHOWN_TO_WORK.items() if versions.get(name) is not None
    }
    faults = {name: _fault(process) for name, process in running.items()}
    checks = [Check("python", "ok", platform.python_version())]  # pip refuses older ones
    for requirement in requirements:
        checks.append(_check(requirement, versions[requirement.name], faults.get(requirement.name, "")))
    return [*checks, *_check_programs(), *_check_emulator(), *_check_data()]


FIXES = ("emulator",)
"""What `fix` can prepare."""


def fix(what: str, listener: Listener) -> None:
    """Prepare something that takes more than installing a package; what is ready stays.

    Raises
    ------
    InputError
        If it is none of `FIXES`, or cannot be prepared.
    """
    if what not in FIXES:
        raise InputError(f"--fix {what}: unknown: choose {', '.join(FIXES)}")
    prepare_counter()
    for architecture in RECIPES:
        prepare_sysroot(architecture, listener.say)


def _requirements() -> Iterator[_Requirement]:
    """Dependencies as edgegrow's own metadata names them, the core's first."""
    found = []
    try:
        lines = metadata.requires("edgegrow") or []
    except metadata.PackageNotFoundError as error:
        raise InputError("doctor: edgegrow is not installed here: pip install edgegrow") from error
    for line in lines:
        specification, _, marker = line.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)", specification)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        group = extra[1] if extra else "core"
        if match is None or match[1] == "edgegrow" or group in _DEVELOPMENT:
            continue
        at_least = re.search(r">=\s*([0-9][0-9.]*)", specification)
        if group in _SEPARATE and at_least is None:  # a pin such as numpy<2, for that environment only
            continue
        found.append(_Requirement(match[1], _numbers(at_least[1] if at_least else "0"), group, marker))
    # A package that several extras name is one thing to look for.
    named: dict[str, _Requirement] = {}
    for one in sorted(found, key=lambda r: (r.extra != "core", r.extra)):
        if (other := named.get(one.name)) is not None:
            extras = "core" if other.extra == "core" else f"{other.extra},{one.extra}"
            one = _Requirement(one.name, max(one.lowest, other.lowest), extras, other.marker)
        named[one.name] = one
    yield from sorted(named.values(), key=lambda r: (r.extra != "core", r.extra, r.name))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0])[:3])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _check(requirement: _Requirement, version: str | None, fault: str) -> Check:
    name, group = requirement.name, requirement.extra
    package = "edgegrow" if group == "core" else f"'edgegrow[{group}]'"
    remedy = f"pip install {package}"
    if group in _SEPARATE:
        remedy = (
            f"in an environment of its own: python3.11 -m venv {group} && {group}/bin/pip install {package}"
        )
    if version is None:
        return Check(name, "missing", None, remedy, group)
    if _numbers(version) < requirement.lowest:
        lowest = ".".join(map(str, requirement.lowest))
        return Check(name, "broken", version, f"older than {lowest}: pip install -U {package}", group)
    if fault:
        again = f"pip install --force-reinstall {name}" if group not in _SEPARATE else remedy
        return Check(name, "broken", version, f"{fault}: {again}", group)
    return Check(name, "ok", version, "", group)


def _start(program: str) -> subprocess.Popen[str]:
    # -P: a file in the working directory must not stand in for a package.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _fault(process: subprocess.Popen[str]) -> str:
    """Say what is wrong with a runtime; empty where it refused the bytes as it should."""
    try:
        _, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"it does not start within {_SECONDS} s"
    if process.returncode < 0:
        return f"it crashes (signal {-process.returncode})"
    last = (errors.strip().splitlines() or [""])[-1]
    if (
        re.match(r"(ImportError|ModuleNotFoundError|AttributeError|SystemError)", last)
        or "_ARRAY_API" in errors
    ):
        return "it does not work beside the installed numpy" if "numpy" in errors else last[:120]
    return ""


def _check_programs() -> Iterator[Check]:
    for name, (options, package) in _PROGRAMS.items():
        install = f"optional: apt install {package}, or your system's package of it"
        if shutil.which(name) is None:
            yield Check(name, "missing", None, install, "programs")
            continue
        try:
            done = subprocess.run(
                (name, *options), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
            )
            version = re.search(r"\d+(\.\d+)+", done.stdout.decode(errors="replace"))
        except (OSError, subprocess.SubprocessError):
            version = None
        if version is None:
            yield Check(name, "broken", None, f"it does not tell its version: {install}", "programs")
        else:
            yield Check(name, "ok", version[0], "", "programs")


def _check_emulator() -> Iterator[Check]:
    """Check what emulates Linux and Android targets, for each of their architectures."""
    missing = missing_packages()
    remedy = "edgegrow doctor --fix emulator, or when it is first used"
    if missing:
        install = f"apt-get install --no-install-recommends {' '.join(missing)}"
        remedy = f"optional: as root: {install}; then edgegrow doctor --fix emulator"
    for architecture, recipe in RECIPES.items():
        name = f"emulated {architecture}"
        if shutil.which(recipe.qemu) is None or find_sysroot(architecture) is None:
            yield Check(name, "missing", None, remedy, "emulator")
        else:
            runtimes = ", ".join(wheel.replace("==", " ") for wheel in recipe.wheels)
            yield Check(name, "ok", runtimes, "", "emulator")


def _check_data() -> Iterator[Check]:
    yield Check("digits", "ok", "part of scikit-learn", "", "data")
    folder = installed_fashion_mnist()
    if folder is not None:
        yield Check("fashion-mnist", "ok", str(folder), "", "data")
    else:
        remedy = "downloaded when first used; or apt install dataset-fashion-mnist"
        yield Check("fashion-mnist", "missing", None, remedy, "data")
