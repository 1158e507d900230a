"""CMSIS-NN's sources: where they are, whether they are the ones known, and which of them are needed.

The PyPI package `bakenn` carries CMSIS-NN 4.0.0, and CMSIS-Core's headers, among its data; it is read as
files and never imported. A folder that has both somewhere below it serves as well.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgegrow.errors import InputError

HEADER = "arm_nnfunctions.h"
"""The header that declares all functions."""

_ARGUMENTS = {
    "arm_convolve_wrapper_s8": 11,
    "arm_convolve_wrapper_s8_get_buffer_size": 4,
    "arm_depthwise_conv_wrapper_s8": 11,
    "arm_depthwise_conv_wrapper_s8_get_buffer_size": 4,
    "arm_fully_connected_s8": 11,
    "arm_fully_connected_s8_get_buffer_size": 1,
    "arm_avgpool_s8": 7,
    "arm_avgpool_s8_get_buffer_size": 2,
    "arm_max_pool_s8": 7,
}
"""How many arguments the functions that we call take in CMSIS-NN 4.0."""

_WHEEL, _IN_WHEEL = "bakenn", "backend/cmsis_nn/vendor"
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_NAME = re.compile(r"\barm_\w+")
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([\w.]+)"', re.MULTILINE)
_VERSION = (
    ("BAKENN_PROVENANCE.md", re.compile(r"Release version: ([\w.]+)")),
    ("ARM.CMSIS-NN.pdsc", re.compile(r'<release version="([\w.]+)"')),
)
"""Files that say which version it is, and how."""


@dataclass(frozen=True)
class CmsisSource:
    """An installed CMSIS-NN.

    Attributes
    ----------
    name : str
        What it is, e.g. ``CMSIS-NN 4.0.0``.
    files : dict
        Paths of its ``.c`` and ``.h`` files, CMSIS-Core's too, by their names.
    licences : dict
        Texts of the licences, by the name of the header that they are for.
    """

    name: str
    files: dict[str, Path]
    licences: dict[str, str]

    def closure(self, functions: Iterable[str]) -> dict[str, str]:
        """Texts, by their names, of the files that functions need: theirs, of all they call, and headers.

        Every function of CMSIS-NN that others call is in a file of its name, or in that of the function whose
        buffer it is for.
        """
        found: dict[str, str] = {}
        waiting = [f"{function}.c" for function in functions]
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.files:
                continue
            text = found[name] = _read(self.files[name])
            waiting += _INCLUDE.findall(text)
            if name.endswith(".c"):
                called = _NAME.findall(_COMMENT.sub("", text))
                waiting += [f"{function.removesuffix('_get_buffer_size')}.c" for function in called]
        return dict(sorted(found.items()))


def find_cmsis(path: str | None = None) -> CmsisSource:
    """Find CMSIS-NN 4.0 in a folder, or in the installed package.

    Parameters
    ----------
    path : str, optional
        A folder that has CMSIS-NN and the headers of CMSIS-Core somewhere below it.

    Raises
    ------
    InputError
        If it is not there, or is another version, whose functions are not those that we call.
    """
    root = _installed() if path is None else Path(path)
    if not root.is_dir():
        raise InputError(f"kernels {root}: there is no such folder: give one that has CMSIS-NN's sources")
    files: dict[str, Path] = {}
    for file in sorted(root.rglob("*.[ch]")):
        if re.match(r"arm_|cmsis_", file.name):
            if file.name in files and _read(file) != _read(files[file.name]):
                raise InputError(f"kernels {root}: it has two {file.name}: give a folder with one CMSIS-NN")
            files[file.name] = file
    for name in (HEADER, "cmsis_compiler.h", "cmsis_gcc.h"):
        if name not in files:
            raise InputError(f"kernels {root}: it has no {name}: give a folder with CMSIS-NN and CMSIS-Core")
    _check_functions(root, _read(files[HEADER]))
    licences = {name: _licence(root, files[name]) for name in (HEADER, "cmsis_compiler.h")}
    return CmsisSource(f"CMSIS-NN {_version(root)}", files, licences)


def _installed() -> Path:
    # Found without being imported: its code is of no use here.
    specification = importlib.util.find_spec(_WHEEL)
    places = specification.submodule_search_locations if specification else None
    if not places:
        raise InputError("kernels cmsis-nn: its sources are not installed: pip install 'edgegrow[cmsis]'")
    return Path(next(iter(places))) / _IN_WHEEL


def _check_functions(root: Path, header: str) -> None:
    header = _COMMENT.sub("", header)
    for function, arguments in _ARGUMENTS.items():
        match = re.search(rf"\b{function}\(([^)]*)\)", header)
        if match is None or match[1].count(",") + 1 != arguments:
            raise InputError(f"kernels {root}: its {function} is not that of CMSIS-NN 4.0: give that version")


def _licence(root: Path, file: Path) -> str:
    """Text of the licence nearest to a file, in its folder or above."""
    for folder in file.parents:
        for licence in sorted(folder.glob("LICENSE*")):
            return _read(licence)
        if folder == root:
            break
    raise InputError(f"kernels {root}: {file.name} comes without its LICENSE: put it into its folder")


def _version(root: Path) -> str:
    for name, expression in _VERSION:
        for file in sorted(root.rglob(name)):
            if match := expression.search(_read(file)):
                return match[1]
    return "4.0, release unknown"


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot read it: give another CMSIS-NN") from error
