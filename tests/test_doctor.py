import time
from importlib import metadata

import pytest

from edgegrow import doctor
from edgegrow.data import builtin
from edgegrow.doctor import Check, diagnose
from edgegrow.errors import InputError


@pytest.fixture(scope="module")
def checks():
    found = diagnose()
    assert len({check.name for check in found}) == len(found), "each once"
    return {(check.name, check.group): check for check in found}


def test_core_is_found_and_works(checks):
    assert checks["python", "core"].status == "ok"
    for name in ("torch", "onnxruntime", "ai-edge-litert", "pydantic"):
        check = checks[name, "core"]
        assert (check.status, check.remedy) == ("ok", ""), check
        assert check.version == metadata.version(name)


def test_extras_are_listed_with_how_to_get_them(checks):
    assert {group for _, groups in checks for group in groups.split(",")} == {
        "core", "mcu", "meters", "npu", "serial", "ssh", "cmsis", "tf", "legacy", "baselines", "datasets",
        "report", "programs", "emulator", "data",
    }  # fmt: skip
    for check in checks.values():
        assert check.status == "ok" or check.remedy
        assert "\n" not in check.remedy
    assert ("numpy", "legacy") not in checks, "a pin is for its own environment"
    assert ("pytest", "dev") not in checks


def test_it_is_fast():
    before = time.perf_counter()
    diagnose()
    assert time.perf_counter() - before < 4  # twice what is promised: machines of CI are busy


def check_with(monkeypatch, lines, versions, programs=None):
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "_version", versions.get)
    monkeypatch.setattr(doctor, "_SHOWN_TO_WORK", programs or {})
    beside = ("python", "digits", "fashion-mnist")
    others = ("programs", "emulator")
    return [check for check in diagnose() if check.name not in beside and check.group not in others]


def test_missing_old_and_fine(monkeypatch):
    lines = ["alpha>=1.10", "beta>=2", "gamma", "delta>=2.1; extra == 'mcu'", 'edgegrow[mcu]; extra == "dev"']
    versions = {"alpha": "1.9.3", "gamma": "0.1", "delta": "2.1.0+cpu"}
    assert check_with(monkeypatch, lines, versions) == [
        Check("alpha", "broken", "1.9.3", "older than 1.10: pip install -U edgegrow"),
        Check("beta", "missing", None, "pip install edgegrow"),
        Check("gamma", "ok", "0.1"),
        Check("delta", "ok", "2.1.0+cpu", "", "mcu"),
    ]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise ValueError('not a model')", ""),
        (
            "import os; os.kill(os.getpid(), 11)",
            "it crashes (signal 11): pip install --force-reinstall alpha",
        ),
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        (
            "raise AttributeError('_ARRAY_API not found: numpy')",
            "it does not work beside the installed numpy",
        ),
    ],
)
def test_a_runtime_that_does_not_work(monkeypatch, program, words):
    (check,) = check_with(monkeypatch, ["alpha>=1"], {"alpha": "1.0"}, {"alpha": program})
    assert check.status == ("broken" if words else "ok")
    assert words in check.remedy


def test_a_runtime_that_hangs(monkeypatch):
    monkeypatch.setattr(doctor, "_SECONDS", 0.2)
    (check,) = check_with(monkeypatch, ["alpha"], {"alpha": "1"}, {"alpha": "import time; time.sleep(60)"})
    assert "does not start" in check.remedy


def test_data_sets(monkeypatch, tmp_path):
    monkeypatch.setattr(builtin, "SYSTEM_FOLDERS", (tmp_path,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (check,) = (check for check in diagnose() if check.name == "fashion-mnist")
    assert check.status == "missing"
    assert "apt install dataset-fashion-mnist" in check.remedy
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for name in builtin.FASHION_MNIST_FILES:
        (folder / f"{name}.gz").touch()
    (check,) = (check for check in diagnose() if check.name == "fashion-mnist")
    assert (check.status, check.version) == ("ok", str(folder))


def test_programs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = [check for check in diagnose() if check.group == "programs"]
    assert [(check.name, check.status) for check in checks] == [
        ("adb", "missing"),
        ("arm-none-eabi-gcc", "missing"),
        ("qemu-system-arm", "missing"),
    ]
    assert "apt install gcc-arm-none-eabi" in checks[1].remedy
    for name, answer in (
        ("adb", "echo Version 29.0.6"),
        ("arm-none-eabi-gcc", "echo 12.2.1"),
        ("qemu-system-arm", "exit 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    adb, compiler, emulator = (check for check in diagnose() if check.group == "programs")
    assert (adb.status, adb.version) == ("ok", "29.0.6")
    assert (compiler.status, compiler.version, compiler.remedy) == ("ok", "12.2.1", "")
    assert emulator.status == "broken"


def test_not_installed(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", requires)
    with pytest.raises(InputError, match="pip install edgegrow"):
        diagnose()


def test_the_table_shows_extras_in_their_brackets(run_cli):
    _, out, _ = run_cli("doctor")
    assert "[legacy]" in "".join(out.split())
