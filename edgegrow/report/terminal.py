"""Tables of runs, profiles and targets for a terminal. Every figure stands beside its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgegrow.budget import Budget
from edgegrow.doctor import Check
from edgegrow.measure.protocol import Identity, Measurement, Profile
from edgegrow.targets import Target
from edgegrow.units import format_quantity

_NAMES = {
    "float_accuracy": "accuracy, float network",
    "accuracy": "accuracy, int8",
    "macs": "MACs",
    "ram": "RAM",
    "params": "parameters",
    "peak_activations": "peak activations",
    "flash": "file size",
    "latency": "latency",
    "idle_power": "power while idle",
    "load": "load time",
    "peak_memory": "memory of the process",
    "output_deviation": "outputs, off by",
    "mac_lanes": "MACs, padding included",
    "tflm_arena": "TFLM's arena, 32 bits",
    "processor_operators": "operators left to the processor",
}


_COUNTED = ("macs", "params", "instructions", "cycles", "operators")


BUDGETED = {
    "macs": "MACs",
    "params": "parameters",
    "latency_ms": "latency",
    "energy_mj": "energy",
    "ram_bytes": "RAM",
    "flash_bytes": "flash",
}


def measurement_text(measurement: Measurement) -> str:
    """Write a figure with its unit: ``90.12 %``, ``0.214 ms (median)``."""
    if measurement.unit == "fraction":
        return f"{100 * measurement.value:.2f} %"
    if measurement.unit == "bytes":
        return f"{measurement.value:,.0f} B"
    aggregation = "" if measurement.aggregation == "exact" else f" ({measurement.aggregation})"
    if measurement.unit in _COUNTED:
        return f"{measurement.value:,.0f}{aggregation}"
    return f"{measurement.value:,.4g} {measurement.unit}{aggregation}"


def identity_text(identity: Identity) -> str:
    """Write what ran a figure: ``litert 2.3.0, XNNPACK, 1 thread``; a compiler without its options."""
    runtime = " ".join(part for part in (identity.runtime, identity.version) if part)
    threads = f"{identity.threads} thread{'s' * (identity.threads > 1)}" if identity.threads else ""
    compiler = (identity.compiler or "").partition(" -")[0]
    meter = f"meter {identity.meter.split(',')[0]}" if identity.meter else ""
    return ", ".join(part for part in (meter, runtime, identity.kernels or "", compiler, threads) if part)


def new_table(title: str | None, *columns: str) -> Table:
    """Start a table; columns marked ``<`` are text, the others figures."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.removeprefix("<"), justify="left" if column.startswith("<") else "right")
    return table


def profile_table(profile: Profile, operators: bool = False) -> RenderableType:
    """Every figure of a profile, and what could not be had; on request those of each operator."""
    title = f"{profile.artifact.path} on {profile.target.name}"
    bands = any(m.error is not None for m in profile.measurements)
    table = new_table(title, "<figure", "value", *["error"] * bands, "<evidence", "<by")
    for m in profile.measurements:
        if ":" not in m.metric:
            # Of a C package flash is what the device holds, not a file.
            emulated = m.metric == "flash" and m.evidence != "measured"
            name = "flash" if emulated else _NAMES.get(m.metric, m.metric)
            error = ["" if m.error is None else f"±{100 * m.error:.0f} %"] * bands
            table.add_row(name, measurement_text(m), *error, m.evidence, identity_text(m.identity))
    for missing in profile.unavailable:
        table.add_row(missing.metric, "-", *[""] * bands, "unavailable", Text(missing.reason))
    footer = [Text(f"{m.metric}: {m.method}") for m in profile.measurements if m.error is not None]
    cpus = {m.identity.cpu for m in profile.measurements if m.identity.cpu}
    if cpus:
        footer.append(Text(f"processor: {', '.join(sorted(cpus))}"))
    tables = [table, operators_table(profile)] if operators else [table]
    return Group(*tables, *footer)


def operators_table(profile: Profile) -> RenderableType:
    """List the counts of each operator, or kind of instructions, and their shares of the whole."""
    found = [m for m in profile.measurements if ":" in m.metric and m.aggregation != "max"]
    units = list(dict.fromkeys(m.unit for m in found))
    table = new_table("in parts", "<part", *(title for unit in units for title in (unit, "share")))
    rows: dict[str, list[str]] = {}
    for m in found:
        whole = profile.find(m.unit)
        share = f"{100 * m.value / whole.value:.1f} %" if whole is not None and whole.value else ""
        rows.setdefault(m.metric.partition(":")[2], []).extend([f"{m.value:,}", share])
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def network_table(profile: Profile) -> RenderableType:
    """List what holds for the network whatever artifact it is in: the figures that no clock gave."""
    table = new_table("network", "<figure", "value", "<evidence", "<how")
    for m in profile.measurements:
        if _of_network(m):
            how = " ".join(part for part in (identity_text(m.identity), m.method and f"({m.method})") if part)
            table.add_row(_NAMES.get(m.metric, m.metric), measurement_text(m), m.evidence, how)
    return table


