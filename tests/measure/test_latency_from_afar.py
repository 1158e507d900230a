"""Growing under a latency that a board's own clock tells: over ssh and adb, as a user asks for it."""

import json
import os
import re
import socket
import sys
import threading
import time

import pytest
from test_benchmark_model import output, stand_in
from test_ways_faults import Device

from edgegrow import calibrating
from edgegrow.calibrating import Effort
from edgegrow.cost.calibration import read_latencies
from edgegrow.measure.protocol import Profile
from edgegrow.run import RunFolder
from edgegrow.targets import load_target

TINY = Effort(widest=0.5, rounds=2, seconds=0.001, networks=4)
HANG = f'exec {sys.executable} -c "import time; time.sleep(600)" hanging'
BOARD = """
name = "board"
kind = "linux"
description = "this machine, from afar"
[runtime]
names = ["litert"]
[cost]
channel_block = 16
[transport]
kind = "emulator"
python = "{python}"
[[sources]]
field = "cost.channel_block"
document = "so that steps need not be looked for"
date = 2026-11-26
"""


class Board(Device):
    """A board that a user reaches by ``--via``; its Python is a script that a test may change."""

    def __init__(self, kind, server, folder):
        super().__init__(kind, server, folder)
        self.target.write_text(BOARD.format(python=self.python))

    def cut_when_it_hangs(self):
        """Cut its connections, from a thread, once its Python hangs."""

        def cut():
            deadline = time.monotonic() + 300
            while not any(line.endswith(b"\0hanging\0") for line in self.lines()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            self.server.cut()

        cutter = threading.Thread(target=cut, daemon=True)
        cutter.start()
        return cutter


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(calibrating, "Effort", lambda: TINY)  # a whole one takes minutes
    return tmp_path / "cache" / "edgegrow" / "calibrations"


@pytest.fixture
def board(sshd, tmp_path):
    pytest.importorskip("asyncssh")
    return Board("ssh", sshd, tmp_path)


@pytest.fixture
def refused(run_cli, tmp_path):
    """Give a command that is refused, before anything is trained: return its line."""

    def refused(*arguments):
        out = ("--out", tmp_path / "run") if arguments[0] == "grow" else ()
        code, printed, error = run_cli(*arguments, *out, "-q")
        assert (code, printed) == (2, ""), error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()
        return error

    return refused


def calibrate(board):
    return "targets", "calibrate", board.target, "--net", "mlp", "--via", board.via


def grow(board, budget="latency=100ms"):
    return "grow", "--net", "mlp", "--target", board.target, "--via", board.via, "--budget", budget


def test_a_calibration_goes_on_and_is_held_against_the_board(board, cache, run_cli, refused, monkeypatch):
    """Its connection is cut at the second batch; then it is finished, and then the board has changed."""
    monkeypatch.setattr(calibrating, "_BATCH", 6)
    once = board.python.with_name("once")
    serves = f'exec {sys.executable} "$@"'
    # The first question is the identity, the second the first batch.
    board.runs(f'echo >>"{once}"; [ $(wc -l <"{once}") -le 2 ] || {HANG}\n{serves}')
    cutter = board.cut_when_it_hangs()
    error = refused(*calibrate(board))
    cutter.join()
    (path,) = cache.iterdir()
    assert f"{board.via}: the connection was lost: " in error
    assert f"6 layers and 0 networks are kept in {path}, to go on from\n" in error
    begun = read_latencies(path)
    assert (len(begun.layers), begun.finished) == (6, False)

    board.runs(serves)
    code, printed, error = run_cli(*calibrate(board), "--json", "-q")
    assert code == 0, error
    told = json.loads(printed)
    whole = read_latencies(path)
    assert (told["file"], told["finished"], whole.finished) == (str(path), True, True)
    assert whole.layers[:6] == begun.layers
    assert len(whole.networks) == TINY.networks
    assert whole.identity.runtime == "litert"
    assert whole.command.endswith(f"--data digits --via {board.via}")
    board.nothing_is_left()

    text = path.read_text()
    for old, new, message in (
        ('"version": "', '"version": "0.', r"version was 0\.\S+, it is \S+ now"),
        ('"cpu": "', '"cpu": "Other ', "cpu was Other .*, it is .* now"),
    ):
        path.write_text(text.replace(old, new, 1))
        error = refused(*grow(board))
        assert re.search(f"calibration {re.escape(str(path))}: {message}: calibrate again: ", error), error
        assert error.endswith(f"--net mlp --data digits --via {board.via}\n")


def test_a_growth_that_loses_its_board_goes_on(board, cache, run_cli, tmp_path):
    """It is lost when all is trained; what is delivered in the end is measured there too."""
    board.runs(f'grep -q \'"sizes": \\[\' "$2" || {HANG}\nexec {sys.executable} "$@"')
    cutter, out = board.cut_when_it_hangs(), tmp_path / "run"
    command = (*grow(board, "latency=100ms,macs=2k"), "--moves", "split", "--epochs", "1")
    settings = ("--set", "grow.steps=1", "--set", "grow.samples=32")
    code, printed, error = run_cli(*command, *settings, "--out", out, "-q")
    cutter.join()
    assert (code, printed, error.count("\n")) == (2, "", 1), error
    assert f"{board.via}: the connection was lost: " in error
    assert error.endswith(f": finished epochs are kept: go on with edgegrow grow --resume {out}\n")
    assert RunFolder.open(out).config().via == board.via
    epochs = list(RunFolder.open(out).history("epoch"))

    board.runs(f'exec {sys.executable} "$@"')
    code, _, error = run_cli("grow", "--resume", out, "-q")
    # How full it is, and how fast, is another matter: of a test of growing, and of a machine that is idle.
    assert code in (0, 1), error
    assert list(RunFolder.open(out).history("epoch")) == epochs
    profile = Profile.read(out / "profile.json")
    latency = profile.find("latency")
    assert profile.target == load_target(board.target).reference
    assert (latency.evidence, latency.identity.runtime) == ("measured", "litert")
    assert f"on {board.via}, " in latency.method
    step = next(RunFolder.open(out).history("growth"))
    assert step["checked"][0]["latency_ms"] > 0
    kept = read_latencies(next(cache.iterdir()))
    assert (kept.identity.cpu, kept.identity.version) == (latency.identity.cpu, latency.identity.version)
    assert latency.value / 100 < step["checked"][-1]["latency_ms"] < 100 * latency.value
    board.nothing_is_left()


def test_boards_at_other_addresses_have_calibrations_of_their_own(phone, sshd, tmp_path, cache, run_cli):
    pytest.importorskip("asyncssh")
    for board in (Board("adb", phone, tmp_path), Board("ssh", sshd, tmp_path)):
        code, printed, error = run_cli(*calibrate(board), "-q")
        assert code == 0, error
        assert "networks measured; predictions were wrong by up to" in printed
    names = sorted(path.name for path in cache.iterdir())
    assert len(names) == 2
    assert all(re.fullmatch("board-[0-9a-f]{8}-[0-9a-f]{16}.json", name) for name in names)
    board.nothing_is_left()


def test_a_phone_without_python_is_timed_by_benchmark_model(phone, tmp_path, cache, run_cli):
    """It takes as long for every file: so a network takes what its first layer takes, and that exactly."""
    stand_in(phone.place, output(newer=True, kernels="XNNPACK"))
    board = Board("adb", phone, tmp_path)
    board.target.write_text(BOARD.format(python="no-python-here"))
    code, _, error = run_cli(*calibrate(board), "-q")
    assert code == 0, error
    kept = read_latencies(next(cache.iterdir()))
    assert (kept.identity.runtime, kept.identity.kernels) == ("benchmark_model", "XNNPACK")
    assert {reading.windows_ns for reading in (*kept.layers, *kept.networks)} == {(1.24027e9, 1.24027e9)}
    assert (kept.spread, kept.error) == (0, pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize("budget", ["latency=5ms", "macs=5k"])
def test_a_board_that_is_not_there_is_missed_before_anything_is_trained(budget, tmp_path, refused, cache):
    pytest.importorskip("asyncssh")
    with socket.socket() as silent:  # bound, so that it is no one else's, and not listening
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        asked = ("--net", "mlp", "--target", "raspberry-pi-4", "--via", f"ssh://127.0.0.1:{port}")
        error = refused("grow", *asked, "--budget", budget)
    assert f"ssh://127.0.0.1:{port}: nothing listens at [127.0.0.1]:{port}: " in error
    assert not cache.exists()


@pytest.mark.parametrize(
    ("target", "via", "words"),
    [
        ("raspberry-pi-4", "telnet:pi", "cannot be measured so: use local, ssh://USER@HOST"),
        ("raspberry-pi-4", "ssh:", "cannot be measured so"),
        ("raspberry-pi-4", "adb:", "cannot be measured so"),
        ("raspberry-pi-4", "serial:/dev/null", "cannot be measured so"),
        ("raspberry-pi-4", "ssh://pi:secret@board", "passwords are not taken"),
        ("raspberry-pi-4", "ssh://pi@board/home", "this is no address of a device"),
        ("raspberry-pi-4", "adb:two words", "this is no serial number"),
        ("raspberry-pi-4", "", "via: "),
        ("raspberry-pi-4", "emulator", "or give --via ssh://USER@HOST or adb:SERIAL"),
        ("nucleo-l4r5zi", "serial:/dev/null", "are grown for target nucleo-l4r5zi (mcu) by emulation"),
    ],
)
def test_a_way_that_cannot_be_is_one_line(target, via, words, refused):
    pytest.importorskip("asyncssh")
    error = refused("grow", "--net", "mlp", "--target", target, "--via", via, "--budget", "latency=5ms")
    assert words in error
    assert "secret" not in error


def test_networks_are_timed_on_the_target_alone(board, refused, tmp_path):
    """This machine has no Cortex-A72, or no Cortex-A53."""
    name = "raspberry-pi-4" if os.uname().machine != "aarch64" else "raspberry-pi-2"
    words = f"an artifact on {board.via}: the target's processor has CPU part"
    target = tmp_path / "pi.toml"
    shipped = (calibrating.Path(__file__).parents[2] / "targets" / f"{name}.toml").read_text()
    target.write_text(shipped.replace("[transport]", f'[transport]\npython = "{sys.executable}"'))
    asked = ("--net", "mlp", "--target", target, "--via", board.via, "--budget", "latency=5ms")
    assert words in refused("grow", *asked)


def test_what_has_no_clock_cannot_be_calibrated(refused):
    error = refused("targets", "calibrate", "raspberry-pi-4", "--net", "mlp")
    assert "it cannot be calibrated from here yet: give --via ssh://USER@HOST or adb:SERIAL" in error
