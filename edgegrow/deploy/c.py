"""Write the quantized graph as C: a package for bare metal, without a library, an interpreter or allocation.

The package is an Arduino library as it stands, with a ``CMakeLists.txt`` beside it, so that every source is
there once::

    src/model.h, src/model.c                the network: its sizes and scales; one function an operator
    src/edgegrow_*.h                        the kernels that it uses
    src/model_selftest.h, .c                one input with its expected output
    src/model_serial.h, .c                  answers a host over a serial line, on a real board
    selftest.c                              a program that exits with 0 when they agree
    CMakeLists.txt                          libraries `model` and `model_serial`, program `selftest`
    src/cmsis_nn/, KERNELS.md               CMSIS-NN, where it was asked for
    library.properties, examples/           what the Arduino IDE needs
    ports/                                  a whole serial firmware for one board, to copy from
    README.md                               how to use it all
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from pathlib import Path

import numpy as np

from edgegrow import __version__
from edgegrow.deploy.arena import ALIGNMENT, ArenaPlan, plan_arena
from edgegrow.deploy.c_cmsis import FOLDER as CMSIS_FOLDER
from edgegrow.deploy.c_cmsis import CmsisKernels
from edgegrow.deploy.c_emit import EmittedOperator, array, share_parameters
from edgegrow.deploy.c_operators import emit_operator
from edgegrow.deploy.graph import Graph, Tensor
from edgegrow.deploy.simulate import simulate
from edgegrow.errors import InputError
from edgegrow.files import write_atomic

_KERNELS = files("edgegrow.deploy") / "kernels"
_TEMPLATES = _KERNELS / "package"
_REPLACED = ("src/edgegrow_*.h", f"{CMSIS_FOLDER}/*", "KERNELS.md")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r'^#include "(edgegrow_\w+\.h)"', re.MULTILINE)


def write_c(graph: Graph, folder: Path | str, library: CmsisKernels | None = None) -> None:
    """Write the package; kernels that an earlier package left in the folder are removed.

    Parameters
    ----------
    graph : Graph
    folder : path
        Made if it is not there.
    library : CmsisKernels, optional
        Computes the operators that it has kernels for, instead of ours.

    Raises
    ------
    UnsupportedError
        If there is no kernel for an operator.
    InputError
        If the folder cannot be written.
    """
    folder = Path(folder)
    package = c_package(graph, library)
    try:
        for stale in (path for pattern in _REPLACED for path in folder.glob(pattern)):
            if stale.relative_to(folder).as_posix() not in package:
                stale.unlink()
        for parent in {(folder / name).parent for name in package}:
            parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot write it: {error.strerror}: choose another folder") from error
    for name, text in package.items():
        write_atomic(folder / name, text)


def c_package(graph: Graph, library: CmsisKernels | None = None) -> dict[str, str]:
    """Texts of the package's files by their paths; equal graphs give equal texts."""
    emit = emit_operator if library is None else library.emit
    operators = share_parameters(emit(index, op) for index, op in enumerate(graph.operators))
    plans = _Plans.of(graph, operators)
    kernels = _kernels(sorted({f"edgegrow_{operator.kernel}.h" for operator in operators}))
    package = {f"src/{name}": text for name, text in kernels.items()}
    package["src/model.h"] = _header(
        graph, plans, f"edgegrow {__version__}" if library is None else library.name
    )
    package["src/model.c"] = _source(graph, operators, plans)
    if library is not None:
        package |= library.package_files(operators)
    package["src/model.h"] = package["src/model.h"].replace("@ID@", _digest(package))
    package["src/model_selftest.c"] = _selftest(graph)
    for name, place in (
        ("model_selftest.h", "src/model_selftest.h"),
        ("model_serial.h", "src/model_serial.h"),
        ("model_serial.c", "src/model_serial.c"),
        ("selftest.c", "selftest.c"),
        ("CMakeLists.txt", "CMakeLists.txt"),
        ("library.properties", "library.properties"),
        ("README.md", "README.md"),
        ("selftest.ino", "examples/selftest/selftest.ino"),
        ("serial.ino", "examples/serial/serial.ino"),
        *((f"ports/mps2-an386/{name}", f"ports/mps2-an386/{name}") for name in ("port.c", "mps2-an386.ld")),
    ):
        package[place] = (_TEMPLATES / name).read_text("utf-8")
    more = sorted(path for path in package if path.startswith(CMSIS_FOLDER) and path.endswith(".c"))
    sources = "".join(f"\n  {path}" for path in more)
    package["CMakeLists.txt"] = package["CMakeLists.txt"].replace("@SOURCES@", sources)
    return package


