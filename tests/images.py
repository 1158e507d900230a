"""Images of docker/, for tests that run them."""

import shutil
import subprocess

import pytest


def require_image(name):
    """Skip a test where no engine runs that has the image."""
    asked = ["docker", "image", "inspect", name]
    if shutil.which("docker") is None or subprocess.run(asked, capture_output=True).returncode:
        pytest.skip(f"no engine that has the image {name}: see docker/")
