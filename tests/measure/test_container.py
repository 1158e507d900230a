"""Containers as devices, with a real engine and an image of any Debian."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from edgegrow.errors import InputError
from edgegrow.measure.container import ENGINES, ContainerDevice
from edgegrow.measure.device import DeviceError, DeviceTimeout

pytestmark = pytest.mark.engine

IMAGES = ("edgegrow-cortex-a", "debian:bookworm-slim")


def engine():
    for name in ENGINES:
        if shutil.which(name) is not None:
            asked = subprocess.run([name, "info"], capture_output=True, timeout=60)
            if asked.returncode == 0:
                return name
    return None


def containers():
    listed = subprocess.run([engine(), "ps", "-a", "--format", "{{.Names}}"], capture_output=True, text=True)
    return [name for name in listed.stdout.split() if name.startswith("edgegrow-")]


def gone(wait_s=20.0):
    end = time.monotonic() + wait_s
    while containers() and time.monotonic() < end:
        time.sleep(0.2)
    return not containers()


@pytest.fixture(scope="module")
def image():
    found = engine()
    if found is None:
        pytest.skip("no container engine runs: docker/test-setup.sh start FOLDER, and DOCKER_HOST")
    for name in IMAGES:
        if subprocess.run([found, "image", "inspect", name], capture_output=True).returncode == 0:
            return name
    return pytest.skip(f"there is no image {' or '.join(IMAGES)}: see docker/")


@pytest.fixture
def device(image):
    with ContainerDevice(image) as opened:
        yield opened
    assert gone(), "a container is left"


def test_arguments_and_files_arrive_unchanged(device):
    text = "a b $HOME `id` 'x' \"y\" \\ * \n ü"
    done = device.run(["printf", "%s|", text, "", "-n"], timeout_s=60)
    assert (done.exit_code, done.stdout.decode()) == (0, f"{text}||-n|")
    content = bytes(range(256)) * 1000
    with device.folder() as folder:
        path = f"{folder}/a $(b) 'c'"
        device.put(content, path)
        assert device.run(["cat", path], timeout_s=60).stdout == content
        assert device.run(["sh", "-c", "exit 7"], timeout_s=60).exit_code == 7
    assert device.run(["ls", folder], timeout_s=60).exit_code != 0, "the folder is removed"


def test_it_has_no_rights(device):
    run = [
        "sh",
        "-c",
        "id -u; touch /x 2>&1; touch /tmp/x && echo fine; ls /sys/class/net; grep Cap /proc/self/status",
    ]
    said = device.run(run, timeout_s=60).stdout.decode()
    assert said.startswith("65534\n")
    assert "Read-only file system" in said
    assert "fine\nlo\n" in said, "no network but its own"
    assert "CapEff:\t0000000000000000" in said
    assert "CapBnd:\t0000000000000000" in said


def test_what_takes_too_long_or_writes_too_much_is_ended(device):
    device.run(["true"], timeout_s=60)
    with pytest.raises(DeviceTimeout, match=r": sleep did not end within 1 s: it was ended$"):
        device.run(["sleep", "600"], timeout_s=1)
    assert gone()
    with pytest.raises(DeviceError, match=r"wrote more than 1,000 bytes"):
        device.run(["yes"], timeout_s=60, max_output_bytes=1000)
    assert gone()
    assert device.run(["echo", "again"], timeout_s=60).stdout == b"again\n", "it starts anew"


def test_a_full_disk_is_one_line(device):
    with device.folder() as folder:
        filling = ["sh", "-c", "cat /dev/zero > $0/full", folder]
        assert b"No space left" in device.run(filling, timeout_s=120).stderr
        with pytest.raises(DeviceError, match=r"^container:.*: cannot write .*: .*No space left on device$"):
            device.put(b"x" * 100_000, f"{folder}/more")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_container_outlives_its_process(image, how):
    code = (
        "import signal, sys; from edgegrow.measure.container import ContainerDevice\n"
        # Who starts tests in the background may have it ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with ContainerDevice(sys.argv[1]) as device:\n"
        "    device.run(['true'], timeout_s=60); print('runs', flush=True)\n"
        "    device.run(['sleep', '600'], timeout_s=600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "runs\n"
    assert containers()
    os.kill(process.pid, how)
    process.wait(60)
    assert gone()


def test_unknown_images_are_one_line(image):
    with ContainerDevice("edgegrow-there-is-none") as device, pytest.raises(DeviceError) as caught:
        device.run(["true"], timeout_s=60)
    assert str(caught.value).startswith("container:edgegrow-there-is-none: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no image's name"):
        ContainerDevice("--privileged")


def test_a_missing_engine_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"^container: neither docker nor podman is installed"):
        ContainerDevice("debian")
