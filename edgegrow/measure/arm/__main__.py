"""Prepares the emulator, as ``edgegrow doctor --fix emulator`` does: the standard library is enough."""

import sys

from edgegrow.errors import EdgegrowError
from edgegrow.measure.arm.counter import prepare_counter
from edgegrow.measure.arm.preparing import prepare_sysroot
from edgegrow.measure.arm.sysroot import RECIPES

if __name__ == "__main__":
    try:
        prepare_counter()
        for architecture in RECIPES:
            prepare_sysroot(architecture, lambda line: print(line, file=sys.stderr))
    except EdgegrowError as error:
        sys.exit(f"error: {error}")
