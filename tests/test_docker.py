"""What holds for the Dockerfiles without an engine; and the commands in them, where it has their images."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgegrow.deploy.tflite import write_tflite
from edgegrow.measure.runner_archive import runner_archive

from .deploy.c_packages import Layers
from .images import require_image

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def copied(dockerfile):
    """Source paths of a Dockerfile's COPY lines that are not from another stage."""
    text = dockerfile.read_text().replace("\\\n", " ")
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        if not line.startswith("--from"):
            yield from line.split()[:-1]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_what_is_copied_is_there_and_not_ignored(dockerfile):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in copied(dockerfile):
        assert (ROOT / path).exists(), path
        assert any(path == name or path.startswith(name + "/") for name in kept), path


def test_the_emulator_is_prepared_with_what_is_copied(tmp_path):
    for path in copied(ROOT / "docker/cortex-a.Dockerfile"):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, target)
    # Without site-packages: a bare Debian has none.
    code = "import edgegrow.measure.arm.counter, edgegrow.measure.arm.preparing as p; print(p.__file__); "
    # It is what the emulated Python is tried with.
    code += "import hashlib; print(hashlib.sha256(p.runner_archive()).hexdigest())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith(str(tmp_path)), done.stderr
    assert done.stdout.split()[1] == hashlib.sha256(runner_archive()).hexdigest()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_images_run_as_nobody(dockerfile):
    text = dockerfile.read_text()
    last = text[text.rindex("\nFROM ") :]
    assert "\nUSER 65534:65534\n" in last or "FROM ${CORTEX_M}\n" in last
    assert "# syntax=" not in text


def test_a_machine_that_lets_no_engine_run_is_told_so_in_one_line(tmp_path):
    programs = {"docker": "exit 1", "dockerd": "echo starting; echo not permitted; exit 1"}
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [ROOT / "docker/test-setup.sh", "start", tmp_path / "engine"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    reason = "dockerd does not start: not permitted" if os.getuid() == 0 else "it takes root"
    assert (done.returncode, done.stderr) == (3, f"no container engine can run here: {reason}\n")


def documented(image, folder):
    """The command line at the top of a Dockerfile, with a project's folder."""
    require_image(image)
    text = (ROOT / "docker" / f"{image.removeprefix('edgegrow-')}.Dockerfile").read_text()
    (command,) = re.findall(r"^#     (docker run .*\\\n.*)$", text, re.MULTILINE)
    return [word.replace("$PWD", str(folder)) for word in shlex.split(command.replace("\\\n#", ""))]


@pytest.mark.engine
def test_documented_commands_measure_and_gate(tmp_path):
    write_tflite(Layers(8, 8, 3).conv(4, (3, 3)).linear(4).graph(), tmp_path / "model.tflite")
    tmp_path.chmod(0o755)

    measure = [*documented("edgegrow-cortex-m", tmp_path), "--json"]
    done = subprocess.run(measure, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for name in ("baseline.json", "candidate.json"):
        (tmp_path / name).write_text(done.stdout)

    gate = documented("edgegrow-ci", tmp_path)
    done = subprocess.run(gate, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "ok" in done.stdout
