"""docs/ci.md as it would run: its YAML against the services' schemas, its shell lines with emulators.

They run in the image of docker/ci.Dockerfile too, where there is one.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgegrow.deploy.tflite import write_tflite
from edgegrow.measure.arm.sysroot import find_sysroot

from .deploy.c_packages import Layers
from .images import require_image

yaml = pytest.importorskip("ruamel.yaml", reason="pip install edgegrow[dev]")
pytest.importorskip("check_jsonschema", reason="pip install edgegrow[dev]")

PAGE = (Path(__file__).parents[1] / "docs" / "ci.md").read_text(encoding="utf-8")
GITHUB, GITLAB = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

DOCKER = """#!/usr/bin/env bash
# Stands in for `docker run OPTIONS --entrypoint COMMAND IMAGE ARGUMENTS` where there is neither.
set -eu
[ "$1" = run ]
while [ "$1" != --entrypoint ]; do shift; done
command=$2 image=$3
shift 3
[ "$image" = edgegrow-ci ]
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


needs_microcontroller = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ziglang", "unicorn", "capstone"))),
    reason="no emulator of microcontrollers: pip install edgegrow[mcu]",
)
needs_arm = pytest.mark.skipif(
    find_sysroot("aarch64") is None or shutil.which("qemu-aarch64") is None,
    reason="no emulator of ARM Linux: edgegrow doctor --fix emulator",
)


class Service:
    """Runs lines as a CI service does: each must succeed, in the checkout.

    Either in the image, or with this machine's edgegrow where the lines take the image's.
    """

    def __init__(self, folder, target, in_image):
        self.checkout, self.target, self.in_image = folder / "checkout", target, in_image
        self.checkout.mkdir()
        self.checkout.chmod(0o777)
        commands = folder / "bin"
        commands.mkdir()
        programs = {"edgegrow": f'#!/bin/sh\nexec "{sys.executable}" -m edgegrow "$@"\n', "docker": DOCKER}
        if in_image:
            programs = {"id": "#!/bin/sh\necho 65534\n"}  # a service is not root
        for name, program in programs.items():
            (commands / name).write_text(program)
            (commands / name).chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "IMAGE": "edgegrow-ci",
            "TARGET": target,
            "GITHUB_STEP_SUMMARY": str(self.checkout / "summary.md"),
        }

    def github(self, step, **variables):
        """Run a step on the machine of the service."""
        steps = parsed(GITHUB)["jobs"]["gate"]["steps"]
        (script,) = [found["run"] for found in steps if found.get("name") == step]
        return self._run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], variables)

    def gitlab(self, **variables):
        """Run the job in the image."""
        command = ["bash", "-eo", "pipefail", "-c", "\n".join(parsed(GITLAB)["edgegrow"]["script"])]
        if self.in_image:
            named = [f"--env={name}={value}" for name, value in {"TARGET": self.target, **variables}.items()]
            place = [f"--volume={self.checkout}:/builds/project", "--workdir=/builds/project"]
            isolated = ["docker", "run", "--rm", "--network=none", "--entrypoint="]
            command = [*isolated, *place, *named, "edgegrow-ci", *command]
        return self._run(command, variables)

    def _run(self, command, variables):
        environment = {**self._environment, **variables}
        return subprocess.run(
            command, cwd=self.checkout, env=environment, capture_output=True, text=True, timeout=240
        )


@pytest.fixture(
    params=[
        pytest.param(("nucleo-l4r5zi", False), id="microcontroller", marks=needs_microcontroller),
        pytest.param(("raspberry-pi-4", False), id="arm", marks=needs_arm),
        pytest.param(("raspberry-pi-4", True), id="arm in the image", marks=pytest.mark.engine),
    ]
)
def service(request, tmp_path):
    target, in_image = request.param
    if in_image:
        require_image("edgegrow-ci")
    return Service(tmp_path, target, in_image)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_first_run_makes_the_baseline_and_one_channel_in_48_more_is_caught(service):
    for name, channels in (("small", 48), ("larger", 49)):
        graph = Layers(8, 8, 3).conv(channels, (3, 3), activation="relu").linear(4).graph()
        write_tflite(graph, service.checkout / f"{name} model.tflite")
    folder = service.checkout / ".edgegrow"
    folder.mkdir()
    folder.chmod(0o777)
    done = service.github("Measure and gate", MODEL="small model.tflite")
    assert done.returncode == 0, done.stderr
    assert "none yet" in done.stdout
    assert service.github("Summary").returncode == 0
    assert "nothing got worse" in (service.checkout / "summary.md").read_text()
    baseline = (folder / "baseline.json").read_bytes()

    done = service.gitlab(MODEL="small model.tflite", ACCEPT="")
    assert done.returncode == 0, done.stderr
    assert (folder / "baseline.json").read_bytes() == baseline, "counts repeat"

    done = service.gitlab(MODEL="larger model.tflite", ACCEPT="")
    assert done.returncode == 1, done.stderr
    caught = ("instructions", "flash")
    if service.target == "nucleo-l4r5zi":
        caught += ("cycles", "macs", "latency")
        assert "grew in op_00_conv2d" in done.stdout
    for metric in caught:
        assert f"{metric} (" in done.stderr
    assert "❌" in (folder / "gate.md").read_text()
    assert "<failure" in (folder / "gate.xml").read_text()
    assert (folder / "baseline.json").read_bytes() == baseline

    service.github("Forget the baseline")
    assert not (folder / "baseline.json").exists()
