"""Getting to a device over ssh: whom it trusts, whom it lets in, and what goes wrong."""

import os
import socket
import subprocess
import sys
import threading

import pytest

pytest.importorskip("asyncssh")

from sshd import make_key

from edgegrow.errors import InputError
from edgegrow.measure import ssh_link
from edgegrow.measure.device import DeviceError
from edgegrow.measure.ssh import SshDevice


def works(address):
    with SshDevice(address) as device:
        assert device.run(("echo", "hello"), timeout_s=20).stdout == b"hello\n"


def fails(address, match):
    """Connecting fails, with one line that names the device."""
    with pytest.raises(DeviceError, match=match) as caught:
        SshDevice(address)
    text = str(caught.value)
    assert text.startswith(f"{address}: ")
    assert "\n" not in text
    assert len(text) < 400
    return text


def fingerprint(public_key):
    command = ["ssh-keygen", "-lf", "-"]
    return subprocess.run(
        command, input=public_key, capture_output=True, text=True, check=True
    ).stdout.split()[1]


def test_a_device_that_is_known(sshd):
    works(sshd.address)


def test_a_host_key_that_is_not_known(sshd):
    (sshd.home / ".ssh/known_hosts").unlink()
    text = fails(sshd.address, r"host key ssh-ed25519 SHA256:\S+ is not in known_hosts: compare it")
    assert fingerprint(sshd.host_key) in text
    assert text.endswith(f"ssh -p {sshd.port} {sshd.user}@127.0.0.1")


def test_a_host_key_that_has_changed(sshd, tmp_path):
    sshd.know(make_key(tmp_path / "other"))
    text = fails(sshd.address, r"SHA256:\S+ is not the one in known_hosts: another machine may answer")
    assert fingerprint(sshd.host_key) in text
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in text


def test_a_host_key_that_has_become_one_of_another_kind(sshd, tmp_path):
    sshd.know(make_key(tmp_path / "other", kind="ecdsa"))
    fails(sshd.address, "is not the one in known_hosts: another machine may answer")


def test_a_host_key_that_is_revoked(sshd):
    (sshd.home / ".ssh/known_hosts").write_text(
        f"{sshd.host} {sshd.host_key}@revoked {sshd.host} {sshd.host_key}"
    )
    fails(sshd.address, "its host key is refused: Host key is revoked")


@pytest.mark.parametrize("option", ["UserKnownHostsFile none", "StrictHostKeyChecking no"])
def test_host_keys_are_checked_whatever_is_configured(sshd, option):
    configuration = sshd.home / ".ssh/config"
    configuration.write_text(f"Host *\n {option}\n")
    try:
        works(sshd.address)
        (sshd.home / ".ssh/known_hosts").unlink()
        fails(sshd.address, "is not in known_hosts")
    finally:
        configuration.unlink()


def test_an_alias_of_the_configuration(sshd, tmp_path):
    files = sshd.home / ".ssh"
    (files / "id_ed25519").rename(tmp_path / "key")
    (tmp_path / "hosts").write_text((files / "known_hosts").read_text())
    (files / "known_hosts").unlink()
    (files / "config").write_text(
        f"Host MyBoard\n HostName 127.0.0.1\n Port {sshd.port}\n User {sshd.user}\n"
        f" IdentityFile {tmp_path}/key\n UserKnownHostsFile {tmp_path}/hosts\n"
    )
    try:
        works("ssh://MyBoard")
        (tmp_path / "hosts").write_text("")
        fails("ssh://MyBoard", "is not in known_hosts")
    finally:
        (files / "config").unlink()
        (tmp_path / "key").rename(files / "id_ed25519")


