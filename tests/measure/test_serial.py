"""A C package on a board: real firmware in QEMU, real pseudo-terminals, real pyserial."""

import hashlib
import importlib.util
import re
import shutil
import signal
import time

import numpy as np
import pytest
from boards import Flip, Line, Noise, Qemu, compile_firmware, patiently

from edgegrow.deploy.c import write_c
from edgegrow.deploy.simulate import simulate
from edgegrow.errors import InputError
from edgegrow.gate import gate
from edgegrow.listener import Silent
from edgegrow.measure.limits import Limits
from edgegrow.measure.meters.constant import ActivePower
from edgegrow.measure.meters.opening import make_meter
from edgegrow.measure.protocol import Artifact, Profile, TargetRef
from edgegrow.measure.serial import SerialInterrupted, measure_serial, package_model_id
from edgegrow.measure.window_plan import Windows

for package in ("ziglang", "serial"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(
            f"{package} is not installed: pip install 'edgegrow[mcu,serial]'", allow_module_level=True
        )
pytest.importorskip("termios", reason="pseudo-terminals are needed")

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None, reason="no qemu-system-arm: apt install qemu-system-arm"
)
QUICK = Windows(min_seconds=0.05)
PATIENCE_SECONDS = 60.0
"""For answers that come: a busy machine may leave QEMU without a processor for seconds."""
NAME = ('"qemu mps2-an386"', '"some board"')


@pytest.fixture(scope="module")
def built(files, tmp_path_factory):
    package = tmp_path_factory.mktemp("package")
    write_c(files.graph, package)
    return package, compile_firmware(package, tmp_path_factory.mktemp("firmware") / "board.elf")


@pytest.fixture(scope="module")
def samples(files):
    shape = (4, *files.graph.input.shape[1:])
    inputs = np.random.default_rng(5).integers(-128, 128, shape, np.int8)
    return inputs.reshape(4, -1), simulate(files.graph, inputs).reshape(4, -1)


@pytest.fixture
def started(tmp_path):
    """Things that are stopped at the end."""
    things = []
    yield things
    for thing in reversed(things):
        thing.stop()


@pytest.fixture
def board(built, tmp_path, started):
    def board(elf=None, **bridging):
        folder = tmp_path / f"board-{len(started)}"  # of sockets: each board has its own
        folder.mkdir()
        qemu, line = Qemu(elf or built[1], folder), Line()
        started.extend([qemu, line])
        line.bridge(qemu.connection, **bridging)
        return qemu, line.port

    return board


@pytest.fixture
def measure(built, samples):
    def measure(port, **options):
        given = {
            "artifact": Artifact(path="c", sha256=hashlib.sha256().hexdigest(), format="c", bytes=0),
            "target": TargetRef(name="board", sha256=hashlib.sha256(b"board").hexdigest()),
            "model_id": package_model_id(built[0]),
            "inputs": samples[0],
            "expected": samples[1],
            "windows": QUICK,
            "patience_seconds": PATIENCE_SECONDS,
        }
        return measure_serial(port, **(given | options))

    return measure


def message(caught, port):
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    assert text.startswith(f"port {port}: ")
    return text


@needs_qemu
def test_a_board_on_a_pseudo_terminal_of_qemu(built, measure, tmp_path, started):
    qemu = Qemu(built[1], tmp_path, pty=True)
    started.append(qemu)
    said, warned = [], []
    meter = make_meter("constant", power=ActivePower(1.0))
    profile = measure(qemu.port, meter=meter, progress=said.append, warn=warned.append)
    latency = profile.find("latency")
    assert len(latency.samples) == 5
    assert latency.value == pytest.approx(np.median(latency.samples), abs=1e-6)
    assert 0 < profile.find("latency", "min").value <= latency.value <= profile.find("latency", "max").value
    assert {m.evidence for m in profile.measurements} == {"emulated"}  # whatever QEMU's clock says
    assert "is an emulator" in warned[0]
    identity = latency.identity
    assert identity.os == "qemu mps2-an386"
    assert latency.method.endswith(f"; model {package_model_id(built[0])}")
    assert identity.clock_hz == 25e6
    assert "Clang" in identity.compiler
    assert "115200 baud" in latency.method
    assert "4 outputs as expected" in latency.method
    assert [u.reason for u in profile.unavailable] == ["an emulator draws no board's power"]
    assert sum(line.startswith("window") for line in said) == 5


@needs_qemu
def test_windows_last_as_long_as_asked(board, measure):
    _, port = board()
    start = time.monotonic()
    profile = measure(port, windows=Windows(count=2, min_iterations=10, min_seconds=0.5))
    assert time.monotonic() - start > 1
    assert len(profile.find("latency").samples) == 2
    assert "2 of 2 windows; each 0.5 s" in profile.find("latency").method


@needs_qemu
def test_only_a_device_that_is_no_emulator_measures(built, board, measure, tmp_path):
    _, port = board(compile_firmware(built[0], tmp_path / "named.elf", name=NAME))
    one = Windows(count=1, min_seconds=0.1)
    assert measure(port, windows=one).find("latency").evidence == "measured"
    assert measure(port, windows=one, emulated=True).find("latency").evidence == "emulated"


