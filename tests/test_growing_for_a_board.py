"""Growing for a microcontroller: promises kept in the emulator, runs resumed, mistakes in one line."""

import importlib.util
import json
import re

import pytest

from edgegrow import api
from edgegrow.config import Budget, resolve_config
from edgegrow.listener import Silent
from edgegrow.measure.protocol import Profile

for name in ("ziglang", "unicorn", "capstone"):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install edgegrow[mcu]", allow_module_level=True)

BUDGET = "latency=0.25ms,ram=4kB,flash=64kB"
SETTINGS = ("grow.steps=2", "grow.samples=64", "grow.allocations=['proportional']")


def config():
    values = {"data.name": "digits", "net.name": "mlp", "target": "nucleo-l4r5zi", "train.epochs": 3.0,
              "budget": Budget.parse(BUDGET).limits}  # fmt: skip
    return resolve_config(values=values, settings=SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Calibrations are kept here, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return api.grow(config(), tmp_path_factory.mktemp("runs") / "whole")


def test_every_budget_is_kept_and_the_scarcest_is_used(run):
    limits = run.config.budget.limits
    costs = run.costs()
    used = {metric: costs[metric] / limit for metric, limit in limits.items()}
    assert 0.95 <= max(used.values()) <= 1
    run.check_budget()
    evidence = {metric: m.evidence for metric, m in run.delivered().items()}
    assert evidence == {"latency_ms": "predicted", "ram_bytes": "emulated", "flash_bytes": "emulated"}
    profile = Profile.read(run.folder.path / "profile.json")
    assert profile.find("agreement").value == 1
    assert profile.find("latency").error > 0
    assert 0 <= profile.find("scratch").value <= profile.find("arena").value
    assert profile.find("tflm_arena").value > profile.find("arena").value
    assert profile.artifact.format == "c"
    assert (run.folder.path / "c" / "src" / "model.c").is_file()
    assert (run.folder.path / "model.tflite").is_file()
    assert not (run.folder.path / "model.onnx").exists()


def test_every_step_was_tried_in_the_emulator(run):
    limits = run.config.budget.limits
    for step in run.folder.history("growth"):
        assert step["checked"]
        # After the last try the model agrees with the emulator where the choice was taken.
        assert step["costs"] in [pytest.approx(tried, rel=0.02) for tried in step["checked"]]
        assert all(step["costs"][metric] <= limit for metric, limit in limits.items())


def test_what_was_delivered_is_measured_to_be_the_same(run, run_cli):
    code, out, err = run_cli("measure", run.folder.path / "c", "--target", "nucleo-l4r5zi", "--json", "-q")
    assert code == 0, err
    again = Profile.model_validate_json(out)
    for metric in ("latency", "ram", "flash", "instructions"):
        assert again.find(metric).value == run.profiles["c"].find(metric).value


def test_a_resumed_run_delivers_the_same_package(run, tmp_path):
    class Impatient(Silent):
        def say(self, line):
            if line.startswith("growth step 2"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.grow(config(), tmp_path / "run", Impatient())
    resumed = api.resume(tmp_path / "run")
    for name in ("model.tflite", "c/src/model.c", "c/src/model.h"):
        assert (tmp_path / "run" / name).read_bytes() == (run.folder.path / name).read_bytes()
    assert resumed.costs() == run.costs()


def test_report_shows_the_figures_of_the_board(run, run_cli):
    code, out, _ = run_cli("report", run.folder.path)
    assert code == 0
    assert "±" in out
    assert "latency" in out
    assert "nucleo-l4r5zi" in out
    code, out, _ = run_cli("report", run.folder.path, "--json")
    assert json.loads(out)["delivered"] == run.costs()


def test_export_writes_what_the_run_has_written(run, run_cli, tmp_path):
    code, _, err = run_cli("export", run.folder.path, "--out", tmp_path)
    assert code == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "model.tflite"]
    assert (tmp_path / "c/src/model.c").read_bytes() == (run.folder.path / "c/src/model.c").read_bytes()


def test_the_boards_memory_is_a_limit_too(run_cli, tmp_path):
    shown = run_cli("targets", "show", "nucleo-l4r5zi")[1]
    target = tmp_path / "small.toml"
    target.write_text(re.sub(r"flash_bytes = \d+", "flash_bytes = 16000", shown))
    settings = [word for setting in (*SETTINGS, "grow.steps=1") for word in ("--set", setting)]
    # The budget asks for more than there is.
    code, _, err = run_cli("grow", "--net", "mlp", "--target", target, "--budget", "macs=30k,flash=1MB",
                           "--epochs", "3", "--out", tmp_path / "run", *settings, "-q")  # fmt: skip
    assert code == 0, err
    profile = Profile.read(tmp_path / "run" / "profile.json")
    assert 12000 < profile.find("flash").value <= 16000


@pytest.mark.parametrize(
    ("target", "budget", "message"),
    [
        ("nucleo-h7a3zi", "latency=1ms", "nucleo-h7a3zi' has no calibrated cycle model"),
        ("nrf5340dk", "latency=1ms,energy=1mJ", "no power figure"),
        ("ethos-u55-128", "flash=64kB", "cannot be grown for it"),
        ("nucleo-l4r5zi", "flash=2kB", "budget flash_bytes: impossible"),
        ("nucleo-l4r5zi", "ram=100", "budget ram_bytes: impossible"),
        ("host", "energy=1mJ", "no cost model for it"),
        ("raspberry-pi-4", "latency=1ms", "no cost model for it"),
    ],
)
def test_impossible_budgets_end_before_training(target, budget, message, run_cli, tmp_path):
    code, out, err = run_cli("grow", "--net", "mlp", "--target", target, "--budget", budget,
                             "--out", tmp_path / "run", "-q")  # fmt: skip
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
