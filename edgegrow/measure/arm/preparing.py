"""Preparing a sysroot: Debian's packages, wheels, views of each core, and a first start.

Nothing here runs as root, and of ARM's code only Python itself runs, in the emulator. Only the standard
library is needed, so that an image's build can use it.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.measure.arm.cores import EMULATED_CORES, Architecture, Core
from edgegrow.measure.arm.sysroot import SUITE, Recipe, Sysroot, find_sysroot, installation_folder, sysroot_in
from edgegrow.measure.device import LocalDevice
from edgegrow.measure.runner_archive import FILE_NAME, runner_archive

TOOLS = {"qemu-aarch64": "qemu-user", "qemu-arm": "qemu-user", "mmdebstrap": "mmdebstrap"}
"""Programs, and Debian's packages of them."""

TOOL_SECONDS = 1800.0
"""Time that one of them may take: the slowest one downloads."""

_ABSENT = ("etc/ld.so.cache", "etc/localtime", "usr/lib/ssl/openssl.cnf")
# Files that programs read where they are: without empty ones, they would be this machine's.

_LINKED = ("bin", "etc", "lib", "sbin", "usr")
_CPUS = "sys/devices/system/cpu"
_PROOF = """\
import ctypes, importlib, py_compile, runpy, sys
sys.path.insert(0, {runner!r})
import runner.main
for name in {modules!r}:
    importlib.import_module(name)
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None) or ""
    if path.startswith({view!r}) and path.endswith(".py"):
        seen = {seen!r} + path[len({view!r}):]
        py_compile.compile(path, dfile=seen, doraise=True, invalidation_mode=unchecked)
"""
# Imports what the runner does, and compiles it: without bytecode every start takes thrice as long.


def missing_packages() -> tuple[str, ...]:
    """Debian's packages that the emulator needs and that are not installed."""
    return tuple(sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None}))


def prepare_sysroot(architecture: Architecture, say: Callable[[str], None]) -> Sysroot:
    """Make the sysroot for an architecture, unless it is there; an interrupted one is gone on with.

    It takes half a minute, and 80 to 250 MB, most of it downloaded.

    Raises
    ------
    InputError
        If a program is missing or fails, or the folder cannot be written.
    """
    found = find_sysroot(architecture)
    if found is not None:
        return found
    if sys.platform != "linux":
        raise InputError("emulator: QEMU's user mode needs Linux: use --via container")
    missing = missing_packages()
    if missing:
        hint = f"apt-get install --no-install-recommends {' '.join(missing)}"
        raise InputError(f"emulator: {' and '.join(missing)} must be installed first, as root: {hint}")
    folder = installation_folder()
    sysroot = sysroot_in(folder, architecture)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{architecture}.lock", say):
            if not Path(sysroot.manifest).is_file():  # another process may have made it meanwhile
                _build(sysroot, folder / f".{sysroot.recipe.name}", say)
    except OSError as error:
        raise InputError(f"emulator: cannot prepare {sysroot.folder}: {error.strerror or error}") from error
    return sysroot