@needs_qemu
@pytest.mark.parametrize("divider", ["CLOCK_HZ / 250000 - 1", "CLOCK_HZ / 4000000 - 1", "0xfffffffe"])
def test_a_board_whose_seconds_are_not_seconds(built, board, measure, tmp_path, divider):
    prescale = ("CLOCK_HZ / 1000000 - 1", divider)
    _, port = board(compile_firmware(built[0], tmp_path / "slow.elf", name=NAME, prescale=prescale))
    with pytest.raises(InputError, match="its clock counted") as caught:
        measure(port, windows=Windows(min_seconds=0.4))
    message(caught, port)


@needs_qemu
def test_an_emulator_whose_clock_stands_still(built, board, measure, tmp_path):
    prescale = ("CLOCK_HZ / 1000000 - 1", "0xfffffffe")
    _, port = board(compile_firmware(built[0], tmp_path / "still.elf", prescale=prescale))
    with pytest.raises(InputError, match="its clock counted 0 s"):
        measure(port)


@needs_qemu
def test_a_cut_line_keeps_what_was_measured(board, measure, tmp_path):
    qemu, port = board()
    with pytest.raises(SerialInterrupted, match="connection was lost") as caught:
        measure(port, progress=lambda line: qemu.stop() if line.startswith("window 2") else None)
    message(caught, port)
    caught.value.profile.write(tmp_path / "profile.json")
    latency = Profile.read(tmp_path / "profile.json").find("latency")
    assert len(latency.samples) == 2
    assert "2 of 5 windows, then it was interrupted" in latency.method


@needs_qemu
def test_a_reset_midway(board, measure):
    qemu, port = board()
    with pytest.raises(SerialInterrupted, match="restarted midway") as caught:
        measure(port, progress=lambda line: qemu.reset() if line.startswith("window 1") else None)
    message(caught, port)
    assert len(caught.value.profile.find("latency").samples) == 1


@needs_qemu
def test_a_device_that_hangs_midway(board, measure):
    def attempt(patience_seconds):
        qemu, port = board()

        def hang(line):
            if line.startswith("window 3"):
                qemu.process.send_signal(signal.SIGSTOP)

        with pytest.raises(InputError, match="there came no answer") as caught:
            measure(port, progress=hang, patience_seconds=patience_seconds)
        message(caught, port)
        assert isinstance(caught.value, SerialInterrupted)
        assert len(caught.value.profile.find("latency").samples) == 3

    patiently(attempt)


@needs_qemu
def test_noise_that_attempts_get_over(board, measure):
    def attempt(patience_seconds):
        noise = Noise(damaged_every=37)
        _, port = board(to_host=noise)
        assert len(measure(port, patience_seconds=patience_seconds).find("latency").samples) == 5
        assert noise.lines > 2 * 37

    patiently(attempt)


@needs_qemu
def test_more_noise_than_that(board, measure):
    def attempt(patience_seconds):
        _, port = board(to_host=Noise(damaged_every=4))
        with pytest.raises(InputError) as caught:
            measure(port, patience_seconds=patience_seconds)
        assert re.search("tried 3 times|came characters but no answer", message(caught, port))

    patiently(attempt)


@needs_qemu
def test_an_input_that_arrives_changed_is_sent_again(board, measure):
    flip = Flip(2)
    _, port = board(to_board=flip)
    assert measure(port).find("latency") is not None  # with the outputs of what was meant
    assert flip.times == 0


@needs_qemu
def test_inputs_that_always_arrive_changed(board, measure):
    _, port = board(to_board=Flip(100))
    with pytest.raises(InputError, match="tried 3 times, the input came back changed") as caught:
        measure(port)
    message(caught, port)


@needs_qemu
def test_two_models_are_compared_on_one_board(board, measure, vector_files, tmp_path):
    package = tmp_path / "package"
    write_c(vector_files.graph, package)
    inputs = np.random.default_rng(5).integers(-128, 128, (4, *vector_files.graph.input.shape[1:]), np.int8)
    _, port = board(compile_firmware(package, tmp_path / "other.elf"))
    baseline = measure(
        port,
        model_id=package_model_id(package),
        inputs=inputs,
        expected=simulate(vector_files.graph, inputs),
    )
    _, port = board()
    (row, *_) = gate(baseline, measure(port), Limits.parse("latency=1000%")).rows
    assert row.metric == "latency"
    assert row.limit == 10, "it is judged, and not refused as another identity's"


@needs_qemu
def test_a_board_with_another_model(board, measure):
    _, port = board()
    with pytest.raises(InputError, match=r"runs model [0-9a-f]{16}, not 0123456789abcdef") as caught:
        measure(port, model_id="0123456789abcdef")
    message(caught, port)


