"""What users get wrong: one line that says so, exit code 2, and nothing left behind."""

import json
import shutil
import sys

import numpy as np
import pytest

from .conftest import QUICK, unfinished


def wrong_labels(folder):
    np.savez(folder / "d.npz", x=np.zeros((90, 1, 8, 8), np.float32), y=np.repeat([0, 1, -2], 30))
    return ["grow", "--data", folder / "d.npz", *QUICK]


def corrupt_checkpoint(folder, finished):
    run = folder / "copy"
    shutil.copytree(finished, run)
    history = run / "history.jsonl"
    history.write_text(unfinished(history.read_text()))
    newest = max((run / "checkpoints").glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)
    return ["grow", "--resume", run]


def unsupported_operator(folder):
    (folder / "odd.py").write_text(
        "from torch import nn\n"
        "def net(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ELU(), nn.Linear(8, classes))\n"
    )
    return ["grow", "--net", "odd:net", "--budget", "macs=5k"]


def truncated(folder, finished):
    file = folder / "half.tflite"
    file.write_bytes((finished / "model.tflite").read_bytes()[:700])
    return ["measure", file]


def edited(path, make):
    """A copy of the finished run with one of its files edited, and not finished any more."""

    def arguments(folder, finished):
        run = folder / "copy"
        shutil.copytree(finished, run)
        history = run / "history.jsonl"
        history.write_text(unfinished(history.read_text()))
        file = max(run.glob(path))
        file.write_text(make(file.read_text()))
        return ["grow", "--resume", run]

    return arguments


