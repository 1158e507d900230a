"""Google's benchmark_model: what it prints is read; and measured by it, over real ways to a device."""

import re
import shutil
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegrow.errors import InputError
from edgegrow.measure.adb import AdbDevice
from edgegrow.measure.benchmark_model import measure_benchmark_model
from edgegrow.measure.benchmark_output import parse
from edgegrow.measure.benchmark_program import instead_of_python
from edgegrow.measure.device import DeviceError, LocalDevice
from edgegrow.measure.protocol import Profile, TargetRef
from edgegrow.measure.timing_plan import TimingPlan

PHONE = TargetRef(name="phone", sha256="0" * 64)

# As builds of several years print it, with figures of our own.
LINES = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [1]
INFO: Graph: [/data/local/tmp/edgegrow-1/model.tflite]
INFO: #threads used for CPU inference: [1]
INFO: Loaded model /data/local/tmp/edgegrow-1/model.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
{applied}INFO: The input model file size (MB): 0.02032
INFO: Initialized session in 12.5ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds.
{prefix}count=4 first=1290011 curr=1239000 min=1238000 max=1290011 avg=1.25e+06 std=20011{more_warm}

INFO: Running benchmark for at least 50 iterations and at least 1 seconds.
{prefix}count=50 first=1241017 curr=1240020 min=1238800 max=1244100 avg=1.24027e+06 std=904{more}

