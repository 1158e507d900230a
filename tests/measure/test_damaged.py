"""Damaged artifacts: always a session or one line, never a traceback or the end of this process."""

import random

import onnx
import pytest
import tflite

from edgegrow.errors import InputError
from edgegrow.measure.process import Worker
from edgegrow.measure.session import open_artifact

MUTANTS = 150  # of each format


def damage(content: bytes, rng: random.Random) -> bytes:
    """Cut it short, flip a bit, or overwrite a few bytes."""
    changed = bytearray(content)
    kind = rng.randrange(3)
    if kind == 0:
        return bytes(changed[: rng.randrange(len(changed))])
    if kind == 1:
        bit = rng.randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << bit % 8
    else:
        for _ in range(rng.choice((1, 2, 4))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def refusal(path, worker=None):
    """The message with which a file is refused, or None where it is opened."""
    try:
        session = open_artifact(path, worker=worker)
    except InputError as error:
        message = str(error)
        assert message.startswith(f"artifact {path}: ")
        assert "\n" not in message
        assert len(message) < 400 + len(str(path))
        return message
    if worker is None:
        session.close()
    return None


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_mutants(files, tmp_path, kind, monkeypatch, capfd):
    content = getattr(files, kind).read_bytes()
    rng, worker = random.Random(0), Worker()
    path = tmp_path / f"mutant.{kind}"
    refused = 0
    for _ in range(MUTANTS):
        path.write_bytes(damage(content, rng))
        refused += refusal(path, worker) is not None
    worker.close()
    assert MUTANTS // 3 < refused < MUTANTS
    assert capfd.readouterr() == ("", ""), "runtimes do not print into ours"


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\x00", ""),
        (b"not a model" * 50, ""),
        (bytes(4) + b"TFL3" + bytes(200), ""),
        (b"\xff" * 4096, ""),
    ],
)
def test_what_is_no_model(tmp_path, kind, content, words):
    path = tmp_path / f"model.{kind}"
    path.write_bytes(content)
    assert words in refusal(path)


def test_files_of_the_other_format(files, tmp_path):
    for kind, other in (("tflite", "onnx"), ("onnx", "tflite")):
        path = tmp_path / f"model.{kind}"
        path.write_bytes(getattr(files, other).read_bytes())
        assert refusal(path)


def test_missing_folder_and_suffix(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.tflite")
    (tmp_path / "folder.onnx").mkdir()
    assert "directory" in refusal(tmp_path / "folder.onnx")
    for name in ("model.pt", "model", "model.tflite.gz"):
        assert "runs .tflite and .onnx files" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "value",
    ["", "null", "{}", '{"input": {}}', '{"input": 3}', '{"input": {"scale": NaN, "zero_point": 0}}',
     '{"input": {"scale": 0, "zero_point": 0}, "output": {"scale": 1, "zero_point": 0}}',
     '{"input": {"scale": 1, "zero_point": "x"}, "output": {"scale": 1, "zero_point": 0}}'],
)  # fmt: skip
def test_damaged_metadata(files, tmp_path, value):
    model = onnx.load(files.onnx)
    model.metadata_props[0].value = value
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert refusal(path)


def crashing(path, signal):
    """A worker that ends by a signal while it opens a file, as a runtime does that a damaged file crashes."""
    import sys

    return Worker(
        [sys.executable, "-c", f"import os, sys; sys.stdin.readline(); os.kill(os.getpid(), {signal})"]
    )


@pytest.mark.parametrize(("signal", "words"), [(11, "crashed (SIGSEGV)"), (14, "longer than 60 s")])
def test_crashes_and_endless_loops_are_told(files, signal, words):
    assert words in refusal(files.tflite, crashing(files.tflite, signal))


def test_a_worker_starts_again_after_a_crash(files):
    worker = Worker()
    open_artifact(files.tflite, worker=worker)
    worker._process.kill()
    worker._process.wait()
    assert "it was killed" in refusal(files.tflite, worker)
    assert refusal(files.tflite, worker) is None
    worker.close()


def test_the_runtimes_messages_are_kept_apart(files, tmp_path):
    """LiteRT tells of a bias of another type in two, and puts nothing between them."""
    content = bytearray(files.tflite.read_bytes())
    graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
    tensors = map(graph.Tensors, range(graph.TensorsLength()))
    bias = next(tensor for tensor in tensors if tensor.Type() == tflite.TensorType.INT32)
    content[bias._tab.Pos + bias._tab.Offset(6)] = tflite.TensorType.BOOL
    path = tmp_path / "bias.tflite"
    path.write_bytes(content)
    assert "; Node number " in refusal(path) or "; Tensor " in refusal(path)