def _digest(package: dict[str, str]) -> str:
    """Return 16 hexadecimal digits that stand for what a package computes.

    Comments are left out: they name layers, and a network that was read back from its file has other names.
    """
    texts = (f"{name}\0{_COMMENT.sub('', package[name])}" for name in sorted(package))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Plans:
    """The arena without and with Arm's vector extension (MVE): activations lie in the same places."""

    plain: ArenaPlan
    mve: ArenaPlan

    @classmethod
    def of(cls, graph: Graph, operators: list[EmittedOperator]) -> _Plans:
        named = [(op.output.name, c) for op, c in zip(graph.operators, operators, strict=True)]
        in_place = {name for name, c in named if c.in_place}
        plain = {name: c.scratch_bytes for name, c in named}
        mve = {
            name: c.scratch_bytes if c.mve_scratch_bytes is None else c.mve_scratch_bytes for name, c in named
        }
        return cls(plan_arena(graph, plain, in_place), plan_arena(graph, mve, in_place))

    def arena(self) -> str:
        plain, mve = (f"#define MODEL_ARENA_BYTES {plan.peak_bytes}\n" for plan in (self.plain, self.mve))
        if plain == mve:
            return plain
        return f"#if defined(__ARM_FEATURE_MVE) && __ARM_FEATURE_MVE\n{mve}#else\n{plain}#endif\n"

    def scratch(self, name: str, op: EmittedOperator) -> str:
        """Where an operator's scratch memory begins; one that needs none takes any place."""
        plain, mve = (plan.scratch.get(name, 0) for plan in (self.plain, self.mve))
        return str(plain) if op.mve_scratch_bytes is None else f"CMSIS_SCRATCH({plain}, {mve})"


def _kernels(names: list[str]) -> dict[str, str]:
    """Texts of headers and of all that they include."""
    found: dict[str, str] = {}
    while names:
        name = names.pop()
        if name not in found:
            found[name] = (_KERNELS / name).read_text("utf-8")
            names += _INCLUDE.findall(found[name])
    return dict(sorted(found.items()))


def _header(graph: Graph, plans: _Plans, kernels: str) -> str:
    ends = "".join(
        _end(name, tensor, plans.plain.offsets[tensor.name])
        for name, tensor in (("INPUT", graph.input), ("OUTPUT", graph.output))
    )
    text = (_TEMPLATES / "model.h").read_text("utf-8")
    return text.replace("@ENDS@\n", ends).replace("@ARENA@\n", plans.arena()).replace("@KERNELS@", kernels)


def _end(name: str, tensor: Tensor, offset: int) -> str:
    # The shortest decimal that float32 reads back as the same number.
    return (
        f"#define MODEL_{name}_BYTES {prod(tensor.shape)}\n"
        f"#define MODEL_{name}_SHAPE {{{', '.join(map(str, tensor.shape))}}}\n"
        f"#define MODEL_{name}_SCALE {np.float32(tensor.scale)}f\n"
        f"#define MODEL_{name}_ZERO_POINT ({tensor.zero_point})\n"
        f"#define MODEL_{name}_OFFSET {offset}\n\n"
    )


def _source(graph: Graph, operators: list[EmittedOperator], plans: _Plans) -> str:
    places = {name: f"memory + {offset}" for name, offset in plans.plain.offsets.items()}
    places |= {graph.output.name: "out", graph.input.name: "in"}
    calls = []
    for op, emitted in zip(graph.operators, operators, strict=True):
        arguments = [places[tensor.name] for tensor in (*op.inputs, op.output)]
        if emitted.scratch_bytes or emitted.mve_scratch_bytes:
            arguments.append(f"(int16_t *)(void *)(memory + {plans.scratch(op.output.name, emitted)})")
        call = f"{emitted.function}({', '.join(arguments)})"
        calls.append(
            f"    if ({call}) {{\n        return 2;\n    }}\n" if emitted.can_fail else f"    {call};\n"
        )
    if graph.output.name == graph.input.name:
        calls.append("    __builtin_memcpy(out, in, MODEL_OUTPUT_BYTES);\n")
    includes = [f'#include "edgegrow_{kernel}.h"\n' for kernel in sorted({op.kernel for op in operators})]
    text = (_TEMPLATES / "model.c").read_text("utf-8")
    return (
        text.replace("@INCLUDES@\n", "".join(includes))
        .replace("@OPERATORS@\n", "\n".join(map(_definition, operators)))
        .replace("@ALIGNMENT@", str(ALIGNMENT))
        .replace("@CALLS@\n", "".join(calls))
    )


def _definition(op: EmittedOperator) -> str:
    return op.comment + "".join(constant.text for constant in op.constants) + op.text


def _selftest(graph: Graph) -> str:
    shape = (1, *graph.input.shape[1:])
    sample = np.random.default_rng(0).integers(-128, 128, shape, np.int8)
    expected = simulate(graph, sample)
    text = (_TEMPLATES / "model_selftest.c").read_text("utf-8")
    return text.replace("@INPUT@\n", array("int8_t", "input", sample).text).replace(
        "@EXPECTED@\n", array("int8_t", "expected", expected).text
    )
