"""Preparing a sysroot, with programs that fail: what is whole is kept, what is not is never taken for it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgegrow.errors import InputError
from edgegrow.measure.arm.preparing import prepare_sysroot
from edgegrow.measure.arm.sysroot import RECIPES, find_sysroot, installation_folder

RECIPE = RECIPES["armv7"]
DEBIAN = f"""
root="$(eval echo \\$$#)"
mkdir -p "$root/usr/lib/{RECIPE.triplet}" "$root/usr/bin"
echo fetched >> "$CALLS"
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Programs of these names; returns what writes one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # so that pip fails at once
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    def write(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return calls

    for name in ("qemu-aarch64", "qemu-arm", "mmdebstrap"):
        write(name, "exit 0")
    return write


def test_missing_programs_are_named_with_their_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"apt-get install --no-install-recommends mmdebstrap qemu-user$"):
        prepare_sysroot("aarch64", print)
    assert not list(tmp_path.iterdir())


def test_a_failing_program_leaves_nothing_that_looks_whole(tools):
    tools("mmdebstrap", 'for last; do :; done; mkdir -p "$last/usr"; echo "E: no mirror" >&2; exit 25')
    with pytest.raises(InputError, match=r"^emulator: mmdebstrap failed \(25\): E: no mirror: try again$"):
        prepare_sysroot("armv7", print)
    assert find_sysroot("armv7") is None
    assert [path.name for path in installation_folder().glob(".armv7-*/*")] == ["root.partial"]


def test_it_goes_on_where_it_was(tools):
    calls = tools("mmdebstrap", DEBIAN)
    for _ in range(2):
        with pytest.raises(InputError, match=r"^emulator: pip failed"):
            prepare_sysroot("armv7", print)
    assert calls.read_text() == "fetched\n", "Debian's part was whole: it is not fetched again"
    assert find_sysroot("armv7") is None
    links = sorted(
        path.name for path in installation_folder().glob(f".armv7-*/root/usr/lib/{RECIPE.triplet}/*")
    )
    assert links == ["libblas.so.3", "liblapack.so.3"]


def test_two_at_once_wait_for_each_other(tools, tmp_path):
    calls = tools("mmdebstrap", f"{DEBIAN}sleep 1")
    code = "from edgegrow.measure.arm.preparing import prepare_sysroot; prepare_sysroot('armv7', print)"
    command = [sys.executable, "-c", code]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert sum("waiting for it" in text for text in said) == 1
    assert calls.read_text() == "fetched\n"


def test_an_unwritable_cache_is_one_line(tools, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"^emulator: cannot prepare .*: Not a directory$"):
        prepare_sysroot("armv7", print)


def test_recipes_name_versions():
    for recipe in RECIPES.values():
        assert all("==" in wheel for wheel in recipe.wheels)
    assert Path(RECIPES["aarch64"].name).name != RECIPES["armv7"].name
