"""Functions of the user's own, named ``module:function`` on the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgegrow.errors import InputError, reason


def import_function(path: str, where: str, hint: str) -> Callable[..., Any]:
    """Import ``module:function``, looking in the working directory too.

    Parameters
    ----------
    path : str
        ``module:function``; the module may be dotted.
    where, hint : str
        The beginning and the end of the error's line: what was asked for, and what to do.

    Raises
    ------
    InputError
        If the path is malformed, or importing it fails.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise InputError(f"{where}: unknown: {hint}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way while it is imported
        raise InputError(f"{where}: cannot import it: {reason(error)}: {hint}") from error
    if not callable(function):
        raise InputError(f"{where}: it is not a function: {hint}")
    return function
