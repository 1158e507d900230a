"""Calibrations on disk: read back as they were, refused in a line where damaged or of something else."""

import json
import random

import pytest
from clocks import IDENTITY, calibrated, subject_of

from edgegrow.cost.calibration import BoardCalibration, LatencyCalibration, Trial, read_latencies, read_trials
from edgegrow.errors import InputError


@pytest.fixture(scope="module")
def latencies(digits):
    return calibrated(subject_of("mlp", digits))[1]


@pytest.fixture(scope="module")
def trials(latencies):
    told = latencies.model_dump(by_alias=True, include={"target", "structure", "net", "data", "edgegrow",
                                                        "command", "date"})  # fmt: skip
    made = [
        Trial(widths={"0": n}, cycles=(10 * n, 2**40), rest_cycles=3, flash_bytes=9, ram_bytes=0)
        for n in (2, 5)
    ]
    return BoardCalibration(schema=1, identity=IDENTITY, trials=tuple(made), **told)


def test_what_is_written_is_read_back(latencies, trials, tmp_path):
    latencies.write(tmp_path / "new folder" / "a.json")
    assert read_latencies(tmp_path / "new folder" / "a.json") == latencies
    trials.write(tmp_path / "b.json")
    assert read_trials(tmp_path / "b.json") == trials


@pytest.mark.parametrize("part", ["runtime", "version", "kernels", "threads", "cpu", "compiler"])
def test_a_changed_identity_is_refused(part, latencies):
    changed = IDENTITY.model_copy(update={part: 7 if part == "threads" else "other"})
    latencies.check("f", latencies.structure, IDENTITY.model_copy(update={"os": "other"}), "calibrate again")
    with pytest.raises(
        InputError, match=f"calibration f: {part} was .*, it is .* now: calibrate again"
    ) as told:
        latencies.check("f", latencies.structure, changed, "calibrate again")
    assert "\n" not in str(told.value)


def test_another_network_is_refused(latencies):
    with pytest.raises(InputError, match="of another network"):
        latencies.check("f", "0" * 64, IDENTITY, "calibrate again")


@pytest.mark.parametrize("change", [
    {"schema": 2}, {"schema": None}, {"what": "cycles"}, {"extra": 1}, {"identity": 3}, {"structure": "xyz"},
    {"layers": [{}]}, {"layers": "none"}, {"spread": -1}, {"error": "1"}, {"finished": "yes"},
    {"widest": {"0": 0}}, {"widest": {"other": 4}},
])  # fmt: skip
def test_a_changed_form_is_refused(change, latencies, tmp_path):
    tree = {**latencies.model_dump(mode="json", by_alias=True), **change}
    (tmp_path / "f.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match="calibrate again") as told:
        read_latencies(tmp_path / "f.json")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("window", ["0", "-1.5", "NaN", "Infinity", "1e400", '"1"', "null", "1e16"])
def test_times_that_are_none_are_refused(window, latencies, tmp_path):
    latencies.write(tmp_path / "f.json")
    text = (tmp_path / "f.json").read_text()
    (tmp_path / "f.json").write_text(text.replace('"windows_ns": [', f'"windows_ns": [{window}, ', 1))
    with pytest.raises(InputError, match=r"windows_ns|not JSON"):
        read_latencies(tmp_path / "f.json")


def test_a_layer_given_twice_is_refused(latencies, tmp_path):
    twice = LatencyCalibration.model_construct(
        **{**latencies.__dict__, "layers": (latencies.layers[0], *latencies.layers)}
    )
    twice.write(tmp_path / "f.json")
    with pytest.raises(InputError, match="given twice"):
        read_latencies(tmp_path / "f.json")


def test_damaged_files_are_refused_or_read(latencies, trials, tmp_path):
    """Bytes changed, cut out and put in: an InputError of one line, or a calibration, and nothing else."""
    path, rng, refused = tmp_path / "f.json", random.Random(0), []
    for calibration, read in ((latencies, read_latencies), (trials, read_trials)):
        calibration.write(path)
        whole = path.read_bytes()
        for _ in range(150):
            content = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(content))
                piece = rng.randbytes(rng.randint(0, 4)) if rng.random() < 0.5 else rng.choice(
                    [b'"', b"{", b"]", b",", b"0", b"-", b"null", b"1e999", b"[" * 2000]
                )  # fmt: skip
                content[at : at + rng.randint(0, 9)] = piece
            path.write_bytes(content)
            try:
                read(path)
            except InputError as error:
                refused.append(str(error))
        for cut in (0, 1, len(whole) // 2, len(whole) - 3):
            path.write_bytes(whole[:cut])
            with pytest.raises(InputError, match="not JSON"):
                read(path)
    assert len(refused) > 150
    assert not any("\n" in message for message in refused)


def test_one_kind_is_not_taken_for_the_other(latencies, trials, tmp_path):
    latencies.write(tmp_path / "f.json")
    with pytest.raises(InputError, match=r"f\.json"):
        read_trials(tmp_path / "f.json")
    trials.write(tmp_path / "f.json")
    with pytest.raises(InputError, match=r"f\.json"):
        read_latencies(tmp_path / "f.json")
    with pytest.raises(InputError, match="cannot read it"):
        read_trials(tmp_path / "nothing.json")
