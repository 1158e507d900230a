"""From a trained network to artifacts and their profiles: quantize, write, measure."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgegrow.cost.flash import FlashModel
from edgegrow.cost.structure import random_graph
from edgegrow.data.dataset import Dataset
from edgegrow.deploy.c import write_c
from edgegrow.deploy.c_cmsis import CmsisKernels
from edgegrow.deploy.calibrate import calibrate
from edgegrow.deploy.graph import Graph
from edgegrow.deploy.lower import lower
from edgegrow.deploy.onnx import onnx_bytes, write_onnx
from edgegrow.deploy.qat import FakeQuantized
from edgegrow.deploy.tflite import tflite_bytes, write_tflite
from edgegrow.errors import InputError
from edgegrow.growth.groups import NetworkTrace
from edgegrow.targets import Target

EXPORTED = ("tflite", "onnx", "c")
"""All that can be written."""

_FORMATS = {"litert": "tflite", "tflite-runtime": "tflite", "onnxruntime": "onnx"}
"""What the runtimes of Linux and Android targets run."""

STRUCTURE_SAMPLES = 8
"""Calibration samples of a file that is not kept: ranges decide few of its bytes."""


@dataclass(frozen=True)
class Delivery:
    """A network as it is deployed.

    Attributes
    ----------
    trace : NetworkTrace
        The float network.
    graph : Graph
        Its quantized graph, which every artifact is written from.
    files : dict
        ``{format: path}`` of the artifacts.
    qat_epochs : int
        Epochs of quantization-aware training that the graph has had and the float network has not.
    """

    trace: NetworkTrace
    graph: Graph
    files: dict[str, Path]
    qat_epochs: int = 0


def formats_of(target: Target) -> tuple[str, ...]:
    """Name the artifacts of a run for a target; the first is the one that its budget holds for.

    They are in the order in which the target's file names its runtimes.
    """
    if target.kind == "mcu":
        return "c", "tflite"
    names = (name for name in target.runtime.names if name in _FORMATS)
    return tuple(dict.fromkeys(_FORMATS[name] for name in names)) or ("tflite",)


def file_bytes(graph: Graph, item: str, target: Target) -> bytes:
    """Serialize a graph as a ``tflite`` or ``onnx`` file for a target."""
    return tflite_bytes(graph) if item == "tflite" else onnx_bytes(graph, onnx_activations(target))


def parse_formats(text: str) -> list[str]:
    """Read ``tflite,onnx``.

    Raises
    ------
    InputError
        For a format that cannot be written.
    """
    formats = [item.strip() for item in text.split(",")]
    for item in formats:
        if item not in EXPORTED:
            raise InputError(f"format '{item}': unknown: choose from {', '.join(EXPORTED)}")
    return list(dict.fromkeys(formats))


def onnx_activations(target: Target) -> Literal["uint8", "int8"]:
    """Type of the ``.onnx`` activations that ONNX Runtime computes fastest on a target.

    On ARM, int8 activations fuse natively; on x86 a tensor with two readers fuses with uint8 ones alone. The
    scales are the same, and ``uint8 = int8 + 128``.
    """
    arm = ("aarch64", "arm64", "armv7l")
    core = target.soc.core or "" if target.soc else ""
    on_arm = platform.machine() in arm if target.name == "host" else core.lower().startswith(("cortex", *arm))
    return "int8" if on_arm else "uint8"


def flash_model(example: NetworkTrace, data: Dataset) -> FlashModel:
    """Learn from one file of a network what its file takes at other widths.

    Parameters
    ----------
    example : NetworkTrace
        The network at any widths, trained or not.
    data : Dataset
        Gives the shape of the input and a few samples.

    Raises
    ------
    InputError
        If the network cannot be deployed.
    """
    float_graph = lower(example.graph, data.input_shape)
    # Equal scales are written once, and those of an untrained network often are equal.
    return FlashModel(random_graph(float_graph, data.calibration(STRUCTURE_SAMPLES), seed=0))


def calibrated(trace: NetworkTrace, data: Dataset, samples: int) -> FakeQuantized:
    """Quantize a trained network, its ranges calibrated on samples of the training split.

    Its ``graph()`` can be deployed as it is, or after quantization-aware training
    (`edgegrow.finishing.finish`).

    Raises
    ------
    InputError
        If the network cannot be deployed.
    """
    float_graph = lower(trace.graph, data.input_shape)
    return FakeQuantized(float_graph, calibrate(float_graph, data.calibration(samples)))


def deliver(
    trace: NetworkTrace,
    graph: Graph,
    folder: Path,
    formats: Sequence[str],
    target: Target,
    library: CmsisKernels | None = None,
    qat_epochs: int = 0,
) -> Delivery:
    """Write a network's artifacts as ``model.FORMAT``, the C package as the folder ``c``.

    Parameters
    ----------
    trace : NetworkTrace
        The trained network.
    graph : Graph
        Its quantized graph.
    folder : Path
        Where the artifacts go; it exists.
    formats : sequence of str
        Of `EXPORTED`.
    target : Target
        Decides the type of the ``.onnx`` activations.
    library : CmsisKernels, optional
        Computes what it can in the C package, instead of our kernels.
    qat_epochs : int
        Epochs of quantization-aware training that the graph has had.

    Raises
    ------
    InputError
        If the network cannot be deployed, or the folder cannot be written.
    """
    files = {}
    for item in formats:
        path = files[item] = folder / ("c" if item == "c" else f"model.{item}")
        if item == "tflite":
            write_tflite(graph, path)
        elif item == "onnx":
            write_onnx(graph, path, onnx_activations(target))
        else:
            write_c(graph, path, library)
    return Delivery(trace, graph, files, qat_epochs)
