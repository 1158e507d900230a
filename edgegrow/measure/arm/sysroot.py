"""What an emulated program finds: Debian's Python for ARM, the runtimes' wheels, and each core's description.

Counts are to be the same wherever they are taken, to the instruction. So what a program sees is the same: its
own path, its environment, its addresses, and the files that it reads, none of which may be the machine's.
The order of a folder's entries is left: it moves Python's memory, and counts on 32 bits a little.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from edgegrow.files import cache_folder
from edgegrow.measure.arm.cores import CORES, Architecture, Core

SUITE = "bookworm"
"""Debian's release; its main archive alone, which changes seldom, so that counts can be repeated."""

LAYOUT = 2
"""Raised when `edgegrow.measure.arm.preparing` makes something else of a recipe."""

LINK = "view"
"""Name of the link to a core's view in the folder of a run."""

ANY_FOLDER = "/tmp/edgegrow-00000000"
"""As long a path as of the folder of any run."""

_MODULES = ("/site", "/usr/lib/python3/dist-packages")


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
        text = json.dumps([LAYOUT, SUITE, asdict(self), [asdict(core) for core in self.cores]])
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
    """A sysroot, here or in a container.

    Attributes
    ----------
    recipe : Recipe
    folder : str
        With ``root`` (Debian's files), ``site`` (wheels), ``views`` (what is ``/`` for each core) and
        ``manifest.json`` (versions), which is written last.
    """

    recipe: Recipe
    folder: str

    @property
    def manifest(self) -> str:
        """Path of the file with the versions of what is in it."""
        return f"{self.folder}/manifest.json"

    def view(self, core: Core) -> str:
        """Folder that QEMU shows as ``/``."""
        return f"{self.folder}/views/{core.name}"

    def seen(self, folder: str = ANY_FOLDER) -> str:
        """Folder that Python takes for ``/``: it itself, where QEMU redirects all that a program opens.

        QEMU 7.2 does not redirect ``statx``, which 32-bit systems use. There it is a link in the folder of a
        run: paths are a part of what lies in memory, and the sysroot's own is another one in a container.
        """
        return f"{folder}/{LINK}" if self.recipe.architecture == "armv7" else ""

    def python(
        self, core: Core, options: tuple[str, ...] = (), qemu: str | None = None, folder: str = ANY_FOLDER
    ) -> tuple[str, ...]:
        """Command that starts its Python on a core, whatever the environment is.

        Parameters
        ----------
        core : Core
        options : tuple of str
            Further options of QEMU.
        qemu : str, optional
            The emulator's program; by default it is found by its name.
        folder : str
            Of the run; it has the link.
        """
        seen = self.seen(folder)
        # The program's path is a part of what it sees: from its folder, it is the same everywhere.
        program = f"{seen}/usr/bin/python3".lstrip("" if seen else "/")
        return self._emulated(core, seen, program, options, qemu)

    def unredirected_python(self, core: Core) -> tuple[str, ...]:
        """Command that starts its Python where it lies, so that it can also write there."""
        view = self.view(core)
        return self._emulated(core, view, f"{view}/usr/bin/python3", (), None)

    def _emulated(
        self, core: Core, seen: str, program: str, options: tuple[str, ...], qemu: str | None
    ) -> tuple[str, ...]:
        view, modules = self.view(core), ":".join(f"{seen}{place}" for place in _MODULES)
        return (
            # A thread of OpenBLAS would use memory while Python does, in any order.
            *("env", "-i", "-C", view, "LC_ALL=C", "OPENBLAS_NUM_THREADS=1", "PYTHONCOERCECLOCALE=0"),
            *("PYTHONHASHSEED=0", f"PYTHONPATH={modules}", "PYTHONUTF8=1"),
            *(qemu or shutil.which(self.recipe.qemu) or self.recipe.qemu, "-cpu", core.cpu, "-L", view),
            *("-0", f"{seen}/usr/bin/python3", *self.recipe.repeatable, *options),
            # Bytecode stays as it was prepared: what is compiled anew moves what comes after it in memory.
            *(program, "-S", "-s", "-B"),
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
