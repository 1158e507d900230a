"""Whether counts of emulated targets agree: over repeats, and between this machine and a container.

    python scripts/count_agreement.py model.tflite model.onnx --targets raspberry-pi-3,raspberry-pi-4

Prints a line for each artifact and target, and ends with 1 where LiteRT's counts are not all the same, or the
medians of ONNX Runtime are further apart than 0.1 %. What a target has no runtime for is left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from edgegrow.measuring import measure_artifact
from edgegrow.targets import load_target

MOST_SPREAD = {"litert": 0.0, "tflite-runtime": 0.0, "onnxruntime": 1e-3}
"""Largest difference of medians, relative to the smallest."""


def main() -> int:
    """Measure, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--targets", default="raspberry-pi-4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", default="emulator,container")
    arguments = parser.parse_args()
    agree = True
    for target in arguments.targets.split(","):
        runtimes = load_target(target).runtime.names
        for artifact in arguments.artifacts:
            if artifact.suffix == ".onnx" and "onnxruntime" not in runtimes:
                continue
            agree &= _compare(artifact, target, arguments.ways.split(","), arguments.repeats)
    return 0 if agree else 1


def _compare(artifact: Path, target: str, ways: list[str], repeats: int) -> bool:
    found, seconds = [], []
    for way in ways:
        for _ in range(repeats):
            before = time.monotonic()
            found.append(measure_artifact(artifact, target, way))
            seconds.append(time.monotonic() - before)
    counts = [profile.find("instructions") for profile in found]
    values = [count.value for count in counts]
    spread = max(values) / min(values) - 1
    same = len({count.identity for count in counts}) == 1
    fine = spread <= MOST_SPREAD[counts[0].identity.runtime] and same
    print(
        f"{target:20} {artifact.name:16} {counts[0].identity.runtime:14} {statistics.median(values):>12,.0f} "
        f"instructions {found[0].find('mac_lanes').value:>10,} mac_lanes; {len(values)} medians within "
        f"{100 * spread:.3f} %; identities {'equal' if same else 'differ'}; "
        f"{statistics.median(seconds):.1f} s; "
        f"{counts[0].method.rsplit('; ')[-1]}{'' if fine else '  <-- disagrees'}",
        flush=True,
    )
    return fine


if __name__ == "__main__":
    sys.exit(main())
