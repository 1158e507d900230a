"""Quantities as people write them: ``20ms``, ``64kB``, ``1.2M``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from math import ceil, floor, log10

from edgegrow.errors import InputError

_COUNT = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "KiB": 1024.0, "MiB": 1024.0**2}
UNITS = {
    "macs": ("macs", _COUNT),
    "params": ("params", _COUNT),
    "latency": ("latency_ms", {"us": 1e-3, "ms": 1.0, "s": 1e3}),
    "energy": ("energy_mj", {"uJ": 1e-3, "mJ": 1.0, "J": 1e3}),
    "ram": ("ram_bytes", _BYTES),
    "flash": ("flash_bytes", _BYTES),
}
"""Budget key -> the metric it bounds (its unit in its name), and the units it may be given in."""

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def parse_quantity(key: str, text: str, of: str = "budget") -> float:
    """Read a budget's value in the unit that its metric's name carries.

    Parameters
    ----------
    key : str
        A key of `UNITS`.
    text : str
        A positive number and a unit, such as ``250k`` or ``64kB``. ``kB`` is 1000 bytes, ``KiB`` 1024.

    Raises
    ------
    InputError
        If the number or the unit is not one.

    Examples
    --------
    >>> parse_quantity("macs", "1.2M"), parse_quantity("ram", "64kB"), parse_quantity("latency", "500us")
    (1200000.0, 64000.0, 0.5)
    """
    units = UNITS[key][1]
    known = ", ".join(unit or "none" for unit in units)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InputError(f"{of} {key}={text}: not a positive number with a unit: write e.g. {example(key)}")
    if match[2] not in units:
        raise InputError(f"{of} {key}={text}: unknown unit '{match[2]}': use one of: {known}")
    value = float(match[1]) * units[match[2]]
    if not 0 < value < 1e18:
        raise InputError(f"{of} {key}={text}: out of range: it must be more than 0")
    return value


def example(key: str) -> str:
    """Return a budget of this key as it might be written."""
    return f"{key}=" + {"latency": "20ms", "energy": "5mJ", "ram": "64kB", "flash": "128kB"}.get(key, "250k")


def format_budget(limits: Mapping[str, float]) -> str:
    """Write bounds as `edgegrow.config.Budget.parse` reads them, rounded up: what they hold for keeps them.

    Examples
    --------
    >>> format_budget({"macs": 12000.5, "latency_ms": 0.0512345678, "ram_bytes": 4096})
    'macs=12001,latency=0.05124ms,ram=4096B'
    """
    keys = {metric: key for key, (metric, _) in UNITS.items()}
    return ",".join(f"{keys[metric]}={_rounded_up(metric, value)}" for metric, value in limits.items())


def _rounded_up(metric: str, value: float) -> str:
    """Write a whole number, or four digits of a time or an energy, with its unit."""
    unit = {"latency_ms": "ms", "energy_mj": "mJ"}.get(metric)
    if unit is None:
        return f"{ceil(value)}{'B' if metric.endswith('_bytes') else ''}"
    digits = max(0, 3 - floor(log10(value)))
    exact = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_CEILING)
    return f"{exact:f}{unit}"


def quantity_name(metric: str, value: float) -> str:
    """Name a file after a bound, exactly.

    Examples
    --------
    >>> quantity_name("macs", 15e3), quantity_name("latency_ms", 0.5), quantity_name("ram_bytes", 64e3)
    ('macs-15000', 'latency-0.5ms', 'ram-64000B')
    """
    key = next(key for key, (known, _) in UNITS.items() if known == metric)
    unit = {"latency": "ms", "energy": "mJ", "ram": "B", "flash": "B"}.get(key, "")
    return f"{key}-{Decimal(repr(float(value))).normalize():f}{unit}"


def format_quantity(metric: str, value: float) -> str:
    """Write a metric's value for people: ``248,954``, ``16,752 B``, ``4.79 ms``."""
    if metric.endswith("_bytes"):
        return f"{value:,.0f} B"
    for suffix, unit in (("_ms", "ms"), ("_mj", "mJ")):
        if metric.endswith(suffix):
            return f"{value:,.3g} {unit}"
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"
