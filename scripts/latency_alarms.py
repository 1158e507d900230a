"""How often the gate takes the noise of a clock for a slower artifact, and a slower artifact for noise.

    python scripts/latency_alarms.py MODEL ... [--repeats 24] [--results docs/results] [--name NAME]

Measures every artifact on this machine again and again, in turns, and gates each profile against each other
one of the same artifact under several limits of latency: every failure is a false alarm. Then the same pairs
with all samples of the candidate made 10 % longer: every pass is a slower artifact that was missed. Tells
whether the processors were busy. With ``--results``, ``NAME.md`` and ``NAME.json`` are written there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

from results import table, write_results

from edgegrow.gate import gate
from edgegrow.measure.limits import Limits
from edgegrow.measure.protocol import Profile
from edgegrow.measuring import measure_artifact

LIMITS = ("1%", "2%", "5%", "10%")
SLOWER = 1.1
"""What the samples of a slower artifact are multiplied by."""


@dataclass(frozen=True)
class Alarms:
    """What the gate made of the profiles of one artifact under one limit, as shares of all pairs."""

    artifact: str
    runtime: str
    limit: str
    profiles: int
    pairs: int
    median_ms: float
    furthest: float
    false_alarms: float
    found: float


HEADER = ("artifact", "runtime", "profiles", "median, ms", "furthest profile", "limit", "pairs",
          "false alarms", f"found {100 * (SLOWER - 1):.0f} % slower")  # fmt: skip


def row(one: Alarms) -> tuple[str, ...]:
    """Write it as a row of a table."""
    return (
        one.artifact,
        one.runtime,
        str(one.profiles),
        f"{one.median_ms:.4f}",
        f"{100 * one.furthest:+.1f} %",
        one.limit,
        str(one.pairs),
        f"{100 * one.false_alarms:.1f} %",
        f"{100 * one.found:.1f} %",
    )


def main() -> None:
    """Measure, gate, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=24)
    parser.add_argument("--results", type=Path, help="folder of NAME.md and NAME.json")
    parser.add_argument("--name", default="latency-alarms")
    arguments = parser.parse_args()
    profiles: dict[Path, list[Profile]] = {artifact: [] for artifact in arguments.artifacts}
    busy = []
    for number in range(arguments.repeats):
        for artifact, made in profiles.items():
            made.append(measure_artifact(artifact))
            busy.append(os.getloadavg()[0])
        print(f"{number + 1} of {arguments.repeats}: load {busy[-1]:.1f}", file=sys.stderr)
    cpu = next(iter(profiles.values()))[0].find("latency").identity.cpu
    alarms = [judged(artifact, made, limit) for artifact, made in profiles.items() for limit in LIMITS]
    lines = [
        "# The gate on measured latencies",
        "",
        f"Command: `python scripts/latency_alarms.py {' '.join(sys.argv[1:])}`.",
        f"Measured on this machine ({cpu}) with one thread, the artifacts in turns; "
        f"{os.cpu_count()} processors, load {min(busy):.1f} to {max(busy):.1f}, the measurement included.",
        "Each profile is gated against each other one of its artifact: every failure is a false alarm.",
        f"A slower artifact is the same profile with all samples {SLOWER} times as long.",
        "",
        *table(HEADER, [row(one) for one in alarms]),
    ]
    if arguments.results is None:
        print("\n".join(lines))
    else:
        contents = {"cpu": cpu, "load": [min(busy), max(busy)], "alarms": [asdict(one) for one in alarms]}
        write_results(arguments.name, contents, lines, arguments.results)


def judged(artifact: Path, profiles: list[Profile], limit: str) -> Alarms:
    """Gate every profile against every other one."""
    limits = Limits.parse(f"latency={limit}")
    pairs = list(permutations(profiles, 2))
    latencies = [profile.find("latency") for profile in profiles]
    medians = [latency.value for latency in latencies]
    middle = statistics.median(medians)
    return Alarms(
        artifact=str(artifact),
        runtime=f"{latencies[0].identity.runtime} {latencies[0].identity.version}",
        limit=limit,
        profiles=len(profiles),
        pairs=len(pairs),
        median_ms=middle,
        furthest=max((median / middle - 1 for median in medians), key=abs),
        false_alarms=statistics.fmean(alarms(one, other, limits) for one, other in pairs),
        found=statistics.fmean(alarms(one, slowed(other), limits) for one, other in pairs),
    )


def alarms(baseline: Profile, candidate: Profile, limits: Limits) -> bool:
    """Whether the gate fails the candidate's latency."""
    return any(row.metric == "latency" for row in gate(baseline, candidate, limits).failures)


def slowed(profile: Profile) -> Profile:
    """Make all inferences longer."""
    longer = [
        m.model_copy(update={"value": SLOWER * m.value, "samples": tuple(SLOWER * t for t in m.samples)})
        if m.metric == "latency"
        else m
        for m in profile.measurements
    ]
    return profile.model_copy(update={"measurements": tuple(longer)})


if __name__ == "__main__":
    main()
