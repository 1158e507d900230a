"""Devices that are reached over ssh."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from edgegrow.errors import InputError
from edgegrow.measure.device import DeviceError, DeviceTimeout
from edgegrow.measure.shell_device import ShellDevice, Stream, collect, last_line

SLOWEST_BYTES_PER_S = 50_000
"""A file may take so long to be copied, and half a minute more."""


class SshDevice(ShellDevice):
    """A device with an ssh server. It is connected at once.

    Parameters
    ----------
    address : str
        ``ssh://[user@]host[:port]``; the host may be an alias of ``~/.ssh/config``.
    python : sequence of str
        Command that starts Python there.

    Raises
    ------
    InputError
        If the address is none, or asyncssh is not installed.
    DeviceError
        If there is no connection: no such host, no answer, a host key that is not known, no key that fits.
    """

    def __init__(self, address: str, python: Sequence[str] = ("python3",)) -> None:
        super().__init__(address, python)
        user, host, port = _parse(address)
        try:
            from edgegrow.measure.ssh_link import SshLink
        except ImportError as error:
            message = f"{address}: asyncssh is not installed: pip install 'edgegrow[ssh]'"
            raise InputError(message) from error
        self._link = SshLink(address, user, host, port)

    def start(self, line: str) -> Stream:
        """Start a line in the user's login shell."""
        return self._link.start(line)

    def put(self, content: bytes, path: str) -> None:
        """Write a file; by ``cat``, for not every device has SFTP, whose errors name no reason besides."""
        stream = self._link.start(self.line('cat >"$1"', path))
        try:
            stream.write(content)
            finished = collect(stream, 30 + len(content) / SLOWEST_BYTES_PER_S, 1 << 16)
        except (TimeoutError, OverflowError) as error:
            raise DeviceTimeout(f"{self.name}: cannot write {path}: it takes too long") from error
        finally:
            stream.close()
        if finished.exit_code:
            why = last_line(finished.stderr) or f"exit code {finished.exit_code}"
            raise DeviceError(f"{self.name}: cannot write {path}: {why}: see its disk and rights")

    def close(self) -> None:
        """End the connection."""
        self._link.close()


def _parse(address: str) -> tuple[str | None, str, int | None]:
    """Take ``ssh://[user@]host[:port]`` apart."""
    hint = "give ssh://user@host or ssh://user@host:port"
    try:
        parts = urlsplit(address)
        user, host, port = parts.username, parts.hostname, parts.port
        # As it is written: urllib's is in lower case, and a name in ~/.ssh/config need not be.
        written = parts.netloc.rpartition("@")[2]
        if host:
            host = written[(start := written.lower().index(host)) : start + len(host)]
    except ValueError as error:
        raise InputError(f"{address}: {error}: {hint}") from error
    if parts.password is not None:
        raise InputError(f"ssh://{host}: passwords are not taken: leave it out, and use a key or an agent")
    if parts.scheme != "ssh" or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise InputError(f"{address}: this is no address of a device: {hint}")
    return None if user is None else unquote(user), host, port
