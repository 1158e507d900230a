"""Profiles for tests of what compares and shows them."""

from edgegrow.measure.protocol import Artifact, Identity, Measurement, Profile, TargetRef, Unavailable

IDENTITY = Identity(runtime="litert", version="2.3.0", kernels="XNNPACK", threads=1, cpu="Cortex-A72")


def figure(metric, value, unit, evidence="emulated", **more):
    return Measurement(
        metric=metric, value=value, unit=unit, evidence=evidence, **{"identity": IDENTITY, **more}
    )


COUNTS = (
    figure("instructions", 1_000_000, "instructions"),
    figure("instructions:op_00_conv2d", 700_000, "instructions"),
    figure("instructions:op_01_linear", 300_000, "instructions"),
    figure("flash", 20_000, "bytes", "measured", identity=Identity()),
    figure("accuracy", 0.95, "fraction", trials=400),
    figure("latency", 4.0, "ms", "measured", aggregation="median", samples=tuple([3.99, 4.0, 4.01] * 20)),
    figure("latency", 4.5, "ms", "measured", aggregation="p99"),
)


def profile(*measurements, target="raspberry-pi-4", format="tflite", unavailable=(), sha="a"):
    return Profile(
        artifact=Artifact(path=f"model.{format}", sha256=sha * 64, format=format, bytes=20_000),
        target=TargetRef(name=target, sha256="b" * 64),
        measurements=measurements or COUNTS,
        unavailable=tuple(Unavailable(metric=metric, reason=reason) for metric, reason in unavailable),
    )


def changed(base, **values):
    """The profile with other values of some figures, by metric (``__`` is the operator's colon)."""
    named = {metric.replace("__", ":"): value for metric, value in values.items()}
    measurements = [
        m.model_copy(update={"value": named[m.metric]}) if m.metric in named else m for m in base.measurements
    ]
    return base.model_copy(update={"measurements": tuple(measurements)})