def without_checkpoints(folder, finished):
    shutil.copytree(finished, folder / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    return ["export", folder / "copy"]


def damaged_profile(folder, finished):
    run = folder / "copy"
    shutil.copytree(finished, run)
    file = run / "profile.json"
    profile = json.loads(file.read_text())
    profile["measurements"] = [m for m in profile["measurements"] if m["metric"] != "macs"]
    file.write_text(json.dumps(profile))
    return ["report", run]


def network(body):
    """A user's network whose module of the file ``own.py`` has this body."""

    def arguments(folder, finished):
        (folder / "own.py").write_text(f"import sys\nfrom torch import nn\n{body}")
        sys.modules.pop("own", None)
        return ["grow", "--net", "own:net", "--budget", "macs=20k"]

    return arguments


SEVEN = (
    "def net(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Linear(9, 7))\n"
)
FROZEN = (
    "def net(shape, classes):\n"
    "    m = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Linear(9, 10))\n"
    "    m[1].weight.requires_grad_(False)\n    return m\n"
)
FAILING = (
    "def net(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(63, 9), nn.Linear(9, 10))\n"
)
HOOKED = (
    "def net(shape, classes):\n"
    "    m = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Linear(9, 10))\n"
    "    m[1].register_forward_hook(lambda layer, inputs, output: output * 2)\n    return m\n"
)
EXITING = "def net(shape, classes):\n    sys.exit(3)\n"

OVER = ["grow", "--net", "mlp", "--ladder"]

MISTAKES = {
    "unknown data set": (lambda f, r: ["grow", "--data", "fashion", *QUICK], "fashion-mnist"),
    "missing file": (lambda f, r: ["grow", "--data", f / "none.npz", *QUICK], "none.npz"),
    "wrong budget unit": (lambda f, r: ["grow", "--budget", "macs=3ms"], "unknown unit 'ms'"),
    "impossible budget": (lambda f, r: ["grow", "--net", "dscnn", "--budget", "macs=100"], "impossible"),
    "budget without a cost model": (lambda f, r: ["grow", "--budget", "energy=5mJ"], "no cost model"),
    "an impossible rung": (
        lambda f, r: ["grow", "--net", "dscnn", "--ladder", "macs=100,30k"],
        "rung macs-100: budget macs: impossible",
    ),
    "a ladder of one rung": (lambda f, r: ["grow", "--ladder", "macs=5k"], "two rungs or more"),
    "equal rungs": (lambda f, r: ["grow", "--ladder", "macs=5k,5000"], "given twice"),
    "a ladder of an unknown metric": (lambda f, r: ["grow", "--ladder", "speed=5,6"], "ladder 'speed=5,6'"),
    "a ladder of two metrics": (
        lambda f, r: ["grow", "--ladder", "macs=5k,6k,flash=9kB"],
        "it bounds one metric",
    ),
    "a ladder in wrong units": (lambda f, r: ["grow", "--ladder", "latency=5,6"], "unknown unit ''"),
    "a ladder and a budget of one metric": (
        lambda f, r: ["grow", "--ladder", "macs=5k,6k", "--budget", "macs=6k"],
        "leave it out of the budget",
    ),
    "a ladder without a cost model": (lambda f, r: ["grow", "--ladder", "energy=5mJ,6mJ"], "no cost model"),
    "a ladder and a goal": (
        lambda f, r: ["grow", "--ladder", "macs=5k,6k", "--goal", "accuracy=90%"],
        "ladder and goal",
    ),
    "a target twice": (
        lambda f, r: [*OVER, "target=host,raspberry-pi-4,host", "--budget", "macs=5k"],
        "target host is given twice",
    ),
    "a ladder of one target": (lambda f, r: [*OVER, "target=host", "--budget", "macs=5k"], "two targets or"),
    "a way to a ladder of targets": (
        lambda f, r: [*OVER, "target=host,esp32-c3", "--budget", "macs=5k", "--via", "ssh://pi@board"],
        "via 'ssh://pi@board': every target is reached as its file says: leave it out",
    ),
    "a target beside a ladder of them": (
        lambda f, r: [*OVER, "target=host,esp32-c3", "--budget", "macs=5k", "--target", "host"],
        "target 'host': the ladder's rungs are targets: leave it out",
    ),
    "a ladder with an unknown target": (
        lambda f, r: [*OVER, "target=host,raspbery-pi-4", "--budget", "macs=5k"],
        "did you mean raspberry-pi-4",
    ),
    "a ladder with a target that has no name": (
        lambda f, r: [*OVER, "target=host,", "--budget", "macs=5k"],
        "'' is no target's name",
    ),
    "a ladder of targets and limits": (
        lambda f, r: [*OVER, "target=host,latency=5ms", "--budget", "macs=5k"],
        "put the limits into --budget",
    ),
    "a ladder of targets without a budget": (
        lambda f, r: [*OVER, "target=host,esp32-c3"],
        "budget: none given: state what every target keeps",
    ),
    "a ladder of targets and a goal": (
        lambda f, r: [*OVER, "target=host,esp32-c3", "--budget", "macs=5k", "--goal", "accuracy=90%"],
        "ladder and goal",
    ),
    "a ladder with an NPU": (
        lambda f, r: [*OVER, "target=ethos-u55-128,host", "--budget", "macs=5k"],
        "target ethos-u55-128: networks cannot be grown for it yet",
    ),
    "a ladder with a board that has no cycle model": (
        lambda f, r: [*OVER, "target=esp32-c3,nucleo-l4r5zi", "--budget", "latency=5ms"],
        "target 'esp32-c3' has no calibrated cycle model",
    ),
    "an impossible target": (
        lambda f, r: [*OVER, "target=raspberry-pi-4,host", "--budget", "macs=100"],
        "rung host: budget macs: impossible",
    ),
    "a goal without a budget": (lambda f, r: ["grow", "--goal", "accuracy=90%"], "budget: none given"),
    "a goal of 150 %": (lambda f, r: ["grow", *QUICK, "--goal", "accuracy=150%"], "at most 100 %"),
    "a goal of 90": (lambda f, r: ["grow", *QUICK, "--goal", "accuracy=90"], "out of range"),
    "a goal of something else": (lambda f, r: ["grow", *QUICK, "--goal", "loss=0.1"], "write accuracy=90%"),
    "a goal with inherited weights": (
        lambda f, r: ["grow", *QUICK, "--goal", "accuracy=90%", "--set", "grow.weights=inherited"],
        "no weights to inherit",
    ),
    "a goal with resume": (
        lambda f, r: ["grow", "--resume", r, "--goal", "accuracy=90%"],
        "leave the other options out",
    ),
    "negative epochs": (lambda f, r: ["grow", "--budget", "macs=5k", "--epochs", "-3"], "train.epochs"),
    "unwritable folder": (lambda f, r: ["grow", *QUICK, "--out", "/proc/run"], "/proc/run"),
    "corrupt checkpoint": (corrupt_checkpoint, "damaged"),
    "a hook": (network(HOOKED), "layer 1 (Linear): it has a forward hook (<lambda>)"),
    "unsupported operator": (unsupported_operator, "ELU"),
    "label out of range": (wrong_labels, "-2"),
    "truncated model": (truncated, "half.tflite"),
    "model of another kind": (lambda f, r: ["measure", r / "config.toml"], ".tflite"),
    "folder in use": (lambda f, r: ["grow", *QUICK, "--out", r], "--resume"),
    "not a run": (lambda f, r: ["report", f], "not a run folder"),
    "resume with options": (
        lambda f, r: ["grow", "--resume", r, "--seed", "3"],
        "leave the other options out",
    ),
    "unknown option": (lambda f, r: ["grow", "--bugdet", "macs=5k"], "--bugdet"),
    "unknown target": (lambda f, r: ["grow", *QUICK, "--target", "hots"], "host"),
    "unknown format": (lambda f, r: ["export", r, "--format", "pdf"], "pdf"),
    "unknown kernels": (
        lambda f, r: ["export", r, "--format", "c", "--kernels", "cmsis", "--out", f],
        "cmsis-nn",
    ),
    "kernels of no package": (lambda f, r: ["export", r, "--kernels", "cmsis-nn", "--out", f], "--format c"),
    "kernels from nowhere": (
        lambda f, r: ["export", r, "--format", "c", "--kernels", f"cmsis-nn:{f / 'none'}", "--out", f],
        "no such folder",
    ),
    "not a width": (lambda f, r: ["grow", *QUICK, "--set", "net.widths=[-4,3]"], "net.widths"),
    "absurd widths": (lambda f, r: ["grow", *QUICK, "--set", "net.widths=[9000000000000,9]"], "net mlp"),
    "too long a name": (lambda f, r: ["grow", *QUICK, "--out", "a" * 300], "File name too long"),
    "a folder of something else": (lambda f, r: ["grow", *QUICK, "--out", r / "checkpoints"], "not empty"),
    "edited checkpoint": (
        edited("checkpoints/*.json", lambda t: t.replace('"growth_steps": 2', '"growth_steps": -7')),
        "damaged",
    ),
    "edited history": (edited("history.jsonl", lambda t: t.replace('"lr"', '"rl"')), "line 2 is damaged"),
    "no checkpoints left": (without_checkpoints, "its checkpoints are gone: grow anew"),
    "cut profile": (damaged_profile, "no figure for macs"),
    "wrong number of classes": (network(SEVEN), "returns (7,)"),
    "frozen parameters": (network(FROZEN), "1.weight is frozen"),
    "a network that fails": (network(FAILING), "shapes cannot be multiplied"),
    "a network that exits": (network(EXITING), "SystemExit"),
    "no network": (network("def net(shape, classes):\n    return 5\n"), "returned int"),
    "the host in an emulator": (
        lambda f, r: ["measure", r / "model.tflite", "--via", "emulator"],
        "target host: it has no soc.core that could be emulated",
    ),
    "a device that is not the target": (
        lambda f, r: ["measure", r / "model.tflite", "--target", "raspberry-pi-2", "--via", "local", "-q"],
        "the target's processor has CPU part 0xc07",
    ),
    "a serial line to a Linux board": (
        lambda f, r: ["measure", r / "model.tflite", "--target", "raspberry-pi-4", "--via", "serial:/dev/x"],
        "raspberry-pi-4 (linux) cannot be measured so: use",
    ),
    "an address of this machine": (
        lambda f, r: ["measure", r / "model.tflite", "--via", "local:here"],
        "target host (linux) cannot be measured so: use local",
    ),
    "a way that is none": (
        lambda f, r: ["measure", r / "model.tflite", "--target", "rp2040", "--via", "telepathy"],
        "use emulator",
    ),
    "an .onnx file on a microcontroller": (
        lambda f, r: ["measure", r / "model.onnx", "--target", "rp2040"],
        "give a .tflite file, or a C package",
    ),
    "threads on a microcontroller": (
        lambda f, r: ["measure", r / "model.tflite", "--target", "rp2040", "--threads", "2"],
        "--threads: it means nothing",
    ),
    "a compiler for the host": (
        lambda f, r: ["measure", r / "model.tflite", "--compiler", "zig"],
        "--compiler: it means nothing",
    ),
    "an unknown compiler": (
        lambda f, r: ["measure", r / "model.tflite", "--target", "rp2040", "--compiler", "cc", "-q"],
        "choose zig or gcc",
    ),
    "a folder on the host": (lambda f, r: ["measure", r], "it is a directory"),
    "a folder that is no package": (lambda f, r: ["measure", r, "--target", "rp2040"], "no model.h"),
    "a missing file for a microcontroller": (
        lambda f, r: ["measure", f / "none.tflite", "--target", "rp2040"],
        "none.tflite: no such file",
    ),
    "a missing file for an NPU": (
        lambda f, r: ["measure", f / "none.tflite", "--target", "ethos-u55-128", "-q"],
        "none.tflite",
    ),
    "missing configuration": (lambda f, r: ["grow", f / "none.toml"], "none.toml"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake, run_cli, finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, word = MISTAKES[mistake]
    arguments = make(tmp_path) if make.__code__.co_argcount == 1 else make(tmp_path, finished_run[0])
    code, out, err = run_cli(*arguments)
    assert code == 2
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    assert word in line
    assert not (tmp_path / "runs").exists()