@needs_qemu
def test_a_board_that_computes_something_else(board, measure, samples):
    _, port = board()
    wrong = samples[1].copy()
    wrong[2, 1] ^= 1
    with pytest.raises(
        InputError, match=r"output 1 of input 2 is -?\d+, not -?\d+ \(1 of 3 differ\)"
    ) as caught:
        measure(port, expected=wrong)
    message(caught, port)


@needs_qemu
def test_inputs_of_another_size(board, measure, samples):
    def attempt(patience_seconds):
        _, port = board()
        with pytest.raises(InputError) as caught:
            measure(port, inputs=samples[0][:, :-1], patience_seconds=patience_seconds)
        assert "another size than the input's" in message(caught, port)

    patiently(attempt)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "there came no answer: see that the board runs"),
        (b"\xff\x00\xa5" * 50, "there came characters but no answer"),
        (b"boot: ok\r\n" * 20, "there came characters but no answer"),
        (b"m-ready\r\n" * 20, "there came characters but no answer"),
    ],
)
def test_a_port_with_something_else(measure, started, content, expected):
    def attempt(patience_seconds):
        line = Line()
        started.append(line)
        if content:
            line.serve(lambda: line.send(content))
        with pytest.raises(InputError) as caught:
            measure(line.port, patience_seconds=patience_seconds)
        assert expected in message(caught, line.port)

    patiently(attempt)


def test_a_port_that_nobody_reads(measure, started):
    line = Line()
    started.append(line)
    line.ended.set()
    line.serve(lambda: False)  # the other end is closed
    with pytest.raises(InputError) as caught:
        measure(line.port)
    message(caught, line.port)


def test_ports_that_cannot_be_opened(measure, started, tmp_path):
    line = Line()
    started.append(line)
    import serial

    with serial.Serial(line.port, exclusive=True), pytest.raises(InputError, match="it is in use") as caught:
        measure(line.port)
    message(caught, line.port)
    with pytest.raises(InputError, match="there is none of that name"):
        measure("/dev/ttyNONE")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot open it") as caught:
        measure(str(tmp_path / "file"))
    message(caught, tmp_path / "file")
    with pytest.raises(InputError, match="cannot open it"):
        measure(line.port, baud=-1)


def test_wrong_arguments(measure, samples):
    inputs, expected = samples
    for wrong in (
        {"inputs": inputs.astype(np.float32)},
        {"inputs": inputs[:0], "expected": expected[:0]},
        {"expected": expected[:2]},
        {"expected": expected[0]},
    ):
        with pytest.raises(InputError, match=r"inputs: |expected outputs: "):
            measure("/dev/ttyNONE", **wrong)
    for wrong in ({"count": 0}, {"min_seconds": 0}, {"min_seconds": 5000}, {"min_iterations": 0}):
        with pytest.raises(InputError, match="windows: give"):
            Windows(**wrong)


def test_packages_without_an_identity(built, tmp_path):
    with pytest.raises(InputError, match=r"no model\.h"):
        package_model_id(tmp_path)
    shutil.copytree(built[0], tmp_path / "old")
    header = tmp_path / "old/src/model.h"
    header.write_text(header.read_text().replace("MODEL_ID", "OTHER"))
    with pytest.raises(InputError, match="has no MODEL_ID: export it again"):
        package_model_id(tmp_path / "old")


@needs_qemu
@pytest.mark.parametrize("kind", ["package", "tflite"])
def test_the_command_line_measures_a_board(kind, built, files, board, run_cli, tmp_path):
    _, port = board()
    artifact = built[0] if kind == "package" else files.tflite
    out = tmp_path / "profile.json"
    options = ["--target", "nucleo-l4r5zi", "--via", f"serial:{port}", "--seconds", "0.05", "--out", out]
    code, printed, error = run_cli("measure", artifact, *options, "--json", "-q")
    assert code == 0, error
    assert Profile.model_validate_json(printed) == Profile.read(out)
    assert Profile.read(out).find("latency").evidence == "emulated"
    assert Profile.read(out).target.name == "nucleo-l4r5zi"


@needs_qemu
def test_the_command_line_keeps_what_was_measured_before_a_line_was_cut(
    built, board, run_cli, tmp_path, monkeypatch
):
    qemu, port = board()
    out = tmp_path / "profile.json"

    def cut(listener, line):
        if line.startswith("window 2"):
            qemu.stop()

    monkeypatch.setattr(Silent, "detail", cut)
    options = ["--target", "nucleo-l4r5zi", "--via", f"serial:{port}", "--seconds", "0.05", "--out", out]
    code, _, error = run_cli("measure", built[0], *options, "-q")
    assert code == 2
    assert error.count("error: ") == 1
    assert "connection was lost" in error
    assert len(Profile.read(out).find("latency").samples) == 2


@pytest.mark.parametrize("via", ["serial", "serial:", "usb:1", "serial:/dev/null/x"])
def test_a_port_that_is_none(via, built, run_cli):
    code, _, error = run_cli("measure", built[0], "--target", "nucleo-l4r5zi", "--via", via, "-q")
    assert code == 2
    assert error.count("\n") == 1
