"""The command line as a user meets it: results on stdout, one line for each mistake, the exit codes."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgegrow import api
from edgegrow.config import resolve_config

from .conftest import unfinished
from .crashes import fingerprint
from .killed import killed_at


def test_a_run_leaves_everything_in_its_folder(finished_run):
    folder, done = finished_run
    names = {path.name for path in folder.iterdir()}
    wanted = {"config.toml", "history.jsonl", "checkpoints", "model.tflite", "model.onnx", "profile.json"}
    assert wanted <= names
    assert "Traceback" not in done.stderr
    assert "growth step 2" in done.stderr
    for word in ("accuracy, int8", "measured", "MACs", "5,000", "training: "):
        assert word in done.stdout
    events = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    growth = [event for event in events if event["event"] == "growth"]
    assert len(growth) == 2
    for event in growth:
        assert event["predicted_loss_change"] <= 0
        assert event["realised_loss_change"] == event["loss_after"] - event["loss_before"]
    assert events[-1]["event"] == "done"
    assert events[-1]["epochs_of_final_network"] <= 3.0
    assert 0.95 * 5000 <= events[-1]["costs"]["macs"] <= 5000


@pytest.mark.parametrize("budget", ["flash=9kB", "params=2k", "macs=40k,flash=6kB,params=1M"])
def test_every_kind_of_budget_is_kept_by_the_artifact_and_filled(budget, run_cli, tmp_path):
    options = ["--net", "dscnn", "--epochs", "2", "--set", "grow.samples=64", "--budget", budget]
    code, out, _ = run_cli("grow", *options, "--out", tmp_path / "run", "--json", "-q")
    result = json.loads(out)
    assert code == 0
    used = [result["delivered"][metric] / limit for metric, limit in result["budget"].items()]
    assert 0.95 <= max(used) <= 1
    if "flash_bytes" in result["delivered"]:
        assert result["delivered"]["flash_bytes"] == (tmp_path / "run" / "model.tflite").stat().st_size


def test_report_and_json_say_the_same(finished_run, run_cli):
    folder, done = finished_run
    code, table, _ = run_cli("report", folder)
    assert code == 0
    assert table == done.stdout
    code, short, _ = run_cli("report", folder, "-q")
    assert "budget" in short
    assert short in table
    assert "anneal" in run_cli("report", folder, "-v")[1]
    code, text, _ = run_cli("report", folder, "--json")
    result = json.loads(text)
    assert code == 0
    assert result["delivered"]["macs"] <= result["budget"]["macs"] == 5000
    for profile in result["profiles"].values():
        for measurement in profile["measurements"]:
            assert measurement["evidence"] in ("measured", "emulated", "predicted", "published")


def test_export_writes_the_same_bytes_again(finished_run, run_cli, tmp_path):
    folder, _ = finished_run
    code, out, _ = run_cli("export", folder, "--out", tmp_path, "-q")
    assert code == 0
    assert "model.tflite" in out
    for name in ("model.tflite", "model.onnx"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    code, out, _ = run_cli("export", folder, "--format", "onnx", "--out", tmp_path / "one", "--json", "-q")
    assert code == 0
    assert list(json.loads(out)["files"]) == [str(tmp_path / "one" / "model.onnx")]
    code, out, _ = run_cli("export", folder, "--format", "c", "--out", tmp_path / "bare", "-q")
    assert code == 0
    assert (tmp_path / "bare" / "c" / "src" / "model.c").is_file()


def test_export_with_cmsis_nn(finished_run, run_cli, tmp_path):
    pytest.importorskip("bakenn", reason="no CMSIS-NN: pip install edgegrow[cmsis]")
    options = ("--format", "c", "--kernels", "cmsis-nn", "--out", tmp_path)
    code, _, _ = run_cli("export", finished_run[0], *options, "-q")
    assert code == 0
    assert "arm_fully_connected_s8" in (tmp_path / "c" / "KERNELS.md").read_text()
    assert (tmp_path / "c" / "src" / "cmsis_nn" / "arm_fully_connected_s8.c").is_file()


def test_measure_prints_a_profile(finished_run, run_cli):
    folder, _ = finished_run
    code, out, _ = run_cli("measure", folder / "model.onnx", "--json", "-q")
    profile = json.loads(out)
    assert code == 0
    assert profile["schema"] == 1
    latency = [
        m for m in profile["measurements"] if m["metric"] == "latency" and m["aggregation"] == "median"
    ]
    assert latency[0]["evidence"] == "measured"
    assert len(latency[0]["samples"]) >= 50


def test_targets_and_doctor_answer(run_cli, tmp_path):
    assert "host" in run_cli("targets", "list")[1]
    code, shown, _ = run_cli("targets", "show", "host")
    assert code == 0
    file = tmp_path / "mine.toml"
    file.write_text(shown)
    assert run_cli("targets", "check", file)[0] == 0
    assert run_cli("targets", "check", file, "-q")[1] == ""
    assert json.loads(run_cli("targets", "check", file, "--json")[1])["name"] == "host"
    assert "host" in {target["name"] for target in json.loads(run_cli("targets", "list", "--json")[1])}
    assert "torch" in run_cli("doctor")[1]
    assert isinstance(json.loads(run_cli("doctor", "--json")[1]), list)


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, runpy; sys.argv = ['edgegrow', '--help']\n"
        "try: runpy.run_module('edgegrow', run_name='__main__')\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'tensorflow', 'sklearn', 'ai_edge_litert'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


MOMENTS = [("seed", 1.0), ("grow 1, gain", 0.5), ("grow 2, proportional", 1.0), ("anneal", 0.5),
           ("quantization-aware", 0.7)]  # fmt: skip


def configuration():
    return resolve_config(
        values={"net.name": "mlp", "budget": {"macs": 5e3}, "train.epochs": 3.0, "quantize.qat_epochs": 3},
        settings=("grow.samples=64", "grow.steps=2"),
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return api.grow(configuration(), tmp_path_factory.mktemp("whole") / "run").folder.path


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    left = killed_at(MOMENTS, configuration(), tmp_path_factory.mktemp("killed") / "runs")
    return dict(zip(MOMENTS, left, strict=True))


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment[0])
def test_a_killed_run_resumes_to_the_very_same_artifact(moment, killed, uninterrupted, run_cli):
    """SIGKILL in every stage; the same seed in another process gives the same bytes."""
    folder = killed[moment]
    assert not (folder / "model.tflite").exists()
    code, _, err = run_cli("grow", "--resume", folder, "-q")
    assert code == 0, err
    for name in ("model.tflite", "model.onnx"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes()
    assert fingerprint(folder) == fingerprint(uninterrupted)


def test_an_interrupt_ends_with_130_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "edgegrow", "grow", "--net=mlp", "--budget=macs=5k", "--epochs=9000",
         "--quiet", f"--out={folder}"],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        while not any(folder.glob("checkpoints/*.json")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "--resume" in err.splitlines()[-1]


def test_a_finished_run_is_read_back_by_resume(finished_run, run_cli):
    folder, done = finished_run
    before = (folder / "history.jsonl").read_bytes()
    code, out, _ = run_cli("grow", "--resume", folder)
    assert (code, out) == (0, done.stdout)
    assert (folder / "history.jsonl").read_bytes() == before


def test_an_unfinished_run_is_exported_with_a_warning_and_not_reported(finished_run, run_cli, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(finished_run[0], run)
    (run / "history.jsonl").write_text(unfinished((run / "history.jsonl").read_text()))
    code, _, err = run_cli("export", run, "--out", tmp_path / "out")
    assert code == 0
    assert "has not finished" in err
    code, _, err = run_cli("report", run)
    assert code == 2
    assert "--resume" in err


def test_what_a_users_code_prints_does_not_reach_the_results(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loud.py").write_text(
        "from torch import nn\n"
        "def net(shape, classes):\n"
        "    print('building')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, classes))\n"
    )
    options = ["--net", "loud:net", "--budget", "macs=1k", "--epochs", "2", "--set", "grow.samples=32"]
    code, out, err = run_cli("grow", *options, "--json")
    assert code == 0
    assert json.loads(out)["delivered"]["macs"] <= 1000
    assert "building" in err


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_reader_who_goes_is_no_failure_and_a_full_disk_is(arguments):
    command = [sys.executable, "-m", "edgegrow", "targets", "list", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output")


MLPERF_TINY = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlperf_tiny"


@pytest.mark.skipif(not MLPERF_TINY.is_dir(), reason="the MLPerf Tiny reference models are not here")
def test_models_whose_batch_is_left_open_are_measured(run_cli):
    """MLPerf Tiny's reference models, which TensorFlow wrote."""
    for file in sorted(MLPERF_TINY.glob("*.tflite")):
        code, out, _ = run_cli("measure", file, "--json", "-q")
        assert code == 0, file
        assert any(m["metric"] == "latency" for m in json.loads(out)["measurements"])
