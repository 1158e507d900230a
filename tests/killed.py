"""A growth in a process of its own, killed at moments that are chosen: how fast it is does not matter."""

import json
import os
import shutil
import signal
import subprocess
import sys

from edgegrow.config import dump_config

GROWING = """
import json, os, signal, sys
from pathlib import Path

from edgegrow import api
from edgegrow.config import resolve_config
from edgegrow.listener import Silent

config, folder, moments = sys.argv[1:]


class Stopping(Silent):
    def step(self, stage, step, steps, figures):
        if any(stage == name and step == max(1, round(share * steps)) for name, share in json.loads(moments)):
            os.kill(os.getpid(), signal.SIGSTOP)


api.grow(resolve_config(Path(config)), Path(folder), Stopping())
"""


def killed_at(moments, config, folder):
    """Return the run folders that a kill at each moment leaves.

    Parameters
    ----------
    moments : sequence of tuple
        Stages, and the shares of them that are done, in the order in which they come.
    config : RunConfig
        What is grown.
    folder : Path
        Made; the run folders are in it.
    """
    folder.mkdir()
    file, left = folder / "config.toml", [folder / f"killed-{number}" for number in range(len(moments))]
    file.write_text(dump_config(config, {}))
    command = [sys.executable, "-c", GROWING, str(file), str(left[-1]), json.dumps(moments)]
    process = subprocess.Popen(command)
    try:
        for copy in left:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), f"it ended before {copy}"
            if copy != left[-1]:
                shutil.copytree(left[-1], copy)
                process.send_signal(signal.SIGCONT)
    finally:
        process.kill()
        process.wait()
    return left
