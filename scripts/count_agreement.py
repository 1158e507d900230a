"""Whether counts of emulated targets agree: over repeats, and between this machine and a container.

    python scripts/count_agreement.py model.tflite model.onnx --targets raspberry-pi-3,raspberry-pi-4 \
        [--repeats N] [--ways emulator,container] [--results docs/results]

Prints a line for each artifact and target, and ends with 1 where LiteRT's counts are not all the same, the
medians of ONNX Runtime are further apart than 0.1 %, those of tflite-runtime than 0.3 %, or the gate finds a
profile worse than another of the same artifact. What a target has no runtime for is left out. With
``--results``, ``counts.md`` and ``counts.json`` are written there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

from results import table, write_results

from edgegrow.gate import gate
from edgegrow.measure.limits import ELSEWHERE, REPEATS, Limits
from edgegrow.measuring import measure_artifact
from edgegrow.targets import load_target

MOST_SPREAD = {"litert": 0.0, "tflite-runtime": ELSEWHERE, "onnxruntime": REPEATS}
"""Largest difference of medians, relative to the smallest."""


@dataclass(frozen=True)
class Agreement:
    """What came of counting one artifact for one target again and again."""

    target: str
    artifact: str
    runtime: str
    instructions: float
    mac_lanes: float
    ways: tuple[str, ...]
    profiles: int
    spread: float
    identities_equal: bool
    gated: int
    alarms: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether all counts are the same, as far as the runtime repeats."""
        return (
            self.spread <= MOST_SPREAD[self.runtime.split()[0]] and self.identities_equal and not self.alarms
        )


HEADER = ("target", "artifact", "runtime", "instructions, median", "mac lanes", "ways", "profiles",
          "medians within", "identities", "gate's alarms", "s each", "")  # fmt: skip


def row(found: Agreement) -> tuple[str, ...]:
    """Write it as a row of a table."""
    return (
        found.target,
        found.artifact,
        found.runtime,
        f"{found.instructions:,.0f}",
        f"{found.mac_lanes:,.0f}",
        ", ".join(found.ways),
        str(found.profiles),
        f"{100 * found.spread:.3f} %",
        "equal" if found.identities_equal else "differ",
        f"{found.alarms} of {found.gated}",
        f"{found.seconds:.1f}",
        "holds" if found.holds else "**fails**",
    )


def main() -> int:
    """Measure, compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--targets", default="raspberry-pi-4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", default="emulator,container")
    parser.add_argument("--results", type=Path, help="folder of counts.md and counts.json")
    arguments = parser.parse_args()
    agreements = []
    for target in arguments.targets.split(","):
        runtimes = load_target(target).runtime.names
        for artifact in arguments.artifacts:
            if artifact.suffix == ".onnx" and "onnxruntime" not in runtimes:
                continue
            found = count(artifact, target, arguments.ways.split(","), arguments.repeats)
            print(" | ".join(row(found)), flush=True)
            agreements.append(found)
    if arguments.results is not None:
        lines = [
            "# Counts of emulated targets",
            "",
            f"Command: `python scripts/count_agreement.py {' '.join(sys.argv[1:])}`.",
            "Instructions of an inference, emulated (QEMU's user mode with edgegrow's plugin), one thread;",
            "each profile's figure is the median of its inferences. Every profile is gated against every",
            "other one of the same artifact and target at the default limits.",
            "",
            *table(HEADER, [row(found) for found in agreements]),
        ]
        contents = {"agreements": [{**asdict(found), "holds": found.holds} for found in agreements]}
        write_results("counts", contents, lines, arguments.results)
    return 0 if all(found.holds for found in agreements) else 1


def count(artifact: Path, target: str, ways: list[str], repeats: int) -> Agreement:
    """Count an artifact's instructions again and again, and gate every profile against every other."""
    profiles, seconds = [], []
    for way in ways:
        for _ in range(repeats):
            before = time.monotonic()
            profiles.append(measure_artifact(artifact, target, way))
            seconds.append(time.monotonic() - before)
    counts = [profile.find("instructions") for profile in profiles]
    values = [count.value for count in counts]
    alarms = [bool(gate(one, other, Limits()).failures) for one, other in permutations(profiles, 2)]
    identity = counts[0].identity
    return Agreement(
        target=target,
        artifact=artifact.name,
        runtime=f"{identity.runtime} {identity.version}",
        instructions=statistics.median(values),
        mac_lanes=profiles[0].find("mac_lanes").value,
        ways=tuple(ways),
        profiles=len(profiles),
        spread=max(values) / min(values) - 1,
        identities_equal=len({count.identity for count in counts}) == 1,
        gated=len(alarms),
        alarms=sum(alarms),
        seconds=statistics.median(seconds),
    )


if __name__ == "__main__":
    sys.exit(main())