def _build(sysroot: Sysroot, work: Path, say: Callable[[str], None]) -> None:
    """Make the parts one by one; each gets its name when it is whole, and the sysroot its own at the end."""
    recipe = sysroot.recipe
    work.mkdir(exist_ok=True)
    with _whole(work / "root") as root:
        if root is not None:
            say(f"fetching Debian's Python for {recipe.architecture}")
            _unpack_debian(recipe, root)
    with _whole(work / "site") as site:
        if site is not None:
            say(f"fetching {', '.join(recipe.wheels)}")
            _unpack_wheels(recipe, site)
    with _whole(work / "views") as views:
        if views is not None:
            for core in recipe.cores:
                _write_view(views / core.name, core)
    say(f"starting Python for {recipe.architecture} in the emulator")
    _prove(Sysroot(recipe, str(work)), sysroot)
    versions = {**_debian_versions(work / "root"), "suite": SUITE, "wheels": list(recipe.wheels)}
    (work / "manifest.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    work.rename(sysroot.folder)


def _prove(made: Sysroot, final: Sysroot) -> None:
    """Start Python with all that it has, and compile that for where the sysroot will be."""
    core = made.recipe.cores[0]
    with tempfile.TemporaryDirectory(prefix="edgegrow-") as folder:
        runner = Path(folder) / FILE_NAME
        runner.write_bytes(runner_archive())
        proof = _PROOF.format(
            runner=str(runner), modules=made.recipe.modules, view=made.view(core), seen=final.seen()
        )
        _call((*made.unredirected_python(core), "-c", proof))


def _unpack_debian(recipe: Recipe, root: Path) -> None:
    main_alone = f'sed -i "/{SUITE}-/d" "$1/etc/apt/sources.list"'
    command = ("mmdebstrap", "--mode=chrootless", "--variant=extract", f"--setup-hook={main_alone}")
    _call(
        (
            *command,
            f"--architectures={recipe.debian}",
            f"--include={','.join(recipe.packages)}",
            SUITE,
            str(root),
        )
    )
    for name in _ABSENT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    libraries = root / "usr/lib" / recipe.triplet
    for name in recipe.alternatives:
        (libraries / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")


def _unpack_wheels(recipe: Recipe, site: Path) -> None:
    options = ("--quiet", "--no-compile", "--no-deps", "--only-binary=:all:", "--target", str(site))
    python = ("--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3", "--abi=none")
    platforms = (f"--platform={platform}" for platform in recipe.platforms)
    _call((sys.executable, "-m", "pip", "install", *options, *python, *platforms, *recipe.wheels))


def _write_view(view: Path, core: Core) -> None:
    """Make what QEMU shows as ``/``: the sysroot, with a processor of its own beside it."""
    processors = f"0-{EMULATED_CORES - 1}"
    files = {"proc/cpuinfo": core.cpuinfo(), f"{_CPUS}/kernel_max": f"{EMULATED_CORES - 1}\n"}
    files |= {f"{_CPUS}/{name}": f"{processors}\n" for name in ("online", "possible", "present")}
    for n in range(EMULATED_CORES):
        described = {f"topology/{name}": processors for name in ("core_siblings_list", "cluster_cpus_list")}
        described |= {"topology/core_id": f"{n}", "topology/thread_siblings_list": f"{n}"}
        described |= {"topology/physical_package_id": "0", "cache/index2/type": "Unified"}
        described |= {"cache/index2/level": "2", "cache/index2/size": "512K"}
        described |= {"cache/index2/shared_cpu_list": processors}
        clocks = (f"{kind}_{end}_freq" for kind in ("cpuinfo", "scaling") for end in ("min", "max"))
        described |= {f"cpufreq/{name}": "1000000" for name in clocks}
        files |= {f"{_CPUS}/cpu{n}/{name}": f"{text}\n" for name, text in described.items()}
    for name, text in files.items():
        path = view / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in _LINKED:
        (view / name).symlink_to(f"../../root/{name}")
    (view / "site").symlink_to("../../site")


def _debian_versions(root: Path) -> dict[str, str]:
    """Read the versions of the libraries that inferences run in from their packages' changelogs."""
    packages = {"libc": "libc6", "gcc": "gcc-12-base", "python": "libpython3.11-minimal"}
    versions = {}
    for name, package in packages.items():
        with gzip.open(root / f"usr/share/doc/{package}/changelog.Debian.gz", "rt", errors="replace") as file:
            match = re.match(r"\S+ \(([\w.+:~-]{1,60})\)", file.readline(200))
        versions[name] = match[1] if match else "unknown"
    return versions


def _call(command: tuple[str, ...]) -> None:
    """Run one of the programs; where it fails, its last line says why."""
    finished = LocalDevice(name="emulator").run(command, timeout_s=TOOL_SECONDS)
    if finished.exit_code:
        text = (finished.stderr or finished.stdout).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = (
            [line for line in lines if re.match(r"(E:|ERROR|.*[Ee]rror:)", line)]
            or lines
            or ["it says nothing"]
        )
        program = "pip" if "pip" in command else "Python" if "-c" in command else command[0]
        raise InputError(f"emulator: {program} failed ({finished.exit_code}): {telling[0][:200]}: try again")


@contextmanager
def _whole(path: Path) -> Iterator[Path | None]:
    """Give the name under which to make a part, which gets its own afterwards; None where it is there."""
    if path.exists():
        yield None
        return
    partial = path.with_name(f"{path.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    yield partial
    partial.rename(path)


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock among processes."""
    import fcntl

    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another edgegrow prepares the emulator: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
