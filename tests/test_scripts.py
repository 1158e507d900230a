"""What scripts import from the package is there: they are run by hand, and so break unseen."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.mark.parametrize("script", sorted(map(str, (p.relative_to(SCRIPTS) for p in SCRIPTS.rglob("*.py")))))
def test_what_a_script_imports_from_the_package_is_there(script):
    for node in ast.walk(ast.parse((SCRIPTS / script).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("edgegrow"):
            continue
        module = import_module(node.module)
        for name in (alias.name for alias in node.names):
            if not hasattr(module, name):
                import_module(f"{node.module}.{name}")  # a module of a package
