"""Counting real artifacts in the emulator, where it is prepared; and what is said where it cannot be."""

import shutil
import tempfile
from types import SimpleNamespace

import pytest

from edgegrow.errors import InputError
from edgegrow.measure.arm.cores import find_core
from edgegrow.measure.arm.counting import count_on
from edgegrow.measure.arm.qemu import open_emulator, open_installed
from edgegrow.measure.arm.scale import CycleScale
from edgegrow.measure.arm.sysroot import find_sysroot
from edgegrow.measure.device import DeviceError, LocalDevice
from edgegrow.measure.protocol import TargetRef
from edgegrow.measuring import Options, measure_artifact
from edgegrow.targets import load_target

TARGET = TargetRef(name="raspberry-pi-4", sha256="0" * 64)


@pytest.fixture(scope="module")
def emulator():
    if find_sysroot("aarch64") is None or shutil.which("qemu-aarch64") is None:
        pytest.skip("the emulator is not prepared: edgegrow doctor --fix emulator")
    with open_emulator(find_core("Cortex-A72"), print) as device:
        yield device


@pytest.fixture(scope="module")
def counted(emulator, files):
    scale = CycleScale(2.0, 1.5e9, "by hand", 0.5)
    profiles = [count_on(emulator, files.tflite, target=TARGET, scale=scale) for _ in range(2)]
    return SimpleNamespace(profiles=profiles, graph=files.graph)


def test_litert_takes_the_same_instructions_each_time(counted):
    first, second = (profile.find("instructions") for profile in counted.profiles)
    assert first == second, "value, samples and identity"
    assert first.evidence == "emulated"
    assert first.identity.cpu.startswith("Cortex-A72 (part 0xd08, QEMU ")
    assert first.identity.runtime == "litert"
    assert "libc" in first.identity.os
    assert (first.identity.governor, first.identity.affinity, first.identity.clock_hz) == (None, None, None)


def test_counts_do_not_depend_on_where_temporary_files_are(emulator, counted, files, monkeypatch, tmp_path):
    for name in ("a", "a-longer-place-that-moves-the-stack"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
        profile = count_on(emulator, files.tflite, target=TARGET)
        assert profile.find("instructions") == counted.profiles[0].find("instructions")


def test_it_is_plausible_and_latency_is_predicted_from_it(counted):
    profile = counted.profiles[0]
    kinds = [m for m in profile.measurements if ":" in m.metric and m.aggregation != "max"]
    whole = profile.find("instructions").value
    assert sum(m.value for m in kinds) == pytest.approx(whole, rel=0.01)
    assert profile.find("mac_lanes").value >= counted.graph.macs / 2
    latency = profile.find("latency")
    assert latency.value == pytest.approx(whole * 2.0 / 1.5e9 * 1e3)
    assert (latency.evidence, latency.error) == ("predicted", 0.5)
    assert {missing.metric for missing in profile.unavailable} == {"peak_memory", "energy"}


def test_time_is_not_latency(emulator, files):
    profile = count_on(emulator, files.tflite, target=TARGET, iterations=1)
    assert profile.find("latency") is None
    (missing,) = [missing for missing in profile.unavailable if missing.metric == "latency"]
    assert "instructions are no cycles" in missing.reason


def test_damaged_artifacts_are_one_line(emulator, tmp_path, files):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(files.tflite.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"^artifact .*damaged.tflite on an emulated Cortex-A72: "):
        count_on(emulator, damaged, target=TARGET)


def test_another_edgegrows_emulator_is_refused(emulator, tmp_path):
    with pytest.raises(DeviceError, match=r"its emulator is not prepared for this edgegrow"):
        open_installed(LocalDevice(name="emulator"), find_core("Cortex-A72"), str(tmp_path))


def test_targets_without_an_emulated_core_are_refused(files, tmp_path):
    with pytest.raises(InputError, match=r"^target host: it has no soc.core"):
        measure_artifact(files.tflite, "host", "emulator")
    with pytest.raises(InputError, match=r"^--seconds: it means nothing to --via emulator"):
        measure_artifact(files.tflite, "raspberry-pi-4", "emulator", Options(seconds=1.0))


def test_a_calibrated_file_predicts():
    target = load_target("raspberry-pi-4")
    assert target.cycle_scale() is None
    cost = target.cost.model_copy(update={"cycle_scale": 1.5, "calibration": "by hand", "error": 0.2})
    scale = target.model_copy(update={"cost": cost}).cycle_scale()
    assert (scale.cycles, scale.clock_hz, scale.error) == (1.5, target.soc.clock_hz, 0.2)