def test_a_key_that_is_not_let_in(sshd, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/known_hosts").write_text((sshd.home / ".ssh/known_hosts").read_text())
    monkeypatch.setenv("HOME", str(home))
    fails(sshd.address, f"it lets no key of yours in for {sshd.user}: ssh-copy-id")  # there is none
    make_key(home / ".ssh/id_ed25519")
    fails(sshd.address, f"it lets no key of yours in for {sshd.user}: ssh-copy-id")


def test_a_user_that_is_not_there(sshd):
    for written, user in (("nobody-of-that-name", "nobody-of-that-name"), ("no%40one", "no@one")):
        fails(f"ssh://{written}@127.0.0.1:{sshd.port}", f"for {user}: ssh-copy-id")


def test_a_key_with_a_passphrase_is_for_the_agent(sshd, tmp_path, monkeypatch):
    files = sshd.home / ".ssh"
    (files / "id_ed25519").rename(tmp_path / "key")
    agent = None
    try:
        (files / "id_ed25519").write_bytes((tmp_path / "key").read_bytes())
        (files / "id_ed25519").chmod(0o600)
        change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(files / "id_ed25519")]
        subprocess.run(change, check=True, timeout=120, capture_output=True)
        fails(sshd.address, "it lets no key of yours in .* ssh-add")
        place = str(tmp_path / "agent")
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
        monkeypatch.setenv("SSH_AUTH_SOCK", place)
        while subprocess.run(["ssh-add", "-q", str(tmp_path / "key")], check=False, timeout=120).returncode:
            assert agent.poll() is None
        works(sshd.address)
    finally:
        (tmp_path / "key").rename(files / "id_ed25519")
        if agent is not None:
            agent.kill()
            agent.wait()


def test_files_that_cannot_be_used(sshd):
    configuration = sshd.home / ".ssh/config"
    configuration.write_text("Port many\n")
    try:
        fails(sshd.address, "cannot use your ssh files: .*: see ~/.ssh")
    finally:
        configuration.unlink()


@pytest.fixture
def listener():
    """Listen at a port, and do something with each connection."""
    servers = []

    def listen(answer):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve():
            try:
                for number in range(100):
                    answer(server.accept()[0], number)
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    yield listen
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    fails(f"ssh://a@127.0.0.1:{port}", rf"nothing listens at \[127.0.0.1\]:{port}: see its address")


def test_no_such_host():
    fails("ssh://a@no-such-host.invalid", "there is no host no-such-host.invalid: see its name")


def test_a_server_that_is_silent(listener, monkeypatch):
    monkeypatch.setattr(ssh_link, "CONNECT_S", 0.5)
    kept = []
    port = listener(lambda link, _: kept.append(link))
    fails(f"ssh://a@127.0.0.1:{port}", "no answer from .* in 0.5 s|cannot connect: .*timeout")
    assert len(kept) == 1  # not tried again: it would be as silent
    kept[0].close()


@pytest.mark.parametrize(
    "content",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n" + bytes(range(256)) * 20, b"\xff" * 70_000],
)
def test_a_server_of_something_else(listener, content):
    def answer(link, _):
        with link:
            link.sendall(content)

    fails(f"ssh://a@127.0.0.1:{listener(answer)}", "cannot connect: ")


def test_a_connection_that_is_refused_at_first_is_tried_again(sshd, listener):
    """As a busy sshd does; a stand-in between cuts the first connection, and passes on the next."""

    def answer(link, number):
        if number == 0:
            link.close()
            return
        device = socket.create_connection(("127.0.0.1", sshd.port))
        for source, sink in ((link, device), (device, link)):
            threading.Thread(target=pass_on, args=(source, sink), daemon=True).start()

    def pass_on(source, sink):
        try:
            while content := source.recv(1 << 16):
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    port = listener(answer)
    (sshd.home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {sshd.host_key}")
    works(f"ssh://{sshd.user}@127.0.0.1:{port}")


@pytest.mark.parametrize(
    "address",
    [
        "ssh://",
        "ssh:board",
        "ssh://a@",
        "ssh://a@b:port",
        "ssh://a@b:99999",
        "ssh://a@b/path",
        "http://a@b",
        "ssh://[::1",
    ],
)
def test_what_is_no_address(address):
    with pytest.raises(InputError, match=r"give ssh://user@host") as caught:
        SshDevice(address)
    assert "\n" not in str(caught.value)


def test_passwords_are_not_taken():
    with pytest.raises(InputError, match="passwords are not taken") as caught:
        SshDevice("ssh://pi:raspberry@board")
    assert "raspberry" not in str(caught.value)


def test_asyncssh_is_not_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "edgegrow.measure.ssh_link", raising=False)
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(InputError, match=r"pip install 'edgegrow\[ssh\]'"):
        SshDevice("ssh://a@b")


def test_a_notebook_has_an_event_loop_already(sshd):
    import asyncio

    async def cell():
        works(sshd.address)

    asyncio.run(cell())
    assert os.environ["HOME"] == str(sshd.home)
