"""A real adb server on this machine, and devices for it: daemons of ``adbd.py``."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

ADB = shutil.which("adb")


class AdbServer:
    """An adb server at a port of its own."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "HOME": str(home), "ADB_LOCAL_TRANSPORT_MAX_PORT": "0"}
        home.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [ADB, "-P", str(self.port), "nodaemon", "server"]
        self.log = home / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 60).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise RuntimeError(f"adb does not start: {self.log.read_text()}")

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Run adb's own client."""
        command = [ADB, "-P", str(self.port), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=120, **options)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Phone:
    """A device that listens at ``serial``, 127.0.0.1:port; temporary folders are made in `place`."""

    def __init__(self, server: AdbServer, place: Path, *options: str) -> None:
        self.server, self.place = server, place
        place.mkdir(exist_ok=True)
        command = [sys.executable, str(Path(__file__).with_name("adbd.py")), *options]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": str(place)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.serial = f"127.0.0.1:{int(self._process.stdout.readline())}"

    def cut(self) -> None:
        """End the daemon, as when the cable is pulled."""
        self._process.kill()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self.server.run("disconnect", self.serial)
