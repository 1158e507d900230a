"""What all tests share."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a worker for every core; for what they start, too
import torch

from edgegrow import cli
from edgegrow.data import load_dataset
from edgegrow.measuring import Options
from edgegrow.training import deterministic

# Hypothesis fails an example that takes 0.2 s by its own default: on a busy machine any may.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A run that a shell has put in the background ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="let tests fail that would skip")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome = "failed"
    return report


@pytest.fixture(autouse=True)
def _repeatable():
    deterministic(threads=1)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _timed_briefly():
    """What is grown in this process is timed for 0.02 s instead of the 1 s at least that runs take."""

    def briefly(**asked):
        return Options(**{**asked, **({"seconds": 0.02} if "seconds" in asked else {})})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgegrow.profiling.Options", briefly)
        yield


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="session")
def ort_saturates():
    """Whether ONNX Runtime sums products of int8 in saturating int16: on x86 without VNNI."""
    information = Path("/proc/cpuinfo")
    vnni = information.exists() and "vnni" in information.read_text()
    return platform.machine() in ("x86_64", "AMD64") and not vnni


QUICK = [
    "--net",
    "mlp",
    "--budget",
    "macs=5k",
    "--epochs",
    "3",
    "--set",
    "grow.samples=64",
    "--set",
    "grow.steps=2",
]


@pytest.fixture
def run_cli(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgegrow", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A small real run, made once by a real process."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    command = [sys.executable, "-m", "edgegrow", "grow", *QUICK, "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder, done


def unfinished(text):
    return text[: text.rindex('{"event": "done"')]
