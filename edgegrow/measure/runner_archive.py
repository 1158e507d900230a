"""The runner as the one file that is sent to devices: an archive that Python runs.

It is what ``python -m zipapp`` makes: https://docs.python.org/3/library/zipapp.html. What a runner's memory
looks like has a part in counted instructions, so the same modules always give the same bytes, and figures can
name them.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from pathlib import Path

FILE_NAME = "runner.pyz"
"""What it is called on a device."""

_MODULES = Path(__file__).parent / "runner"
_MAIN = b"import sys\n\nfrom runner.main import main\n\nsys.exit(main())\n"


@functools.cache
def runner_archive() -> bytes:
    """Pack the runner's modules; without compression, for which a device's Python may lack the library."""
    sources = {f"{_MODULES.name}/{path.name}": path.read_bytes() for path in _MODULES.glob("*.py")}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted({"__main__.py": _MAIN, **sources}.items()):
            entry = zipfile.ZipInfo(name)  # of 1980, whenever it is packed
            entry.create_system = 3  # Unix, wherever it is packed
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, source)
    return packed.getvalue()


def runner_digest() -> str:
    """Name the runner by its bytes, in 8 characters."""
    return hashlib.sha256(runner_archive()).hexdigest()[:8]
