"""Ctrl-C: one line and exit code 130, wherever it hits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PRESS = "import os, signal, time\npress = lambda: os.kill(os.getpid(), signal.SIGINT)\n"

HITS = {
    "an import": "press()\ntime.sleep(60)\n",
    "an import that makes an error of its own of it": (
        "try:\n    press()\n    time.sleep(60)\n"
        "except KeyboardInterrupt as error:\n    raise ImportError('KeyboardInterrupt: ') from error\n"
    ),
    "a finaliser, which loses it": (
        "class Lost:\n    def __del__(self):\n        press()\n        time.sleep(60)\n"
        "Lost()\ntime.sleep(60)\n"
    ),
}


def start(*command, cwd=None):
    """Start Python in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run that a shell put in the background ignores Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def assert_one_line(process):
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "interrupted")
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("hit", HITS)
def test_in_the_first_seconds_of_growing(hit, tmp_path):
    (tmp_path / "own.py").write_text(PRESS + HITS[hit])
    options = ("--net", "own:net", "--budget", "macs=5k", "--out", "run")
    assert_one_line(start("-m", "edgegrow", "grow", *options, cwd=tmp_path))
    assert not (tmp_path / "run").exists()


def test_while_the_command_line_is_imported():
    code = (
        f"{PRESS}import sys, runpy\n"
        "class Slow:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'typer':\n"
        "            press()\n"
        "            time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "sys.argv = ['edgegrow', '--help']\n"
        "runpy.run_module('edgegrow', run_name='__main__')\n"
    )
    assert assert_one_line(start("-c", code)) == "interrupted\n"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc that tells a process's children")
@pytest.mark.parametrize("target", ["host", "nucleo-l4r5zi"])
def test_while_another_program_works_for_a_measurement(target, finished_run):
    """The runtime, or the compiler: it is in the same process group, and is interrupted as well."""
    if target != "host":
        pytest.importorskip("unicorn", reason="no emulator: pip install edgegrow[mcu]")
        pytest.importorskip("ziglang", reason="no compiler: pip install edgegrow[mcu]")
    options = ("--seconds", 600) if target == "host" else ()
    model = finished_run[0] / "model.tflite"
    process = start("-m", "edgegrow", "measure", model, "--target", target, *options)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 100
    while not children.read_text():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    assert_one_line(process)
