"""Files that appear at once."""

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
