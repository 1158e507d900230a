"""What holds for the Dockerfiles without an engine."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgegrow.measure.runner_archive import runner_archive

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
