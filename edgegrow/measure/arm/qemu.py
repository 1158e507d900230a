"""An ARM machine that QEMU's user mode stands for: a device whose Python is emulated, and counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgegrow.measure.arm.cores import Core
from edgegrow.measure.arm.counter import counter_name, prepare_counter
from edgegrow.measure.arm.counts import Counts, read_counts
from edgegrow.measure.arm.preparing import prepare_sysroot
from edgegrow.measure.arm.sysroot import ANY_FOLDER, Sysroot, installation_folder, sysroot_in
from edgegrow.measure.container import ContainerDevice
from edgegrow.measure.device import (
    MAX_OUTPUT_BYTES,
    Device,
    DeviceError,
    Finished,
    LocalDevice,
    last_line,
)
from edgegrow.measure.remote import Say
from edgegrow.measure.runner.marked import MARK_SYSCALL

IMAGE = "edgegrow-cortex-a"
"""The image that has the emulator, as the Dockerfile calls it."""

IMAGE_FOLDER = "/opt/edgegrow/arm"
"""Where it is prepared in the image."""

_ANSWER_SECONDS = 60.0

_TEMPORARY = "/tmp"
"""Where runs have their folders, here as in a container, whatever ``TMPDIR`` is: the length of their paths is
a part of what is counted."""


@dataclass(frozen=True)
class Installation:
    """Where an emulator is installed, on this machine or in a container.

    Attributes
    ----------
    sysroot : Sysroot
    counter : str
        Path of the counter.
    qemu : str
        Version of QEMU, e.g. ``7.2.22``.
    versions : dict of str
        Of the libraries in the sysroot: ``libc``, ``gcc``, ``python``.
    """

    sysroot: Sysroot
    counter: str
    qemu: str
    versions: dict[str, str]


class QemuDevice(Device):
    """A device that runs ARM programs on another device, in QEMU.

    Parameters
    ----------
    host : Device
        Where QEMU is; it is closed with this one.
    installation : Installation
    core : Core

    Attributes
    ----------
    counts : tuple of Counts
        What the last program that ran has marked, one an inference.
    """

    def __init__(self, host: Device, installation: Installation, core: Core) -> None:
        self.name, self.installation, self.core = host.name, installation, core
        self.counts: tuple[Counts, ...] = ()
        self._host = host
        self.python = self._python_in(ANY_FOLDER)

    def run(
        self, command: Sequence[str], *, timeout_s: float, max_output_bytes: int = MAX_OUTPUT_BYTES
    ) -> Finished:
        """Run a program on the host to its end; one that begins with `python` is emulated."""
        self.counts = ()
        finished = self._host.run(command, timeout_s=timeout_s, max_output_bytes=max_output_bytes)
        self.counts, rest = read_counts(finished.stderr, self.name)
        return Finished(finished.exit_code, finished.stdout, rest)

    def put(self, content: bytes, path: str) -> None:
        """Write a file on the host."""
        self._host.put(content, path)

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Make a temporary folder on the host, which `python` runs in."""
        sysroot = self.installation.sysroot
        with self._host.folder() as folder:
            if seen := sysroot.seen(folder):
                link = ("ln", "-s", sysroot.view(self.core), seen)
                _ask(self._host, link, "its folder for temporary files takes no links")
            self.python = self._python_in(folder)
            yield folder

    def close(self) -> None:
        """End the connection to the host."""
        self._host.close()

    def _python_in(self, folder: str) -> tuple[str, ...]:
        sysroot = self.installation.sysroot
        # A comma separates the plugin's arguments; two are one.
        plugin = f"{self.installation.counter.replace(',', ',,')},syscall={MARK_SYSCALL}"
        qemu = None if isinstance(self._host, LocalDevice) else sysroot.recipe.qemu
        return sysroot.python(self.core, ("-plugin", plugin), qemu, folder)


def open_emulator(core: Core, say: Say) -> QemuDevice:
    """Open a core's emulator on this machine; it is prepared where it is not.

    Raises
    ------
    InputError
        If it cannot be prepared.
    """
    prepare_sysroot(core.architecture, say)
    prepare_counter()
    return open_installed(
        LocalDevice(name="emulator", temporary=_TEMPORARY), core, str(installation_folder())
    )


def open_container(core: Core, image: str) -> QemuDevice:
    """Open a core's emulator in a container of an image that ``docker/cortex-a.Dockerfile`` has made.

    Raises
    ------
    InputError
        If there is no container engine.
    DeviceError
        If the image is not there, or is another edgegrow's.
    """
    host = ContainerDevice(image)
    try:
        return open_installed(host, core, IMAGE_FOLDER)
    except BaseException:
        host.close()
        raise


def open_installed(host: Device, core: Core, folder: str) -> QemuDevice:
    """Open a core's emulator where it is prepared.

    Parameters
    ----------
    host : Device
        Where it is: this machine, or a container.
    core : Core
    folder : str
        What `edgegrow.measure.arm.sysroot.installation_folder` is there.

    Raises
    ------
    DeviceError
        If it is not there, or is another version's.
    """
    sysroot, counter = sysroot_in(folder, core.architecture), f"{folder}/{counter_name()}"
    qemu = sysroot.recipe.qemu
    version = re.search(r"version (\d+(?:\.\d+){1,3})", _ask(host, (qemu, "--version"), f"it has no {qemu}"))
    if version is None or "-plugin" not in _ask(host, (qemu, "--help"), f"it has no {qemu}"):
        raise DeviceError(
            f"{host.name}: its {qemu} cannot load plugins, which count: use Debian 12's qemu-user, "
            "or --via container"
        )
    unprepared = "its emulator is not prepared for this edgegrow"
    _ask(host, ("test", "-r", counter), unprepared)
    manifest = _ask(host, ("cat", sysroot.manifest), unprepared)
    return QemuDevice(host, Installation(sysroot, counter, version[1], _versions(manifest)), core)


def _ask(host: Device, command: tuple[str, ...], otherwise: str) -> str:
    finished = host.run(command, timeout_s=_ANSWER_SECONDS, max_output_bytes=1 << 16)
    if finished.exit_code:
        told = last_line(finished.stderr)
        why = f"{otherwise} ({told})" if told else otherwise
        raise DeviceError(f"{host.name}: {why}: see edgegrow doctor, or build the image again")
    return finished.stdout.decode(errors="replace")


def _versions(manifest: str) -> dict[str, str]:
    try:
        found: Any = json.loads(manifest)
        return {name: str(found[name])[:60] for name in ("libc", "gcc", "python")}
    except (ValueError, KeyError, TypeError):
        return {}
