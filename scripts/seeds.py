"""Runs of ``edgegrow grow``, one a seed: resumed where they stopped, and not made twice."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PROCESSES = 2


def grow_seeds(options: Sequence[str], seeds: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Grow with each seed in a process of its own, two at a time.

    Parameters
    ----------
    options : sequence of str
        Of ``edgegrow grow``, but for ``--seed`` and ``--out``.
    seeds : sequence of int
    folder : Path
        Where the run folders ``seed-N`` are, or will be.

    Returns
    -------
    list of dict
        What ``--json`` prints of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(lambda seed: _grow(options, seed, folder / f"seed-{seed}"), seeds))


def _grow(options: Sequence[str], seed: int, run: Path) -> dict[str, Any]:
    edgegrow = [sys.executable, "-m", "edgegrow"]
    if (run / "profile.json").exists():
        command = [*edgegrow, "report", str(run), "--json"]
    elif (run / "config.toml").exists():
        command = [*edgegrow, "grow", "--resume", str(run), "--json"]
    else:
        command = [*edgegrow, "grow", *options, "--seed", str(seed), "--out", str(run), "--json"]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def figure(result: dict[str, Any], profile: str, metric: str, evidence: str = "measured") -> float:
    """Find a figure of a run's profile of an artifact."""
    return next(
        float(m["value"])
        for m in result["profiles"][profile]["measurements"]
        if m["metric"] == metric and m["evidence"] == evidence
    )


def identity(results: Sequence[dict[str, Any]], folder: Path, seeds: Sequence[int]) -> str:
    """Tell with what all runs were made and measured: runtimes, commit, compilers, processor."""
    found = [m["identity"] for p in results[0]["profiles"].values() for m in p["measurements"]]
    runtimes = dict.fromkeys(f"{i['runtime']} {i['version']}" for i in found if i["runtime"])
    compilers = dict.fromkeys(i["compiler"] for i in found if i["compiler"])
    configs = [tomllib.loads((folder / f"seed-{seed}" / "config.toml").read_text()) for seed in seeds]
    commits = dict.fromkeys(config["versions"]["edgegrow_commit"] for config in configs)
    cpu = next(i["cpu"] for i in found if i["cpu"])
    return f"{', '.join((*runtimes, *compilers))} (commit {', '.join(commits)}); {cpu}, 1 thread."
