"""A connection over ssh, by asyncssh in a thread of its own.

asyncssh, for it reads OpenSSH's files as ``ssh`` does: a device is reached by its alias in ``~/.ssh/config``,
through a jump host, with keys or certificates, from files or an agent. A host key must be in ``known_hosts``,
whatever is configured; no password is asked for or sent. The thread keeps the connection alive between calls,
and lets them be made from a notebook, whose thread has an event loop already.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from edgegrow.errors import reason
from edgegrow.measure.device import DeviceError

T = TypeVar("T")

CONNECT_S = 15.0
"""How long a device may take to answer, and then to let us in, in s."""

ATTEMPTS = 3
"""How often a connection is tried that is refused or cut before it stands: nothing has run by then."""

PROMPT_S = 5.0
"""Only what fails within this time is tried again."""

KEEPALIVE_S = 20.0
"""After three of these without an answer, in s, the connection is lost."""


class SshStream:
    """A command under way in the device's login shell: a `edgegrow.measure.shell_device.Stream`."""

    def __init__(self, link: SshLink, session: _Session) -> None:
        self._link = link
        self._session = session
        self._last: int | DeviceError | None = None

    def receive(self, timeout_s: float) -> tuple[int, bytes] | int:
        """Wait for what comes next."""
        if self._last is None:
            try:
                piece = self._session.pieces.get(timeout=max(0.0, timeout_s))
            except queue.Empty:
                raise TimeoutError from None
            if isinstance(piece, tuple):
                return piece
            self._last = self._link.lost() if piece is None else piece
        if isinstance(self._last, DeviceError):
            raise self._last
        return self._last

    def write(self, content: bytes) -> None:
        """Send the command's stdin, and end it."""
        self._link.do(self._session.channel.write, content)
        self.end_input()

    def end_input(self) -> None:
        """End the command's stdin."""
        self._link.do(self._session.channel.write_eof)

    def close(self) -> None:
        """Close the channel."""
        self._link.do(self._session.channel.abort)


class SshLink:
    """A connection to a device.

    Parameters
    ----------
    name : str
        What messages call the device.
    user, host, port : str or None, str, int or None
        None is what ``~/.ssh/config`` says, or ssh's default.

    Raises
    ------
    DeviceError
        If there is no connection.
    """

    def __init__(self, name: str, user: str | None, host: str, port: int | None) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._connection: asyncssh.SSHClientConnection | None = None
        try:
            self._connection = self._wait(_connect(name, user, host, port))
        except BaseException:
            self.close()
            raise

    def start(self, line: str) -> SshStream:
        """Start a line in the device's login shell.

        Raises
        ------
        DeviceError
            If the device refuses it, or the connection is lost.
        """
        assert self._connection is not None
        session = _Session()
        opened = self._connection.create_session(lambda: session, line, encoding=None)
        try:
            self._wait(asyncio.wait_for(opened, CONNECT_S))
        except asyncssh.ChannelOpenError as error:
            raise (
                self.lost()
                if self._connection.is_closed()
                else DeviceError(f"{self._name}: it starts no program: {reason(error)}: see its sshd's log")
            ) from error
        except (OSError, asyncssh.Error) as error:
            raise self.lost() from error
        except BaseException:
            # Interrupted: whatever has started there ends with the connection.
            self.do(self._connection.abort)
            raise
        return SshStream(self, session)

    def lost(self) -> DeviceError:
        """Return the error of a connection that has ended."""
        return DeviceError(
            f"{self._name}: the connection was lost: see its power and network, then measure again"
        )

    def do(self, action: Callable[..., None], *arguments: Any) -> None:
        """Do something with the connection; where it is closed that is no error."""

        def quietly() -> None:
            with suppress(OSError):
                action(*arguments)

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(quietly)

    def close(self) -> None:
        """End the connection."""
        if self._loop.is_closed():
            return
        if self._connection is not None:
            self.do(self._connection.close)
            with suppress(TimeoutError):
                self._wait(asyncio.wait_for(self._connection.wait_closed(), 2))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the connection's thread; it is cancelled when this is interrupted."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class _Session(asyncssh.SSHClientSession[bytes]):
    """Puts what a command writes, and at last its exit code, or None if there came none, into a queue."""

    def __init__(self) -> None:
        self.pieces: queue.SimpleQueue[tuple[int, bytes] | int | None] = queue.SimpleQueue()
        self.channel: asyncssh.SSHClientChannel[bytes]
        self._exit_code: int | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self.pieces.put((2 if datatype == asyncssh.EXTENDED_DATA_STDERR else 1, data))

    def exit_status_received(self, status: int) -> None:
        self._exit_code = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._exit_code = -_signal_number(signal)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pieces.put(self._exit_code)


