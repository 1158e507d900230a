"""What an emulated program finds: Debian's Python for ARM, the runtimes' wheels, and each core's description.

Nothing here runs as root, and of ARM's code only Python itself runs, in the emulator, to see that all works.
Only the standard library is needed, so that an image's build can use it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.files import cache_folder
from edgegrow.measure.arm.cores import CORES, EMULATED_CORES, Architecture, Core
from edgegrow.measure.device import LocalDevice

SUITE = "bookworm"
"""Debian's release; its main archive alone, which changes seldom, so that counts can be repeated."""

TOOLS = {"qemu-aarch64": "qemu-user", "qemu-arm": "qemu-user", "mmdebstrap": "mmdebstrap"}
"""Programs, and Debian's packages of them."""

TOOL_SECONDS = 1800.0
"""Time that one of them may take: the slowest one downloads."""

_PYTHON = "usr/bin/python3"
_MODULES: tuple[str, ...] = ("/site", "/usr/lib/python3/dist-packages")
# Paths as emulated programs see them: the same wherever a sysroot lies, so that counts are the same.

_LINKED = ("bin", "etc", "lib", "sbin", "usr")
_PROOF = """\
import ctypes, importlib, runpy
runpy.run_path({runner!r})
for name in {modules!r}:
    importlib.import_module(name)
"""


@dataclass(frozen=True)
class Recipe:
    """What a sysroot is made of.

    Attributes
    ----------
    architecture : {"aarch64", "armv7"}
    debian, triplet : str
        Debian's names of it.
    packages : tuple of str
        Debian's packages.
    wheels, platforms : tuple of str
        Python packages with their versions, and the platforms that their wheels may be for.
    modules : tuple of str
        What they provide.
    alternatives : tuple of str
        Libraries whose links only a package's installation script would make.
    """

    architecture: Architecture
    debian: str
    triplet: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    platforms: tuple[str, ...]
    modules: tuple[str, ...]
    alternatives: tuple[str, ...] = ()

    @property
    def qemu(self) -> str:
        """The emulator's program."""
        return "qemu-arm" if self.architecture == "armv7" else "qemu-aarch64"

    @property
    def repeatable(self) -> tuple[str, ...]:
        """Options by which its programs meet the same kernel, addresses and random numbers each time.

        Python looks things up by their addresses, and counts vary with them. Programs of 64 bits get 64 GiB
        of addresses that are reserved, not used; those of 32 bits have theirs reserved anyhow.
        """
        reserved = ("-R", "0x1000000000") if self.architecture == "aarch64" else ()
        return ("-r", "6.1.0", "-seed", "1", *reserved)

    @property
    def cores(self) -> tuple[Core, ...]:
        """Cores that run it."""
        return tuple(core for core in CORES.values() if core.architecture == self.architecture)

    @property
    def name(self) -> str:
        """Name of its folder: another recipe has another."""
        text = json.dumps([SUITE, asdict(self), [asdict(core) for core in self.cores]])
        return f"{self.architecture}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


RECIPES: dict[Architecture, Recipe] = {
    "aarch64": Recipe(
        architecture="aarch64",
        debian="arm64",
        triplet="aarch64-linux-gnu",
        packages=("python3", "libstdc++6", "libgomp1"),
        wheels=("ai-edge-litert==2.3.0", "numpy==2.4.6", "onnxruntime==1.31.1"),
        platforms=("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64", "any"),
        modules=("ai_edge_litert.interpreter", "onnxruntime"),
    ),
    # No wheels of numpy, LiteRT and ONNX Runtime exist for it.
    "armv7": Recipe(
        architecture="armv7",
        debian="armhf",
        triplet="arm-linux-gnueabihf",
        packages=("python3", "python3-numpy", "libstdc++6"),
        wheels=("tflite-runtime==2.14.0",),
        platforms=("manylinux_2_34_armv7l", "any"),
        modules=("tflite_runtime.interpreter",),
        alternatives=("blas", "lapack"),
    ),
}
"""The sysroot of each architecture."""


@dataclass(frozen=True)
class Sysroot:
    """A sysroot that is ready, here or in a container.

    Attributes
    ----------
    recipe : Recipe
    folder : str
    """

    recipe: Recipe
    folder: str

    @property
    def manifest(self) -> str:
        """Path of the file with the versions of what is in it."""
        return f"{self.folder}/manifest.json"

    def python(self, core: Core, options: tuple[str, ...] = (), qemu: str | None = None) -> tuple[str, ...]:
        """Command that starts its Python on a core, whatever the environment is.

        Parameters
        ----------
        core : Core
        options : tuple of str
            Further options of QEMU.
        qemu : str, optional
            The emulator's program; by default it is found by its name.
        """
        view = f"{self.folder}/views/{core.name}"
        program, modules = _PYTHON, _MODULES
        if self.recipe.architecture == "armv7":  # QEMU 7.2 does not redirect statx, which 32-bit systems use
            program = f"{view}/{_PYTHON}"
            modules = tuple(f"{view}{place}" for place in _MODULES)
        return (
            # A thread of OpenBLAS would use memory while Python does, in any order.
            *("env", "-i", "-C", view, "LANG=C.UTF-8", "OPENBLAS_NUM_THREADS=1", "PYTHONHASHSEED=0"),
            f"PYTHONPATH={':'.join(modules)}",
            *(qemu or shutil.which(self.recipe.qemu) or self.recipe.qemu, "-cpu", core.cpu, "-L", view),
            *("-0", f"/{program}" if program == _PYTHON else program, *self.recipe.repeatable, *options),
            *(program, "-S", "-s"),
        )


def installation_folder() -> Path:
    """Folder of the user's where sysroots are kept."""
    return cache_folder() / "arm"


def sysroot_in(folder: Path | str, architecture: Architecture) -> Sysroot:
    """Name the sysroot that a folder has, if it is ready: see `find_sysroot`."""
    recipe = RECIPES[architecture]
    return Sysroot(recipe, f"{folder}/{recipe.name}")


def find_sysroot(architecture: Architecture) -> Sysroot | None:
    """Find the sysroot for an architecture on this machine; None where it is not prepared."""
    sysroot = sysroot_in(installation_folder(), architecture)
    return sysroot if Path(sysroot.manifest).is_file() else None


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
    proof = _PROOF.format(modules=recipe.modules, runner=str(Path(__file__).parents[1] / "runner.py"))
    # It also writes the modules' bytecode, without which every start takes thrice as long.
    _call((*Sysroot(recipe, str(work)).python(recipe.cores[0]), "-c", proof))
    versions = {**_debian_versions(work / "root"), "suite": SUITE, "wheels": list(recipe.wheels)}
    (work / "manifest.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    work.rename(sysroot.folder)


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
    files = {"proc/cpuinfo": core.cpuinfo()}
    processors = f"0-{EMULATED_CORES - 1}\n"
    for name in ("online", "possible", "present"):
        files[f"sys/devices/system/cpu/{name}"] = processors
    for n in range(EMULATED_CORES):
        topology = {"core_id": f"{n}\n", "physical_package_id": "0\n", "core_siblings_list": processors}
        for name, text in {**topology, "thread_siblings_list": f"{n}\n"}.items():
            files[f"sys/devices/system/cpu/cpu{n}/topology/{name}"] = text
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
