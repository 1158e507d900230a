"""Profiles of a delivery: every artifact measured on its target, and what needs no clock counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgegrow import __version__
from edgegrow.config import MeasureConfig
from edgegrow.cost.fvcore import fvcore_macs
from edgegrow.data.dataset import Dataset, Split
from edgegrow.delivery import Delivery
from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.graph import Graph
from edgegrow.deploy.simulate import simulate
from edgegrow.errors import InputError
from edgegrow.listener import Listener
from edgegrow.measure.mcu.prediction import check_selftest, emulate_on
from edgegrow.measure.protocol import Artifact, Identity, Measurement, Profile
from edgegrow.measure.session import open_artifact, predict
from edgegrow.measuring import Options, is_timed, measure_artifact
from edgegrow.targets import Target
from edgegrow.training import evaluate
from edgegrow.working_memory import memory_figures

_SIMULATED = 500
"""Samples that the simulator takes at once."""

_EMULATED = 20
"""Test samples that a microcontroller is emulated with: their outputs must be the simulator's."""


def profile_delivery(
    delivery: Delivery,
    data: Dataset,
    target: Target,
    settings: MeasureConfig,
    threads: int,
    listener: Listener,
) -> dict[str, Profile]:
    """Measure a delivery's artifacts on the target, and count what needs no clock.

    The whole test split goes through the float network, the simulator and, on this machine, each runtime of a
    Linux or Android target; a microcontroller is emulated with some of it.

    Returns
    -------
    dict
        ``{format: profile}``: of ``.tflite`` and ``.onnx``, or of a microcontroller's C package.

    Raises
    ------
    InputError
        If an artifact does not run on the target, or does not fit it.
    """
    listener.say(f"simulating {len(data.test)} test samples")
    counted = _count(delivery, data, threads)
    if target.kind == "mcu":
        return {"c": _profile_package(delivery, data, target, counted, listener)}
    return {
        item: _profile_file(path, data, target, settings, counted, listener)
        for item, path in delivery.files.items()
    }


def _count(delivery: Delivery, data: Dataset, threads: int) -> tuple[Measurement, ...]:
    """Tell what holds for the network whatever artifact it is in."""
    test = data.test
    samples = f"{len(test)} test samples"
    float_accuracy = evaluate(delivery.trace.graph, test)[1]
    before = f", before {delivery.qat_epochs} quantization-aware epochs" if delivery.qat_epochs else ""
    simulated = accuracy(simulated_logits(delivery.graph, test.x), test)
    torch_identity = Identity(runtime="torch", version=torch.__version__.split("+")[0], threads=threads)
    own_identity = Identity(runtime="edgegrow", version=__version__)
    checked = fvcore_macs(delivery.trace.graph, data.input_shape)
    return (
        Measurement(metric="float_accuracy", value=float_accuracy, unit="fraction", evidence="measured",
                    identity=torch_identity, method=samples + before, trials=len(test)),
        Measurement(metric="accuracy", value=simulated, unit="fraction", evidence="emulated",
                    identity=own_identity, method=f"{samples}; TensorFlow Lite Micro's integer arithmetic",
                    trials=len(test)),
        Measurement(metric="macs", value=delivery.graph.macs, unit="macs", evidence="predicted",
                    identity=own_identity, method=f"counted from the graph; fvcore counts {checked}"),
        Measurement(metric="params", value=delivery.graph.params, unit="params", evidence="predicted",
                    identity=own_identity, method="weights and biases, batch norms folded"),
        Measurement(metric="peak_activations", value=plan_arena(delivery.graph).peak_bytes, unit="bytes",
                    evidence="predicted", identity=own_identity, method="arena planned greedily by size"),
    )  # fmt: skip


def _profile_file(
    path: Path,
    data: Dataset,
    target: Target,
    settings: MeasureConfig,
    counted: tuple[Measurement, ...],
    listener: Listener,
) -> Profile:
    """Measure a file on its target; the whole test split goes through its runtime on this machine."""
    listener.say(f"measuring {path.name}")
    timed = is_timed(target)
    options = Options(iterations=settings.iterations, seconds=settings.seconds) if timed else Options()
    profile = measure_artifact(path, target, options=options, listener=listener)
    with open_artifact(path, target.runtime.threads) as session:
        reached = Measurement(
            metric="accuracy",
            value=accuracy(predict(session, data.test.x), data.test),
            unit="fraction",
            evidence="measured",
            identity=session.identity,
            method=f"{len(data.test)} test samples, on the machine that edgegrow runs on",
            trials=len(data.test),
        )
    merged = (reached, *counted, *profile.measurements)
    return profile.model_copy(update={"measurements": merged})


def _profile_package(
    delivery: Delivery, data: Dataset, target: Target, counted: tuple[Measurement, ...], listener: Listener
) -> Profile:
    """Emulate a C package on its board, with test samples whose outputs must be the simulator's."""
    path, graph = delivery.files["c"], delivery.graph
    listener.say(f"emulating {path} on {target.name}")
    inputs = graph.quantize_input(data.test.x[:_EMULATED])
    figures = emulate_on(target.board(), path, inputs.reshape(len(inputs), -1))
    check_selftest(target.board(), path)
    expected = simulate(graph, inputs).reshape(len(inputs), -1)
    if not np.array_equal(figures.emulation.outputs, expected):
        raise InputError(
            f"package {path}: in the emulator its outputs are not the simulator's: report it to edgegrow, "
            f"with the package and {figures.emulation.identity.compiler}"
        )
    memory, unavailable = memory_figures(graph, delivery.files["tflite"])
    agreed = Measurement(
        metric="agreement",
        value=1.0,
        unit="fraction",
        evidence="emulated",
        identity=figures.emulation.identity,
        method=f"{len(inputs)} test samples: outputs equal to the simulator's, bit for bit; self-test passed",
        trials=len(inputs),
    )
    return Profile(
        artifact=Artifact.of_package(path),
        target=target.reference,
        measurements=(agreed, *counted, *figures.measurements, *memory),
        unavailable=(*figures.unavailable, *unavailable),
    )


def simulated_logits(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Logits ``(n, classes)`` of float samples ``(n, ...)`` in the simulator."""
    pieces = range(0, len(x), _SIMULATED)
    outputs = [simulate(graph, graph.quantize_input(x[i : i + _SIMULATED])) for i in pieces]
    return graph.dequantize_output(np.concatenate(outputs)).reshape(len(x), -1)


def accuracy(logits: np.ndarray, split: Split) -> float:
    """Share of samples whose largest logit ``(n, classes)`` is their label's."""
    return float((logits.argmax(1) == split.y).mean())