{summary}INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=3.25
"""
SUMMARY = (
    "{prefix}Inference timings in us: Init: 12500, First inference: 1290011, "
    "Warmup (avg): 1.25e+06, Inference (avg): 1.24027e+06\n"
)
APPLIED = {
    "XNNPACK": "and the model graph will be completely executed",
    "XNNPACK in part, built-in": "and the model graph will be partially executed",
    "built-in": "but the model graph will not be executed",
}


def output(prefix="", newer=False, counts=True, summary=True, kernels=None):
    text = LINES.format(
        prefix=prefix,
        applied=f"INFO: Explicitly applied XNNPACK delegate, {APPLIED[kernels]} by the delegate\n"
        if kernels
        else "",
        more_warm=" p5=1238000 median=1239000 p95=1290011" if newer else "",
        more=" p5=1238901 median=1240050 p95=1242000" if newer else "",
        summary=SUMMARY.format(prefix=prefix) if summary else "",
    )
    return text if counts else re.sub(".*count=.*\n", "", text)


@pytest.mark.parametrize(
    "prefix", ["", "INFO: ", "I tflite  : ", "01-01 00:00:00.000  9999  9999 I tflite  : "]
)
@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("summary", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_counts(prefix, newer, summary, end):
    found = parse(output(prefix, newer, summary=summary).replace("\n", end))
    assert (found.count, found.min_us, found.max_us, found.std_us) == (50, 1238800, 1244100, 904)
    assert found.mean_us == 1240270
    assert found.median_us == (1240050 if newer else None)
    assert (found.init_us, found.first_us) == ((12500, 1290011) if summary else (None, None))
    assert found.kernels is None


def test_a_summary_alone():
    found = parse(output(counts=False))
    assert (found.mean_us, found.init_us, found.first_us, found.count) == (1240270, 12500, 1290011, None)


@pytest.mark.parametrize("kernels", APPLIED)
def test_a_delegate_that_falls_back_is_told(kernels):
    assert parse(output(kernels=kernels)).kernels == kernels


def test_profiles_of_operators_are_something_else():
    table = (
        "Timings (microseconds): count=49 first=3 curr=3 min=2 max=9 avg=3.1 std=1\nMemory (bytes): count=0\n"
    )
    assert parse(output() + table) == parse(output())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "printed no timings"),
        ("Failed to load model\n", "printed no timings"),
        (
            "count=4 first=9 curr=9 min=8 max=9 avg=8.5 std=1\n",
            "printed no timings",
        ),  # the warm-up, then a crash
        (output().replace("avg=1.24027e+06", "avg=nan"), "impossible"),
        (output().replace("avg=1.24027e+06", "avg=1.3e+06"), "impossible"),  # above the maximum
        (output(summary=False).replace("min=1238800", "min=-5"), "impossible"),
        (output().replace("count=50", "count=0"), "impossible"),
        (output().replace("std=904", "std=inf"), "impossible"),
        (output().replace("Inference (avg): 1.24027e+06", "Inference (avg): 1.23e+06"), "impossible"),
        (output(counts=False).replace("Inference (avg): 1.24027e+06", "Inference (avg): 0"), "impossible"),
        (
            output(counts=False).replace("Inference (avg): 1.24027e+06", "Inference (avg): 1e999"),
            "impossible",
        ),
    ],
)
def test_what_cannot_be(text, match):
    with pytest.raises(InputError, match=match):
        parse(text)


FIELDS = ["count=", "avg=", "min=", "max=", "std=", "first=", "median=", "Init: ", "Inference (avg): "]
OTHERS = ["Inference timings in us:", "INFO: ", "(bytes):", "50", "1.2e+06", "-1", "nan", "1e999", "9" * 400]
WORDS = st.sampled_from([*FIELDS, *OTHERS, ", ", " ", "=", "\n"])


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS | st.text(max_size=4), max_size=60).map("".join))
def test_any_text_is_read_or_refused(text):
    try:
        found = parse(text)
    except InputError:
        return
    assert 0 < found.mean_us < 1e12


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.booleans(), st.booleans())
def test_damaged_output_is_read_or_refused(data, newer, counts):
    text = output(newer=newer, counts=counts)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 30)) :]
    try:
        found = parse(text)
    except InputError:
        return
    assert 0 < found.mean_us < 1e12
    assert found.min_us is None or found.min_us <= found.max_us


def stand_in(place, text, code=0):
    """Put a program at the place of benchmark_model that checks its file and prints what one printed."""
    program = place / "benchmark_model"
    (place / "printed").write_text(text)
    program.write_text(
        '#!/bin/sh\n[ -s "${1#--graph=}" ] || exit 9\n'
        f'printf "%s\\n" "$@" >"${{0%/*}}/asked"; cat "${{0%/*}}/printed" >&2; exit {code}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def way(request, phone):
    with AdbDevice(phone.serial, python=("no-python-here",)) as device:
        yield device, phone.place


def test_it_measures_over_adb(files, way):
    device, place = way
    program = stand_in(place, output("INFO: ", newer=True, kernels="XNNPACK"))
    assert instead_of_python(device) == str(program)
    said = []
    profile = measure_benchmark_model(
        device,
        files.tflite,
        program=str(program),
        target=PHONE,
        plan=TimingPlan(threads=2, affinity=(0,), min_iterations=7),
        progress=said.append,
    )
    latency = {m.aggregation: m.value for m in profile.measurements if m.metric == "latency"}
    assert latency == {"median": 1240.05, "mean": 1240.27, "min": 1238.8, "max": 1244.1}
    found = profile.find("latency")
    assert found.evidence == "measured"
    assert found.identity.runtime == "benchmark_model"
    assert re.fullmatch("sha256:[0-9a-f]{16}", found.identity.version)
    assert (found.identity.kernels, found.identity.threads, found.identity.affinity) == ("XNNPACK", 2, "0")
    assert found.identity.os.startswith("Linux ")
    assert "random inputs" in found.method
    assert "outputs not looked at" in found.method
    assert profile.find("load").value == 12.5
    assert profile.find("flash").value == files.tflite.stat().st_size
    assert {each.metric for each in profile.unavailable} == {"energy", "peak_memory", "output_deviation"}
    asked = (place / "asked").read_text().split()
    assert {"--num_threads=2", "--num_runs=7", "--min_secs=1"} < set(asked)
    assert sorted(each.name for each in place.iterdir()) == ["asked", "benchmark_model", "printed"]
    assert len(said) == 1


def test_what_fails_is_one_line(files, way, tmp_path):
    device, place = way
    shutil.copy(files.tflite, tmp_path / "model.tflite")

    def refused(kind, match, path=files.tflite, **options):
        with pytest.raises(kind, match=match) as caught:
            measure_benchmark_model(
                device, path, program=str(place / "benchmark_model"), target=PHONE, **options
            )
        assert "\n" not in str(caught.value)
        assert device.name in str(caught.value)

    refused(DeviceError, "cannot start .*benchmark_model")
    stand_in(place, "ERROR: Didn't find op for builtin opcode\n", code=1)
    refused(DeviceError, r"failed \(exit code 1\): ERROR: Didn't find op")
    stand_in(place, "nothing of use\n")
    refused(InputError, "printed no timings: run it by hand")
    refused(InputError, "takes .tflite files alone", files.onnx)
    refused(InputError, "the target's processor has CPU part 0xfff", plan=TimingPlan(cpu_part="0xfff"))
    assert not list(place.glob("edgegrow-*"))
    with pytest.raises(InputError, match="cannot read it"):
        measure_benchmark_model(device, tmp_path / "none.tflite", program="x", target=PHONE)


def test_a_device_with_neither(way):
    device, _ = way
    with pytest.raises(
        DeviceError, match=r"neither no-python-here nor benchmark_model: .*adb push"
    ) as caught:
        instead_of_python(device)
    assert "\n" not in str(caught.value)
    assert instead_of_python(LocalDevice()) is None


def test_the_command_line_takes_it_where_there_is_no_python(files, phone, run_cli, tmp_path):
    stand_in(phone.place, output(newer=True))
    target = tmp_path / "phone.toml"
    target.write_text(
        'name = "phone"\nkind = "android"\ndescription = "a phone"\n'
        '[runtime]\nnames = ["litert"]\nthreads = 1\n'
        f'[transport]\nkind = "adb"\naddress = "{phone.serial}"\npython = "no-python-here"\n'
    )
    out = tmp_path / "profile.json"
    code, printed, error = run_cli("measure", files.tflite, "--target", target, "--json", "--out", out)
    assert code == 0, error
    assert "there is no Python" in error
    assert Profile.model_validate_json(printed) == Profile.read(out)
    assert Profile.read(out).find("latency").value == 1240.05
