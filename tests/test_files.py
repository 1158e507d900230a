"""Files that appear at once."""

import os
import subprocess
import sys

import pytest

from edgegrow.errors import InputError
from edgegrow.files import write_atomic

WRITER = """
import sys
from pathlib import Path
from edgegrow.files import write_atomic
place, mark = Path(sys.argv[1]), sys.argv[2]
for _ in range(100):
    write_atomic(place, mark * 10_000)
    text = place.read_text()
    assert len(text) == 10_000 and len(set(text)) == 1, "torn"
"""


def test_processes_that_write_one_file_do_not_disturb_each_other(tmp_path):
    """As runs do that calibrate the same target at the same time."""
    place = tmp_path / "shared.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, place, mark], stderr=subprocess.PIPE, text=True)
        for mark in "abc"
    ]
    for writer in writers:
        _, err = writer.communicate(timeout=100)
        assert (writer.returncode, err) == (0, "")
    assert list(tmp_path.iterdir()) == [place]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/x: cannot write it: Not a directory"):
        write_atomic(tmp_path / "file" / "x", "y")


FOREIGN = {
    "profile": ("profiles", "diff", "{}", "{}"),
    "baseline": ("gate", "{}", "{}"),
    "model.tflite": ("measure", "{}"),
    "model.onnx": ("measure", "{}"),
    "package.tflite": ("measure", "{}", "--target", "nucleo-l4r5zi"),
    "run.toml": ("grow", "{}"),
    "target.toml": ("targets", "check", "{}"),
    "data.npz": ("grow", "--data", "{}", "--budget", "macs=5k"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", FOREIGN)
def test_a_pipe_from_outside_is_not_waited_for(name, run_cli, tmp_path):
    os.mkfifo(tmp_path / name)
    code, out, err = run_cli(*(part.format(tmp_path / name) for part in FOREIGN[name]))
    assert (code, out) == (2, "")
    assert name in err
    assert len(err.splitlines()) == 1


def test_a_place_that_cannot_be_written_is_refused_before_the_work(finished_run, run_cli, tmp_path):
    folder, _ = finished_run
    nowhere = tmp_path / "none" / "profile.json"
    for place, why in ((nowhere, "No such file"), (tmp_path, "it is a folder")):
        code, out, err = run_cli("measure", folder / "model.tflite", "--out", place, "-q")
        assert (code, out) == (2, "")
        assert why in err
    report = tmp_path / "gate.md"
    code, out, _ = run_cli("gate", folder, folder, "--markdown", report, "--junit", nowhere)
    assert (code, out) == (2, "")
    assert not report.exists()
