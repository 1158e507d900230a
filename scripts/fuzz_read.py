"""Read ten thousand damaged .tflite files, in processes that may use 500 MB and little time.

    python scripts/fuzz_read.py [--files 10000] [--seed 0]

Each file must be accepted or refused with an ``InputError`` of one line; what is accepted, and small enough,
must also run in the simulator. The files are mutations of our networks' files, of one with every operator,
and of the MLPerf Tiny models where ``../shared`` has them. Exits 1 where a process dies, hangs, or raises
anything else. Needs Linux and a source tree: the mutations are those of ``tests/deploy/mutations.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgegrow.deploy.read import read_tflite
from edgegrow.deploy.simulate import simulate
from edgegrow.errors import InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "deploy"))

from mutations import mutated, structure  # the path is set above

MEMORY_BYTES = 500_000_000
FILE_SECONDS = 5.0
BATCH = 250
SIMULATED_MACS, SIMULATED_ELEMENTS = 3_000_000, 100_000
"""Up to which an accepted graph is run; elements are those of its largest tensor."""


def originals(folder: Path) -> list[str]:
    """Write the files that are mutated; returns their names."""
    from foreign_files import MLPERF_TINY, every_operator
    from networks import CASES, NAMES, graph

    from edgegrow.deploy.tflite import tflite_bytes

    files = {"every-operator": tflite_bytes(every_operator())}
    files |= {
        name: tflite_bytes(graph(*case)) for name, case in zip(NAMES, CASES, strict=True) if "8x8" in name
    }
    files |= {path.stem: path.read_bytes() for path in sorted(MLPERF_TINY.glob("*.tflite"))}
    for name, data in files.items():
        (folder / f"{name}.tflite").write_bytes(data)
    return list(files)


def child(folder: Path, start: int, stop: int) -> None:
    """Read the mutations of some seeds; prints what became of them."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    files = [path.read_bytes() for path in sorted(folder.glob("*.tflite"))]
    places = [structure(data) for data in files]
    outcomes: Counter[str] = Counter()
    slowest, failures = 0.0, []
    for seed in range(start, stop):
        data = mutated(files, places, seed)
        begun = perf_counter()
        try:
            outcomes[outcome(data)] += 1
        except Exception as error:  # whatever it is, it is what we look for
            failures.append({"seed": seed, "error": f"{type(error).__name__}: {error}"})
        slowest = max(slowest, perf_counter() - begun)
    # Not getrusage, whose figure a child has from its parent.
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
    print(json.dumps({"outcomes": outcomes, "slowest_s": slowest, "failures": failures, "peak_bytes": peak}))


def outcome(data: bytes) -> str:
    """Name what reading one file ends with."""
    try:
        graph = read_tflite(data)
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError("a refusal of many lines") from error
        return type(error).__name__
    largest = max(prod(tensor.shape) for tensor in graph.tensors)
    if graph.macs > SIMULATED_MACS or largest > SIMULATED_ELEMENTS:
        return "accepted"
    simulate(graph, np.zeros(graph.input.shape, np.int8))
    return "accepted and run"


def batch(folder: Path, start: int, stop: int) -> dict[str, Any]:
    """Run a child; a death or a hang is a failure of its batch."""
    command = [sys.executable, __file__, "--child", str(folder), str(start), str(stop)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    failed = {"outcomes": {}, "slowest_s": 0.0, "peak_bytes": 0}
    seeds = f"{start} to {stop - 1}"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=FILE_SECONDS * (stop - start)
        )
    except subprocess.TimeoutExpired:
        return failed | {"failures": [{"seed": seeds, "error": "the process hangs"}]}
    if done.returncode:
        error = f"the process ended with {done.returncode}: {done.stderr[-300:]}"
        return failed | {"failures": [{"seed": seeds, "error": error}]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Mutate, read in batches, and write the results."""
    from results import table, write_results

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), *map(int, options.child[1:]))
        return
    begun = perf_counter()
    outcomes: Counter[str] = Counter()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = originals(folder)
        last = options.seed + options.files
        for start in range(options.seed, last, BATCH):
            results.append(batch(folder, start, min(start + BATCH, last)))
            outcomes.update(results[-1]["outcomes"])
            print(start, results[-1], file=sys.stderr)
    failures = [failure for result in results for failure in result["failures"]]
    contents = {
        "files": options.files,
        "seed": options.seed,
        "originals": names,
        "outcomes": dict(sorted(outcomes.items())),
        "failures": failures,
        "slowest_s": round(max(result["slowest_s"] for result in results), 3),
        "peak_bytes": max(result["peak_bytes"] for result in results),
        "memory_limit_bytes": MEMORY_BYTES,
        "seconds": round(perf_counter() - begun, 1),
    }
    lines = [
        "# Reading damaged .tflite files",
        "",
        f"Command: `python scripts/{Path(__file__).name}`. {options.files:,} mutations (flipped bits,",
        "numbers and offsets changed, pieces spliced,",
        f"bytes missing or too many, truncation; seeds from {options.seed}) of {len(names)} files: "
        f"{', '.join(names)}.",
        f"Processes of {BATCH} files with {MEMORY_BYTES // 10**6} MB of address space each.",
        "",
        *table(
            ["what became of it", "files"],
            [
                *([kind, f"{n:,}"] for kind, n in contents["outcomes"].items()),
                ["anything else", f"{len(failures)}"],
            ],
        ),
        "",
        f"Slowest file: {1000 * contents['slowest_s']:.0f} ms, with its run where it was accepted; largest "
        f"process: {contents['peak_bytes'] / 1e6:.0f} MB resident, with the interpreter and its libraries.",
    ]
    write_results("fuzz-read", contents, lines)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
