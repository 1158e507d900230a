"""Lower rooms know nothing of higher ones."""

import ast
from pathlib import Path

import pytest

import edgegrow

PACKAGE = Path(edgegrow.__file__).parent
BELOW = {
    "data": set(),
    "nets": set(),
    "deploy": set(),
    "measure": {"deploy"},  # what a device answers is compared with the simulator
    "cost": {"deploy", "measure"},
    "growth": {"data", "nets", "cost"},
}
"""Rooms, and the other ones that each may know."""


def known(room):
    """Other rooms that a room's modules import, wherever in them."""
    for file in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                package, other, *_ = [*name.split("."), "", ""]
                if package == "edgegrow" and other != room and (PACKAGE / other).is_dir():
                    yield other, file.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_from_lower_rooms_alone(room):
    assert not {(other, file) for other, file in known(room) if other and other not in BELOW[room]}
