"""Google's ``benchmark_model`` on a device: where it is, how it is started, what its figures depend on."""

from __future__ import annotations

import os
from collections.abc import Mapping

from edgegrow.errors import InputError
from edgegrow.measure.benchmark_output import Timings, parse
from edgegrow.measure.device import Device, DeviceError
from edgegrow.measure.identity import ranges
from edgegrow.measure.protocol import Identity
from edgegrow.measure.shell_device import last_line
from edgegrow.measure.timing_plan import TimingPlan

PLACE = "/data/local/tmp/benchmark_model"
"""Where its instructions put it on a phone."""

LONGEST_S = 150
"""It ends its warm-up and its measurement after this time each, in s, whatever else is asked for."""

LONGEST_TEXT = 200
"""Characters of a fact that a device tells."""

_FIND = f"""
for each in "$TMPDIR/benchmark_model" {PLACE} "$(command -v benchmark_model)"; do
  [ -f "$each" ] && [ -x "$each" ] && printf '%s' "$each" && exit 0
done
exit 1
"""

_FACTS = """
property() { getprop "$1" 2>/dev/null; }
fact() { printf '%s=%s\\n' "$1" "$2" | tr -d '\\000'; }
fact soc "$(property ro.soc.model)"
fact product "$(property ro.product.model)"
fact fingerprint "$(property ro.build.fingerprint)"
fact emulator "$(property ro.boot.qemu)$(property ro.kernel.qemu)"
fact system "$(uname -sr)"
fact machine "$(uname -m)"
fact parts "$(sed -n 's/^CPU part[[:space:]]*:[[:space:]]*//p' /proc/cpuinfo | sort -u | tr '\\n' ' ')"
fact affinity "$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)"
fact governor "$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null)"
fact load "$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null)"
fact digest "$(sha256sum "$1" 2>/dev/null | cut -c 1-16)"
"""


def instead_of_python(device: Device) -> str | None:
    """Return the path of ``benchmark_model`` on a device that has no Python, or None where it has.

    Raises
    ------
    DeviceError
        If it has neither.
    """
    python = device.python[0]
    if device.run(("sh", "-c", 'command -v "$1"', "sh", python), timeout_s=30).exit_code == 0:
        return None
    found = device.run(("sh", "-c", _FIND), timeout_s=30, max_output_bytes=1 << 16)
    program = os.fsdecode(found.stdout)
    if found.exit_code != 0 or not program.isprintable() or len(program) > LONGEST_TEXT:
        raise DeviceError(
            f"{device.name}: it has neither {python} nor benchmark_model: get the latter from "
            f"tensorflow.org/lite/performance/measurement, adb push it to {PLACE}, and chmod +x it"
        )
    return program


def time_file(device: Device, program: str, copy: str, plan: TimingPlan, *options: str) -> Timings:
    """Start the program on a file.

    Parameters
    ----------
    device : Device
    program, copy : str
        Paths of the program and of the file on the device.
    plan : TimingPlan
    *options : str
        Further ones of the program's.

    Raises
    ------
    InputError
        If it prints what cannot be.
    DeviceError
        If the device or the program fails.
    """
    command = (
        *(() if plan.affinity is None else ("taskset", f"{sum(1 << n for n in set(plan.affinity)):x}")),
        program,
        f"--graph={copy}",
        f"--num_threads={plan.threads}",
        f"--num_runs={plan.min_iterations}",
        f"--min_secs={plan.min_seconds:g}",
        f"--max_secs={LONGEST_S}",
        *options,
    )
    finished = device.run(command, timeout_s=2 * LONGEST_S + 60, max_output_bytes=1 << 20)
    output = (finished.stdout + b"\n" + finished.stderr).decode("utf-8", "replace")
    if finished.exit_code != 0:
        why = last_line(finished.stderr) or last_line(finished.stdout) or "it says nothing"
        raise DeviceError(
            f"{device.name}: {program} failed (exit code {finished.exit_code}): {why}: "
            "see that it is built for this device and takes this file"
        )
    try:
        return parse(output)
    except InputError as error:
        raise InputError(f"{device.name}: {program}: {error}: run it by hand to see") from error


def ask_facts(device: Device, program: str, plan: TimingPlan, measured: str) -> dict[str, str]:
    """Ask a device what its figures depend on; what it does not know is left out.

    Parameters
    ----------
    device, program, plan
        As `time_file` takes them.
    measured : str
        What is measured, for messages.

    Raises
    ------
    InputError
        If the device is not the target's.
    """
    told = device.run(("sh", "-c", _FACTS, "sh", program), timeout_s=30, max_output_bytes=1 << 16)
    rows = (line.partition("=") for line in told.stdout.decode("utf-8", "replace").splitlines())
    facts = {name: "".join(c for c in value.strip() if c.isprintable()) for name, _, value in rows}
    known = {name: value[:LONGEST_TEXT] for name, value in facts.items() if value}
    try:
        plan.check_core(", ".join(known.get("parts", "").split()), known.get("machine", "device"))
    except InputError as error:
        raise InputError(f"{measured} on {device.name}: {error}") from error
    return known if plan.affinity is None else {**known, "affinity": ranges(plan.affinity)}


def program_identity(facts: Mapping[str, str], kernels: str | None, threads: int) -> Identity:
    """Identity of figures, from what `ask_facts` returned and what the program has said of its kernels."""
    system, machine, build = (facts.get(name, "") for name in ("system", "machine", "fingerprint"))
    return Identity(
        runtime="benchmark_model",
        version=f"sha256:{facts['digest']}" if "digest" in facts else None,
        kernels=kernels,
        threads=threads,
        cpu=facts.get("soc") or facts.get("product"),
        affinity=facts.get("affinity"),
        governor=facts.get("governor"),
        os=", ".join((f"{system} {machine}".strip(), *((build,) if build else ()))) or None,
    )
