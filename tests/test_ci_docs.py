"""docs/ci.md as it would run: its YAML against the services' schemas, its shell lines with an emulator."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgegrow.deploy.tflite import write_tflite

from .deploy.c_packages import Layers

yaml = pytest.importorskip("ruamel.yaml", reason="pip install edgegrow[dev]")
pytest.importorskip("check_jsonschema", reason="pip install edgegrow[dev]")

PAGE = (Path(__file__).parents[1] / "docs" / "ci.md").read_text(encoding="utf-8")
GITHUB, GITLAB = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

needs_emulator = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ziglang", "unicorn", "capstone"))),
    reason="no emulator of microcontrollers: pip install edgegrow[mcu]",
)

DOCKER = """#!/usr/bin/env bash
# Stands in for `docker run OPTIONS --entrypoint COMMAND IMAGE ARGUMENTS` where there is neither.
set -eu
[ "$1" = run ]
while [ "$1" != --entrypoint ]; do shift; done
command=$2 image=$3
shift 3
[ "$image" = stub/edgegrow-ci:0 ]
exec "$command" "$@"
"""


def parsed(text):
    return yaml.YAML(typ="safe").load(text)


@pytest.mark.parametrize(("text", "schema"), [(GITHUB, "github-workflows"), (GITLAB, "gitlab-ci")])
def test_the_services_schemas_accept_it(text, schema, tmp_path):
    def check(content):
        file = tmp_path / "ci.yml"
        file.write_text(content)
        command = [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            f"vendor.{schema}",
            str(file),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = check(text)
    assert done.returncode == 0, done.stdout
    assert check(text.replace("script:", "scrip:").replace("runs-on:", "run-on:")).returncode != 0


def test_what_github_restores_is_what_it_saves():
    steps = parsed(GITHUB)["jobs"]["gate"]["steps"]
    actions = [step.get("uses", "") for step in steps]
    for action in filter(None, actions):
        assert re.fullmatch(r"actions/(checkout|cache/restore|cache/save|upload-artifact)@v\d+", action)
    restore, save = (steps[actions.index(f"actions/cache/{do}@v5")] for do in ("restore", "save"))
    assert restore["with"]["path"] == save["with"]["path"]
    assert restore["with"]["key"] == save["with"]["key"]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert save["if"] == "github.ref == 'refs/heads/main'"
    assert actions.index(save["uses"]) > next(
        i for i, step in enumerate(steps) if "gate" in step.get("run", "")
    )


def test_gitlab_writes_the_cache_on_the_default_branch_alone():
    job = parsed(GITLAB)["edgegrow"]
    policies = {rule["if"]: rule["variables"]["CACHE_POLICY"] for rule in job["rules"]}
    assert policies == {
        "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH": "pull-push",
        '$CI_PIPELINE_SOURCE == "merge_request_event"': "pull",
    }
    assert job["cache"]["policy"] == "$CACHE_POLICY"
    assert all(file in " ".join(job["script"]) for file in job["cache"]["paths"])
    assert job["artifacts"]["reports"]["junit"] in " ".join(job["script"])


@pytest.fixture
def shell(tmp_path):
    """Run lines as a CI service does: each must succeed, in the checkout, with docker and edgegrow there."""
    commands, checkout = tmp_path / "bin", tmp_path / "checkout"
    commands.mkdir()
    checkout.mkdir()
    (commands / "docker").write_text(DOCKER)
    (commands / "edgegrow").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgegrow "$@"\n')
    for file in commands.iterdir():
        file.chmod(0o755)

    def run(script, **variables):
        environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "IMAGE": "stub/edgegrow-ci:0",
            "TARGET": "nucleo-l4r5zi",  # needs nothing but pip
            "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"),
            **variables,
        }
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(
            shell, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120
        )

    return checkout, run


@needs_emulator
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_first_run_makes_the_baseline_and_one_channel_in_48_more_is_caught(shell):
    checkout, run = shell
    for name, channels in (("small", 48), ("larger", 49)):
        graph = Layers(8, 8, 3).conv(channels, (3, 3), activation="relu").linear(4).graph()
        write_tflite(graph, checkout / f"{name} model.tflite")
    folder = checkout / ".edgegrow"
    steps = {step["name"]: step["run"] for step in parsed(GITHUB)["jobs"]["gate"]["steps"] if "run" in step}
    done = run(steps["Measure and gate"], MODEL="small model.tflite")
    assert done.returncode == 0, done.stderr
    assert "none yet" in done.stdout
    assert run(steps["Summary"]).returncode == 0
    assert "nothing got worse" in (checkout / "summary.md").read_text()
    baseline = (folder / "baseline.json").read_bytes()

    script = "\n".join(parsed(GITLAB)["edgegrow"]["script"])
    done = run(script, MODEL="small model.tflite", ACCEPT="")
    assert done.returncode == 0, done.stderr
    assert (folder / "baseline.json").read_bytes() == baseline, "counts repeat"

    done = run(script, MODEL="larger model.tflite", ACCEPT="")
    assert done.returncode == 1, done.stderr
    for metric in ("instructions", "cycles", "macs", "latency", "flash"):
        assert f"{metric} (" in done.stderr
    assert "grew in op_00_conv2d" in done.stdout
    assert "❌" in (folder / "gate.md").read_text()
    assert "<failure" in (folder / "gate.xml").read_text()
    assert (folder / "baseline.json").read_bytes() == baseline

    run(steps["Forget the baseline"])
    assert not (folder / "baseline.json").exists()
