"""Small real artifacts, written from one quantized network; and devices to measure them on."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from phones import ADB, AdbServer, Phone
from sshd import Sshd
from sshd import missing as missing_sshd

from edgegrow.deploy.lower import lower
from edgegrow.deploy.onnx import write_onnx
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.simulate import simulate
from edgegrow.deploy.tflite import write_tflite
from edgegrow.nets import load_net


def deploy(folder: Path, net: str, shape: tuple[int, ...], widths: tuple[int, ...]) -> SimpleNamespace:
    """Write ``model.tflite``, ``model.onnx`` (uint8), ``int8.onnx``; and what the simulator makes of `x`."""
    torch.manual_seed(0)
    module = load_net(net).build(shape, 3, widths)
    x = np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32)
    with torch.no_grad():
        for _ in range(30):  # batch norms that know the data: an untrained network's logits hardly vary
            module.train()(torch.from_numpy(x))
    module.eval()
    graph = quantize(lower(module, shape), x)
    files = SimpleNamespace(
        tflite=folder / "model.tflite",
        onnx=folder / "model.onnx",
        int8=folder / "int8.onnx",
        x=x,
        graph=graph,
    )
    write_tflite(graph, files.tflite)
    write_onnx(graph, files.onnx, "uint8")
    write_onnx(graph, files.int8, "int8")
    outputs = simulate(graph, graph.quantize_input(x))
    files.logits = graph.dequantize_output(outputs).reshape(len(x), -1)
    return files


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return deploy(tmp_path_factory.mktemp("dscnn"), "dscnn", (1, 9, 6), (4, 4, 6, 6, 8))


@pytest.fixture(scope="session")
def signal_files(tmp_path_factory):
    return deploy(tmp_path_factory.mktemp("conv1d"), "conv1d", (2, 24), load_net("conv1d").widths)


@pytest.fixture(scope="session")
def vector_files(tmp_path_factory):
    return deploy(tmp_path_factory.mktemp("mlp"), "mlp", (12,), (8,))


@pytest.fixture(scope="session")
def _sshd(tmp_path_factory):
    if reason := missing_sshd():
        pytest.skip(reason)
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sshd(_sshd, monkeypatch):
    """A device with a real sshd; its host key is known here, and the key in the home is let in."""
    monkeypatch.setenv("HOME", str(_sshd.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    _sshd.know(_sshd.host_key)
    return _sshd


@pytest.fixture(scope="session")
def _adb_server(tmp_path_factory):
    if ADB is None:
        pytest.skip("adb is not installed: apt install adb")
    server = AdbServer(tmp_path_factory.mktemp("adb") / "home")
    yield server
    server.stop()


@pytest.fixture
def adb_server(_adb_server, monkeypatch):
    """A real adb server, which edgegrow finds by the environment."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(_adb_server.port))
    return _adb_server


@pytest.fixture
def phones(adb_server, tmp_path):
    """Start stand-ins for Android devices."""
    started = []

    def start(*options):
        started.append(Phone(adb_server, tmp_path / "phone", *options))
        return started[-1]

    yield start
    for phone in started:
        phone.stop()


@pytest.fixture
def phone(phones):
    """A stand-in for an Android device, behind a real adb server."""
    return phones()