def artifacts_table(profiles: Mapping[str, Profile]) -> RenderableType:
    """Set a run's artifacts side by side: what was measured or emulated of each as a whole."""
    first = next(iter(profiles.values()))
    files = (Path(profile.artifact.path).name for profile in profiles.values())
    of_artifact = [m for p in profiles.values() for m in p.measurements if not _of_network(m)]
    measured = all(m.evidence == "measured" for m in of_artifact)
    title = f"artifacts, measured on {first.target.name}" if measured else f"artifacts on {first.target.name}"
    table = new_table(title, "<figure", *files, *["<evidence"] * (not measured))
    rows = dict.fromkeys(
        (m.metric, None if m.aggregation in ("exact", "median") else m.aggregation, m.evidence)
        for m in of_artifact
        if ":" not in m.metric
    )
    for metric, aggregation, evidence in rows:
        found = [p.find(metric, aggregation) for p in profiles.values()]
        cells = [measurement_text(m) if m is not None else "-" for m in found]
        table.add_row(_NAMES.get(metric, metric), *cells, *[evidence] * (not measured))
    table.add_section()
    ran = [p.find("latency") or p.find("instructions") for p in profiles.values()]
    table.add_row("runtime", *(identity_text(m.identity) if m is not None else "" for m in ran))
    accuracy = first.find("accuracy")
    footer = [] if measured or accuracy is None else [f"{_NAMES['accuracy']}: {accuracy.method}"]
    footer += [f"{missing.metric}: unavailable, {missing.reason}" for missing in first.unavailable]
    cpus = {m.identity.cpu for m in first.measurements if m.identity.cpu}
    return Group(table, *(Text(line) for line in [*footer, f"processor: {', '.join(sorted(cpus))}"]))


def device_table(profile: Profile) -> RenderableType:
    """List what an artifact takes on the device, without what holds for the network anyway."""
    kept = tuple(m for m in profile.measurements if not _of_network(m))
    return profile_table(profile.model_copy(update={"measurements": kept}))


def _of_network(measurement: Measurement) -> bool:
    simulated = measurement.metric == "accuracy" and measurement.evidence == "emulated"
    return simulated or measurement.metric in ("float_accuracy", "macs", "params", "peak_activations")


def budget_table(budget: Budget, delivered: Mapping[str, Measurement]) -> RenderableType:
    """Compare what was asked for with what was delivered, ``{metric: measurement}``."""
    table = new_table("budget", "<metric", "budget", "delivered", "used", "<evidence")
    for metric, limit in budget.limits.items():
        value = delivered[metric].value
        error = delivered[metric].error
        evidence = delivered[metric].evidence + (f" ±{100 * error:.0f} %" if error is not None else "")
        table.add_row(
            BUDGETED[metric],
            format_quantity(metric, limit),
            format_quantity(metric, value),
            used_text(value, limit),
            evidence,
        )
    return table


def used_text(value: float, limit: float) -> Text:
    """Write the share of a limit that is used, and whether that is too much."""
    used = f"{100 * value / limit:.1f} %"
    return Text(used, style="green") if value <= limit else Text(f"{used} MISSED", style="red")


def growth_table(events: Sequence[Mapping[str, object]]) -> RenderableType:
    """List the growth steps of a run: what was predicted, and what came of it."""
    title = "growth: change of the loss on training samples, and what training then won on validation samples"
    table = new_table(
        title, "step", "<chosen", "channels", "step size", "predicted", "measured", "won back", "<widths"
    )
    for event in events:
        channels, widths, blocks = event["channels"], event["widths"], event["blocks"]
        assert isinstance(channels, dict)
        assert isinstance(widths, dict)
        assert isinstance(blocks, list)
        table.add_row(
            str(event["step"]),
            str(event["allocation"]),
            f"+{sum(channels.values())}",
            str(event["step_size"]),
            f"{event['predicted_loss_change']:+.4f}",
            f"{event['realised_loss_change']:+.4f}",
            "fresh weights" if event["fresh"] else f"{event['won_back']:+.4f}",
            " ".join(map(str, widths.values())),
        )
    return table


def epochs_table(events: Sequence[Mapping[str, object]]) -> RenderableType:
    """List the epochs of a run, as measured in training."""
    columns = ("<stage", "steps", "rate", "train loss", "validation loss", "validation accuracy")
    table = new_table("epochs, measured in training", *columns)
    for event in events:
        table.add_row(
            str(event["stage"]),
            str(event["steps"]),
            f"{event['lr']:.4f}",
            f"{event['train_loss']:.4f}",
            f"{event['validation_loss']:.4f}",
            f"{100 * float(str(event['validation_accuracy'])):.2f} %",
        )
    return table


def targets_table(targets: Sequence[Target]) -> RenderableType:
    """One line a target."""
    table = new_table(None, "<name", "<kind", "<description")
    for target in targets:
        table.add_row(target.name, target.kind, target.description)
    return table


def doctor_table(checks: Sequence[Check]) -> RenderableType:
    """List what is installed, what is missing, and how to get it."""
    styles = {"ok": "green", "missing": "yellow", "broken": "red"}
    table = new_table(None, "<what", "<status", "<version", "<how to get it")
    for check in checks:
        status = Text(check.status, style=styles.get(check.status, ""))
        # As it is: rich would take the brackets of an extra for a style.
        table.add_row(check.name, status, Text(check.version or ""), Text(check.remedy or ""))
    return table
