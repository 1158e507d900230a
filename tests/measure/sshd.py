"""A real sshd on this machine, with keys, configuration and a temporary folder of its own."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
SetEnv TMPDIR={place} HOME={folder}
"""


def missing():
    """Say why there can be no sshd here, or nothing."""
    if SSHD is None:
        return "sshd is not installed: apt install openssh-server"
    if shutil.which("ssh-keygen") is None:
        return "ssh-keygen is not installed: apt install openssh-client"
    return None


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> str:
    """Make a pair of keys, and return the public one."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
    return path.with_name(f"{path.name}.pub").read_text()


class Sshd:
    """A server that lets the key ``home/.ssh/id_ed25519`` in; `home` is also the user's who connects.

    Attributes
    ----------
    address : str
        ``ssh://user@127.0.0.1:port``.
    home : Path
        Holds ``.ssh`` with the key and the host's key in ``known_hosts``.
    place : Path
        Where temporary folders are made on the "device".
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.place = folder, folder / "home", folder / "device"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        self.place.mkdir()
        self.user = getpass.getuser()
        (folder / "authorized_keys").write_text(make_key(self.home / ".ssh/id_ed25519"))
        self.host_key = make_key(folder / "host_key")
        self._process: subprocess.Popen | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        """The host's name in ``known_hosts``."""
        return f"[127.0.0.1]:{self.port}"

    def know(self, key: str) -> None:
        """Write a host key into the user's ``known_hosts``."""
        (self.home / ".ssh/known_hosts").write_text(f"{self.host} {key}")

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        for _ in range(5):  # another process may take the free port first
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
            if self._listens():
                self.know(self.host_key)
                return
        raise RuntimeError(f"sshd does not start: {(self.folder / 'log').read_text()}")

    def _listens(self) -> bool:
        text = CONFIGURATION.format(port=self.port, folder=self.folder, place=self.place)
        (self.folder / "config").write_text(text)
        assert SSHD is not None
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "config")]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        while self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 60).close()
                return True
            except ConnectionRefusedError:
                time.sleep(0.02)
        return False

    def cut(self) -> None:
        """Kill the processes that serve connections, as when the cable is pulled."""
        for pid in _children(self._process.pid):
            for each in (*_children(pid), pid):
                if Path(f"/proc/{each}/comm").read_text().startswith("sshd"):
                    os.kill(each, 9)

    def stop(self) -> None:
        if self._process is not None:
            self.cut()
            self._process.kill()
            self._process.wait()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
