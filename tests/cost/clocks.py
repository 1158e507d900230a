"""Networks, and calibrations of them by a clock that is an equation."""

import math
import sys
from pathlib import Path

import numpy as np

from edgegrow.calibrating import Subject, latency_plan, scaled
from edgegrow.cost.calibration import LatencyCalibration, LayerReading, NetworkReading
from edgegrow.cost.latency import Table
from edgegrow.cost.operators import kind, sizes
from edgegrow.deploy.lower import lower
from edgegrow.growth.groups import trace
from edgegrow.growth.seed import build_network
from edgegrow.measure.protocol import Identity
from edgegrow.nets import load_net

sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy"))
import families

IDENTITY = Identity(runtime="litert", version="1", kernels="XNNPACK", threads=1, cpu="x")
CALL_NS, NETWORK_NS = 600.0, -1000.0


def subject_of(net, data):
    traced = build_network(load_net(net), data.input_shape, data.classes, None, 0)
    return Subject(traced, lower(traced.graph, data.input_shape), data.calibration(8), net, "digits")


def branching_subject(name):
    """A network of tests/deploy/families.py, untrained."""
    build, widths = families.FAMILIES[name]
    traced = trace(build(*widths), families.SHAPE)
    noise = np.random.default_rng(0).normal(size=(8, *families.SHAPE)).astype(np.float32)
    return Subject(traced, lower(traced.graph, families.SHAPE), noise, name, "noise")


def layer_ns(layer_kind, widths):
    """Eights in, sixteens out; of the depthwise and what has no weights, sixteens."""
    weight = 1 + sum(map(ord, layer_kind)) % 7
    if len(widths) == 1:
        return CALL_NS + 20 * weight * math.ceil(widths[0] / 16)
    return CALL_NS + 10 * weight * math.ceil(widths[0] / 8) * math.ceil(widths[1] / 16)


def network_ns(graph):
    return NETWORK_NS + sum(layer_ns(kind(op), sizes(op)) for op in graph.operators)


def calibrated(subject, speed=lambda number: 1.0, networks=6, widest=2.0, noise=0.0, seed=0):
    """A finished calibration; ``speed(n)`` is how slow the machine was at the nth reading.

    Tables reach to `widest` in the network's own widths; files differ by `noise` from what they take.
    """
    chance = np.random.default_rng(seed)
    reference = {name: max(4, round(widest * width)) for name, width in subject.trace.widths().items()}
    begun = LatencyCalibration(
        schema=1, target="host", structure=subject.structure, net=subject.net, data=subject.data,
        identity=IDENTITY, edgegrow="0", command="", date="today", reference=reference, widest=reference
    )  # fmt: skip
    plan = latency_plan(subject, begun, None)
    made = []

    def reading(time_ns):
        slow = speed(len(made))
        made.append(slow)
        time_ns = time_ns * math.exp(chance.normal(0, noise))
        return {
            "windows_ns": tuple(slow * time_ns * f for f in (0.99, 1.0, 1.01)),
            "reference_ns": 5e3 * slow,
        }

    def layers(points):
        return tuple(LayerReading(kind=k, sizes=at, **reading(layer_ns(k, at))) for k, at in points)

    swept = dict.fromkeys((s.layer.kind, at) for s in plan.sweeps.values() for at in s.points)
    begun = begun.model_copy(update={"layers": layers(swept)})
    blocks = Table(plan, begun).blocks
    grid = dict.fromkeys((key, at) for key, layer in plan.layers.items() for at in plan.grid(layer, blocks))
    begun = begun.model_copy(update={"layers": (*begun.layers, *layers(p for p in grid if p not in swept))})
    rng = np.random.default_rng(1)
    drawn = [scaled(reference, 0.2, 1.0, rng) for _ in range(networks)]
    readings = tuple(NetworkReading(widths=w, **reading(network_ns(subject.at(w)))) for w in drawn)
    return plan, begun.model_copy(update={"networks": readings, "finished": True})
