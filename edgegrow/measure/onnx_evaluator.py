"""A program that evaluates an ``.onnx`` file with random inputs by onnx's reference implementation.

``onnx_evaluator.py FOLDER N`` reads ``FOLDER/model.onnx`` and writes `RESULTS` there.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

RESULTS = ("inputs.npy", "outputs.npy")
"""Files of inputs and outputs."""

OPSET = 21
"""The evaluator has quantization of opset 19 and newer alone; edgegrow's files have that of 13."""

MEMORY_BYTES = 4 << 30
"""Memory that the file may ask for."""


def evaluate(folder: Path, n: int) -> None:
    """Evaluate the file with so many inputs, one at a time."""
    import numpy as np
    import onnx
    from onnx import helper, version_converter
    from onnx.reference import ReferenceEvaluator

    _bound_memory()
    model = onnx.load(folder / "model.onnx")
    (first,), (last,) = model.graph.input, model.graph.output
    kinds = [helper.tensor_dtype_to_np_dtype(end.type.tensor_type.elem_type) for end in (first, last)]
    if not all(kind in (np.int8, np.uint8) for kind in kinds):
        raise ValueError(f"its input and output are {kinds[0]} and {kinds[1]}, not both int8 or uint8")
    if any(entry.domain == "" and entry.version < OPSET for entry in model.opset_import):
        model = version_converter.convert_version(model, OPSET)
    shape = [dimension.dim_value for dimension in first.type.tensor_type.shape.dim]
    limits = np.iinfo(kinds[0])
    inputs = np.random.default_rng(0).integers(
        limits.min, limits.max, (n, *shape[1:]), kinds[0], endpoint=True
    )
    evaluator = ReferenceEvaluator(model)
    outputs = [np.asarray(evaluator.run(None, {first.name: x[None]}))[0] for x in inputs]
    for name, values in zip(RESULTS, (inputs, np.concatenate(outputs)), strict=True):
        np.save(folder / name, values, allow_pickle=False)


def _bound_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # there are systems without either
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)


if __name__ == "__main__":
    try:
        evaluate(Path(sys.argv[1]), int(sys.argv[2]))
    except Exception as error:  # a file from elsewhere can make any
        sys.exit(f"{type(error).__name__}: {error}")