def _signal_number(name: str) -> int:
    return getattr(signal, f"SIG{name}", signal.SIGKILL).value


class _HostKeys(asyncssh.SSHClient):
    """Remembers a host key that is not trusted."""

    def __init__(self, known: asyncssh.SSHKnownHosts) -> None:
        self.known = known
        self.refused: asyncssh.SSHKey | None = None
        self.changed = False

    def itself(self) -> _HostKeys:
        """Return itself: asyncssh makes its client by a call."""
        return self

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        trusted = asyncssh.match_known_hosts(self.known, host, addr, None if port == 22 else port)[0]
        self.refused, self.changed = key, bool(trusted)
        return False


async def _connect(name: str, user: str | None, host: str, port: int | None) -> asyncssh.SSHClientConnection:
    """Connect, and again where that may help."""
    try:
        options = _options(user, host, port)
        known = _known_hosts(options)
    except (OSError, ValueError) as error:  # asyncssh's errors of files are ValueErrors
        raise DeviceError(f"{name}: cannot use your ssh files: {reason(error)}: see ~/.ssh") from error
    by_hand = " ".join(
        ("ssh", *(() if port is None else ("-p", str(port))), host if user is None else f"{user}@{host}")
    )
    for attempt in range(1, ATTEMPTS + 1):
        client, began = _HostKeys(known), time.monotonic()
        try:
            return await asyncssh.connect(
                host, port or (), client_factory=client.itself, options=options, known_hosts=known
            )
        except (OSError, asyncssh.Error) as error:
            again = isinstance(error, (ConnectionError, asyncssh.ConnectionLost))
            if not again or attempt == ATTEMPTS or time.monotonic() - began > PROMPT_S:
                raise DeviceError(f"{name}: {_explain(error, client, options)}: {by_hand}") from error
        await asyncio.sleep(attempt / 2)
    raise AssertionError


def _options(user: str | None, host: str, port: int | None) -> asyncssh.SSHClientConnectionOptions:
    configuration = Path("~/.ssh/config").expanduser()
    return asyncssh.SSHClientConnectionOptions(
        config=[str(configuration)] if configuration.is_file() else [],
        host=host,
        port=() if port is None else port,
        username=() if user is None else user,
        # The known kinds first, then all: a key of another kind is a key that has changed, and is to be seen.
        server_host_key_algs="+*",
        connect_timeout=CONNECT_S,
        login_timeout=CONNECT_S,
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=3,
        password_auth=False,
        kbdint_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
    )


def _known_hosts(options: asyncssh.SSHClientConnectionOptions) -> asyncssh.SSHKnownHosts:
    """Read the files of host keys that ``ssh`` reads; also where its configuration turns the check off."""
    configured = options.known_hosts or ["~/.ssh/known_hosts"]
    assert isinstance(configured, list)
    paths = [Path(path).expanduser() for path in (*configured, "/etc/ssh/ssh_known_hosts")]
    texts = [path.read_text("utf-8", "replace") for path in paths if path.is_file()]
    return asyncssh.import_known_hosts("\n".join(texts))


def _explain(error: Exception, client: _HostKeys, options: asyncssh.SSHClientConnectionOptions) -> str:
    """Say why there is no connection, and what to do; the command that does the same by hand follows."""
    host = options.host if options.port == 22 else f"[{options.host}]:{options.port}"
    if client.refused is not None:
        key = f"host key {client.refused.algorithm.decode()} {client.refused.get_fingerprint()}"
        if client.changed:
            known = options.host_key_alias or host
            return (
                f"its {key} is not the one in known_hosts: another machine may answer in its place: only if "
                f"you know why it changed, ssh-keygen -R '{known}', and accept the new one"
            )
        return f"its {key} is not in known_hosts: compare it with the device's own, and accept it"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return f"its host key is refused: {error.reason}: see known_hosts"
    if isinstance(error, asyncssh.PermissionDenied):
        return f"it lets no key of yours in for {options.username}: ssh-copy-id, or ssh-add, and try by hand"
    if isinstance(error, socket.gaierror):
        return f"there is no host {options.host}: see its name, and try by hand"
    if isinstance(error, TimeoutError):
        return f"no answer from {host} in {CONNECT_S:g} s: see its power and network, and try by hand"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {host}: see its address, and that sshd runs there, and try by hand"
    return f"cannot connect: {reason(error)}: try by hand"
