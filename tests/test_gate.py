"""The gate as a user meets it: exit codes, one line for what is wrong, files written whole or not at all."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegrow.deploy.tflite import write_tflite
from edgegrow.measure.protocol import Profile

from .deploy.c_packages import Layers
from .profiles import IDENTITY, changed, profile

BASE = profile()


@pytest.fixture
def files(tmp_path):
    """``baseline.json`` and a function that writes ``candidate.json``."""
    baseline, candidate = tmp_path / "baseline.json", tmp_path / "candidate.json"
    BASE.write(baseline)

    def write(**values):
        changed(BASE, **values).write(candidate)
        return baseline, candidate

    return write


def refused(run_cli, *arguments):
    code, out, err = run_cli(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    return err


def test_the_exit_code_is_the_verdict(files, run_cli, tmp_path):
    baseline, candidate = files()
    assert run_cli("gate", baseline, candidate)[0] == 0
    files(instructions=1_020_000, instructions__op_00_conv2d=720_000)
    code, out, err = run_cli("gate", baseline, candidate)
    assert code == 1
    assert "grew in op_00_conv2d" in out
    assert err == "error: gate: not met: instructions (emulated) +2.00 % (limit 0.1 %)\n"
    assert run_cli("gate", baseline, candidate, "--max-regression", "instructions=3%")[0] == 0
    assert run_cli("gate", baseline, candidate, "--max-regression", "instructions=off")[0] == 0
    assert run_cli("gate", baseline, candidate, "-q")[:2] == (1, "")
    code, out, _ = run_cli("gate", baseline, candidate, "--json")
    assert (code, json.loads(out)["accepted"]) == (1, False)


def test_reports_are_written_whatever_the_verdict(files, run_cli, tmp_path):
    for values, verdict in (({}, "✅"), ({"flash": 21_000}, "❌")):
        baseline, candidate = files(**values)
        markdown, junit = tmp_path / "gate.md", tmp_path / "gate.xml"
        run_cli("gate", baseline, candidate, "--markdown", markdown, "--junit", junit)
        assert verdict in markdown.read_text()
        assert junit.read_bytes().startswith(b"<?xml")
        markdown.unlink()
        junit.unlink()
    refused(run_cli, "gate", baseline, candidate, "--markdown", tmp_path / "none" / "gate.md")


def test_update_writes_what_is_accepted_and_the_first(files, run_cli, tmp_path):
    baseline, candidate = files(flash=21_000)
    before = baseline.read_bytes()
    assert run_cli("gate", baseline, candidate, "--update")[0] == 1
    assert baseline.read_bytes() == before
    files(flash=19_000)
    assert run_cli("gate", baseline, candidate)[0] == 0
    assert baseline.read_bytes() == before
    code, out, _ = run_cli("gate", baseline, candidate, "--update")
    assert (code, Profile.read(baseline)) == (0, Profile.read(candidate))
    assert "the baseline is now the candidate" in out
    baseline.unlink()
    assert "--update makes the candidate the first" in refused(run_cli, "gate", baseline, candidate)
    code, out, _ = run_cli("gate", baseline, candidate, "--update", "--markdown", tmp_path / "g.md")
    assert code == 0
    assert "none yet" in out
    assert baseline.read_bytes() == candidate.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"baseline.json", "candidate.json", "g.md"}


def test_run_folders_are_taken_and_not_written_over(finished_run, run_cli, tmp_path):
    folder, _ = finished_run
    assert run_cli("gate", folder, folder / "profile.json")[0] == 0
    err = refused(run_cli, "gate", folder, folder, "--update")
    assert "is a folder" in err
    assert "No such file" in refused(run_cli, "gate", tmp_path, folder)
    assert "format tflite / onnx" in refused(run_cli, "gate", folder, folder / "profile-onnx.json")


def test_other_identities_are_refused_with_every_field_and_both_values(files, run_cli):
    baseline, candidate = files()
    other = IDENTITY.model_copy(update={"version": "2.4.0", "threads": 2})
    raw = json.loads(candidate.read_text())
    for m in raw["measurements"]:
        if m["metric"] == "latency":
            m["identity"] = other.model_dump()
    candidate.write_text(json.dumps(raw))
    err = refused(run_cli, "gate", baseline, candidate, "--update")
    assert "version 2.3.0 / 2.4.0 (of latency)" in err
    assert "threads 1 / 2 (of latency)" in err
    assert "--max-regression METRIC=off" in err
    assert run_cli("gate", baseline, candidate, "--max-regression", "latency=off")[0] == 0
    raw["measurements"][0]["identity"]["threads"] = 10**400
    candidate.write_text(json.dumps(raw))
    assert "threads 1 / 1000" in refused(run_cli, "gate", baseline, candidate)
    raw["target"]["name"] = "\x1b[2Jpi"
    candidate.write_text(json.dumps(raw))
    assert "target raspberry-pi-4 / \\x1b[2Jpi;" in refused(run_cli, "gate", baseline, candidate)


def test_a_refusal_stays_readable(files, run_cli):
    baseline, candidate = files()
    raw = json.loads(candidate.read_text())
    raw["measurements"] = [
        {**raw["measurements"][0], "metric": f"m{i}", "identity": {"os": f"{i}" + "x" * 9000}}
        for i in range(300)
    ]
    candidate.write_text(json.dumps(raw))
    for m in raw["measurements"]:
        m["identity"]["os"] = m["metric"] + "y" * 9000
    baseline.write_text(json.dumps(raw))
    assert len(refused(run_cli, "gate", baseline, candidate)) < 25_000


def mutations(text):
    """Profiles that are damaged: cut, with bytes changed, with values of other types."""
    raw = json.loads(text)
    values = st.sampled_from([None, "", "x", -1, 1e400, 10**400, [], {}, [[]], True, "\ud800"])

    def replaced(where, value):
        copy = json.loads(text)
        place = copy
        for key in where[:-1]:
            place = place[key]
        place[where[-1]] = value
        return json.dumps(copy).encode()

    paths = [[key] for key in raw] + [["artifact", key] for key in raw["artifact"]]
    for i, m in enumerate(raw["measurements"]):
        paths += [["measurements", i, key] for key in m]
        paths += [["measurements", i, "identity", key] for key in m["identity"]]
    content = text.encode()
    cut = st.integers(0, len(content) - 1).map(lambda n: content[:n])
    flipped = st.tuples(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=4)).map(
        lambda at: content[: at[0]] + at[1] + content[at[0] + 1 :]
    )
    return cut | flipped | st.builds(replaced, st.sampled_from(paths), values) | st.binary(max_size=60)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_damaged_profiles_end_in_one_line(files, run_cli, data):
    baseline, candidate = files()
    candidate.write_bytes(data.draw(mutations(baseline.read_text())))
    for arguments in ((baseline, candidate), (candidate, baseline)):
        code, _, err = run_cli("gate", *arguments, "-q")
        assert code in (0, 1, 2)
        assert (code == 0) == (err == "")
        assert len(err.splitlines()) == (code != 0)


def test_what_is_no_profile_is_refused(files, run_cli, tmp_path):
    baseline, candidate = files()
    assert "schema 2 is not known" in refused(
        run_cli, "gate", baseline, rewritten(candidate, '"schema": 1', '"schema": 2')
    )
    assert "no regular file" in refused(run_cli, "gate", baseline, "/dev/zero")
    with (tmp_path / "large.json").open("wb") as large:
        large.truncate(1 << 40)
    assert "more than" in refused(run_cli, "gate", baseline, tmp_path / "large.json")
    assert "too long" in refused(run_cli, "gate", "x" * 5000, baseline, "--update")
    assert "did you mean" in refused(run_cli, "gate", baseline, baseline, "--max-regression", "flsh=1%")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"flash": -5}, "flash below 0 bytes"), ({"latency": -0.1}, "latency below 0 ms"),
        ({"accuracy": 5.0}, "accuracy above 1"),
    ],
)  # fmt: skip
def test_figures_that_cannot_be_are_refused(files, run_cli, values, words):
    baseline, candidate = files()
    raw = json.loads(candidate.read_text())
    ((metric, value),) = values.items()
    found = [m for m in raw["measurements"] if m["metric"] == metric]
    assert found
    for m in found:
        m["value"] = value
    candidate.write_text(json.dumps(raw))
    assert words in refused(run_cli, "gate", baseline, candidate)


def test_nothing_is_written_over_what_is_compared(files, run_cli, tmp_path):
    baseline, candidate = files()
    before = baseline.read_bytes()
    (tmp_path / "link").symlink_to(baseline)
    for option, place in (("--markdown", baseline), ("--junit", candidate), ("--junit", tmp_path / "link")):
        assert f"{option} {place}: it is the file of" in refused(
            run_cli, "gate", baseline, candidate, option, place
        )
    report = tmp_path / "report"
    both = ("--markdown", report, "--junit", report)
    assert "file of --markdown too" in refused(run_cli, "gate", baseline, candidate, *both)
    assert baseline.read_bytes() == before
    assert not report.exists()


def test_a_baseline_may_be_a_link(files, run_cli, tmp_path):
    baseline, candidate = files(flash=19_000)
    link = tmp_path / "link.json"
    link.symlink_to(baseline)
    assert run_cli("gate", link, candidate, "--update")[0] == 0
    assert link.is_symlink()
    assert Profile.read(baseline) == Profile.read(candidate)


def rewritten(path, old, new):
    path.write_text(path.read_text().replace(old, new))
    return path


def test_profiles_are_listed_the_damaged_ones_too(finished_run, run_cli, tmp_path):
    folder, _ = finished_run
    shutil.copytree(folder, tmp_path / "runs" / "one")
    (tmp_path / "runs" / "profile-bad.json").write_text("{")
    code, out, _ = run_cli("profiles", "list", tmp_path / "runs")
    assert code == 0
    for words in ("one/profile.json", "one/profile-onnx.json", "host", "model.tflite", "not JSON"):
        assert words in out
    found = json.loads(run_cli("profiles", "list", tmp_path / "runs", "--json")[1])
    assert [Path(one["file"]).name for one in found if "damaged" not in one] == [
        "profile-onnx.json",
        "profile.json",
    ]
    assert "no such folder" in refused(run_cli, "profiles", "list", tmp_path / "none")


def test_a_difference_informs_whatever_it_is(finished_run, run_cli):
    folder, _ = finished_run
    code, out, _ = run_cli("profiles", "diff", folder, folder / "profile-onnx.json")
    assert code == 0
    assert "not the same: the artifact's format tflite / onnx" in out
    assert "not comparable" in out
    code, out, _ = run_cli("profiles", "diff", folder, folder, "--json")
    assert (code, json.loads(out)["accepted"]) == (0, True)


def test_measuring_shows_the_difference_and_exits_0(finished_run, run_cli, tmp_path):
    folder, _ = finished_run
    better = changed(Profile.read(folder / "profile.json"), flash=10)
    better.write(tmp_path / "before.json")
    quick = ("--iterations", "5", "--seconds", "0.01", "-q", "--compare", tmp_path / "before.json")
    code, out, _ = run_cli("measure", folder / "model.tflite", *quick)
    assert code == 0
    assert "worse" in out
    code, out, err = run_cli("measure", folder / "model.tflite", *quick, "--json")
    assert json.loads(out)["schema"] == 1
    assert "worse" in err
    refused(run_cli, "measure", folder / "model.tflite", "--compare", tmp_path / "none.json")


def network(channels):
    return Layers(8, 8, 3).conv(channels, (3, 3), activation="relu").linear(4).graph()


def test_twenty_measurements_of_one_artifact_raise_no_alarm(run_cli, tmp_path):
    """On this machine, however busy it is: clocks inform, and sizes repeat."""
    write_tflite(network(50), tmp_path / "model.tflite")
    code = (
        "import sys; from pathlib import Path; from edgegrow.measuring import Options, measure_artifact\n"
        "options = Options(iterations=20, seconds=0.02)\n"
        "for i in range(21):\n"
        "    measure_artifact(Path(sys.argv[1]), options=options).write(f'{sys.argv[2]}/{i}.json')\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "model.tflite", tmp_path], check=True, timeout=120)
    for i in range(1, 21):
        assert run_cli("gate", tmp_path / "0.json", tmp_path / f"{i}.json", "-q") == (0, "", "")


def test_where_no_figure_has_a_limit_nothing_was_compared(files, run_cli):
    baseline, candidate = files()
    empty = BASE.model_copy(update={"measurements": ()})
    empty.write(baseline)
    assert "nothing was compared" in refused(run_cli, "gate", baseline, candidate)
    empty.write(candidate)
    assert "nothing was compared" in refused(run_cli, "gate", baseline, candidate, "--update")
    baseline.unlink()
    assert run_cli("gate", baseline, candidate, "--update")[0] == 0
