import json
import math
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgegrow.errors import InputError
from edgegrow.measure.protocol import (
    Artifact,
    Identity,
    Measurement,
    Profile,
    TargetRef,
    Unavailable,
    profile_schema,
)

ARTIFACT = Artifact(path="model.tflite", sha256="a" * 64, format="tflite", bytes=1384)
TARGET = TargetRef(name="host", sha256="b" * 64)
LATENCY = Measurement(
    metric="latency",
    value=4.79,
    unit="ms",
    aggregation="median",
    samples=(4.79, 4.78, 4.8e-5),
    evidence="emulated",
    identity=Identity(runtime="litert", threads=1, clock_hz=8e7),
    method="five windows",
)
FLASH = Measurement(metric="flash", value=1384, unit="bytes", evidence="measured")
PROFILE = Profile(
    artifact=ARTIFACT,
    target=TARGET,
    measurements=(LATENCY, FLASH),
    unavailable=(Unavailable(metric="energy", reason="no meter"),),
)


@pytest.fixture
def path(tmp_path):
    PROFILE.write(tmp_path / "profile.json")
    return tmp_path / "profile.json"


def refused(path, change=None):
    """The message with which a profile is refused, after `change` to its JSON."""
    if change is not None:
        raw = json.loads(path.read_text())
        change(raw)
        path.write_text(json.dumps(raw))
    with pytest.raises(InputError) as caught:
        Profile.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_written_form_is_the_contract(path):
    raw = json.loads(path.read_text())
    assert list(raw) == ["schema", "artifact", "target", "measurements", "unavailable"]
    assert raw["schema"] == 1
    assert raw["artifact"] == {"path": "model.tflite", "sha256": "a" * 64, "format": "tflite", "bytes": 1384}
    assert raw["unavailable"] == [{"metric": "energy", "reason": "no meter"}]
    measurement = raw["measurements"][0]
    assert measurement["samples"] == [4.79, 4.78, 4.8e-5]
    assert measurement["identity"]["voltage_v"] is None, "what is not known is said"
    assert isinstance(raw["measurements"][1]["value"], int)


def test_read_gives_what_was_written(path):
    assert Profile.read(path) == PROFILE


def test_samples_take_one_line(path):
    assert '"samples": [ 4.79, 4.78, 4.8e-05 ]' in path.read_text()


@given(
    values=st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60), min_size=1
    ),
    text=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_every_profile_survives_its_file(tmp_path_factory, values, text):
    file = tmp_path_factory.mktemp("p") / "profile.json"
    m = Measurement(
        metric="m" + text, value=values[0], unit="W", samples=values, evidence="measured", method=text
    )
    profile = Profile(
        artifact=ARTIFACT,
        target=TARGET,
        measurements=(m,),
        unavailable=(Unavailable(metric="x", reason="[\n1,\n2]" + text),),
    )
    profile.write(file)
    assert Profile.read(file) == profile


def test_find_prefers_the_median():
    assert PROFILE.find("latency") is LATENCY
    assert PROFILE.find("flash") is FLASH
    assert PROFILE.find("latency", "p99") is None
    assert PROFILE.find("energy") is None


def test_a_figure_is_given_once():
    with pytest.raises(ValidationError, match=r"emulated latency \(median\) is given twice"):
        Profile(artifact=ARTIFACT, target=TARGET, measurements=(LATENCY, LATENCY))


def test_values_are_finite():
    for value in (math.nan, math.inf):
        with pytest.raises(ValidationError):
            LATENCY.model_validate({**LATENCY.model_dump(), "value": value})
        with pytest.raises(ValidationError):
            LATENCY.model_validate({**LATENCY.model_dump(), "samples": (1.0, value)})


def test_unknown_schema_is_refused(path):
    assert "schema 2 is not known, this edgegrow reads 1" in refused(path, lambda raw: raw.update(schema=2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.pop("schema"), "not a profile"),
        (lambda raw: raw.pop("target"), "target: it is missing"),
        (lambda raw: raw.update(comment=1), "comment: unknown key"),
        (lambda raw: raw["measurements"][0].update(evidence="guessed"), "measurements.0.evidence"),
        (lambda raw: raw["measurements"][0].update(value="4.79"), "measurements.0.value"),
        (lambda raw: raw["measurements"][0].update(value=math.nan), "measurements.0.value"),
        (lambda raw: raw["measurements"][0].update(samples=[math.inf]), "measurements.0.samples.0"),
        (lambda raw: raw["measurements"][0]["identity"].update(threads=1.5), "identity.threads"),
        (lambda raw: raw["artifact"].update(sha256="abc"), "artifact.sha256"),
        (lambda raw: raw.update(schema=True), "schema"),
        (lambda raw: raw.update(schema_=raw.pop("schema")), "not a profile"),
    ],
)
def test_wrong_fields_are_named(path, change, words):
    assert words in refused(path, change)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_profile(path, content):
    path.write_bytes(content)
    refused(path)


def test_missing_file_and_folder(tmp_path):
    assert "No such file" in refused(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot write"):
        PROFILE.write(tmp_path / "nowhere" / "profile.json")


def test_writing_leaves_nothing_else_behind(path):
    PROFILE.write(path)
    assert [file.name for file in path.parent.iterdir()] == ["profile.json"]


def test_artifact_of_a_file():
    artifact = Artifact.of("a/model.ONNX", b"abc")
    assert (artifact.format, artifact.bytes, artifact.sha256[:8]) == ("onnx", 3, "ba7816bf")
    with pytest.raises(InputError, match="unknown suffix"):
        Artifact.of("model.pt", b"abc")


def test_published_schema_is_the_models():
    published = resources.files("edgegrow.measure").joinpath("profile.schema.json").read_text()
    assert json.loads(published) == profile_schema()
