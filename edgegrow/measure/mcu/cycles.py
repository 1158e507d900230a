"""How many cycles an inference takes: the core's published timings, weighted with counts of its blocks.

Zero wait states, no fitted parameter; a board's flash, and what a core's table leaves open, go into one
factor a board. A block's instructions are timed once, from their text; its last one is a branch that is
either taken or falls through, and both are counted.

Sources
-------
Cortex-M0+: Arm DDI 0484C, table 3-1; single-cycle multiplier. Cortex-M3: Arm DDI 0337I, table 3-1 and
"Load/store timings". Cortex-M4: Arm DDI 0439, the same. Arm publishes no table for the Cortex-M33: it is
given the M4's, which has been found near a measured nRF5340 (1.02 to 1.06 times such a model's cycles, with
CMSIS-NN's kernels). Nothing is published for the Cortex-M7, which issues two instructions at once, and for
RISC-V cores it depends on the maker: these have no model.

Not modelled: a cycle that a load or store waits for an address just computed, contention of literal loads
with the fetch unit, 32-bit instructions that are not aligned, operands that shorten multiplications and
divisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgegrow.errors import InputError
from edgegrow.measure.mcu.cores import Core


@dataclass(frozen=True)
class Timings:
    """Cycles of a core's instructions; one where nothing else is said.

    Attributes
    ----------
    refill : int
        Cycles that a taken branch takes longer than one that is not: the pipeline is filled again.
    return_refill : int
        The same after a ``POP`` into the program counter.
    call : int
        Of ``BL``, altogether.
    load, next_load : int
        Of a load, and of one that follows another load.
    store : int
    multiply_long, accumulate, accumulate_long, divide : int
        Of ``SMULL``, ``MLA``, ``SMLAL`` and ``SDIV``; where the table gives a range, a value within it.
    special : int
        Of ``MRS``, ``MSR`` and barriers.
    """

    refill: int = 2  # P is 1 to 3 by the table; 2 agrees with boards
    return_refill: int = 2
    call: int = 3
    load: int = 2
    next_load: int = 1
    store: int = 1
    multiply_long: int = 1
    accumulate: int = 1
    accumulate_long: int = 1
    divide: int = 7  # 2 to 12
    special: int = 2


M4 = Timings()
TIMINGS = {
    "cortex-m0plus": Timings(refill=1, return_refill=2, next_load=2, store=2, special=3),
    # SMULL takes 3 to 5, SMLAL 4 to 7 cycles: fewer where operands are small.
    "cortex-m3": Timings(multiply_long=4, accumulate=2, accumulate_long=5),
    "cortex-m4": M4,
    "cortex-m33": M4,
}
"""The cores that have a model."""

LOADS = {"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh", "ldrt", "ldrbt", "ldrht", "ldrsbt", "ldrsht"}
STORES = {"str", "strb", "strh", "strt", "strbt", "strht"}
PAIRS = {"ldrd", "strd"}
MULTIPLES = {"ldm", "ldmdb", "stm", "stmdb", "push", "pop"}
LONG = {"smull", "umull"}
ACCUMULATES = {"mla", "mls"}
LONG_ACCUMULATES = {"smlal", "umlal", "umaal"}
DIVIDES = {"sdiv", "udiv"}
SPECIAL = {"mrs", "msr", "dsb", "dmb", "isb"}
TABLES = {"tbb", "tbh"}
TABLE_CYCLES, LOADED_REFILL = 6, 3
"""Cycles of ``TBB``; refilling after ``LDR`` into the program counter: both wait for the load."""

BRANCHES = {"b", "bx", "blx", "cbz", "cbnz"}


@dataclass(frozen=True)
class BlockCycles:
    """Cycles of one run of a block: always, and further ones if its last instruction branches."""

    always: int
    taken: int


class CycleModel:
    """Cycles of blocks on one core; see `has_model` for which.

    Parameters
    ----------
    core : Core
    """

    def __init__(self, core: Core) -> None:
        try:
            import capstone
            from capstone import arm_const
        except ImportError as error:
            raise InputError("capstone is not installed: pip install 'edgegrow[mcu]'") from error
        mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        if core.name == "cortex-m33":
            mode |= capstone.CS_MODE_V8
        self._disassembler = capstone.Cs(capstone.CS_ARCH_ARM, mode)
        self._disassembler.detail = True
        self._timings = TIMINGS[core.name]
        self._memory, self._register = arm_const.ARM_OP_MEM, arm_const.ARM_OP_REG
        self._pc = arm_const.ARM_REG_PC

    def block(self, code: bytes, address: int) -> BlockCycles:
        """Time a block.

        Parameters
        ----------
        code : bytes
            Its instructions.
        address : int
            Where they stand.

        Raises
        ------
        InputError
            If there is an instruction that capstone does not know.
        """
        always = decoded = taken = 0
        before: Any = None
        for instruction in self._disassembler.disasm(code, address):
            cycles, taken = self._instruction(instruction, before)
            always += cycles
            decoded += instruction.size
            before = instruction
        if decoded != len(code):
            raise InputError(f"cycle model: no timing for the instruction at {address + decoded:#x}")
        return BlockCycles(always, taken)

    def _instruction(self, instruction: Any, before: Any) -> tuple[int, int]:
        """Cycles of an instruction, and how many more if it branches."""
        timings, name = self._timings, instruction.insn_name()
        to_pc = any(
            operand.type == self._register and operand.reg == self._pc and operand.access & 2
            for operand in instruction.operands
        )
        if name in BRANCHES:
            return 1, timings.refill
        if name == "bl":
            return 1, timings.call - 1
        if name in TABLES:
            return TABLE_CYCLES, 0
        if name in LOADS:
            return self._load(instruction, before), LOADED_REFILL if to_pc else 0
        if name in STORES:
            return timings.store + self._waits(instruction, before), 0
        if name in PAIRS:
            return 3, 0
        if name in MULTIPLES:
            # The base register is an operand of LDM and STM; PUSH and POP have the list alone.
            registers = len(instruction.operands) - (name not in ("push", "pop"))
            return 1 + registers, timings.return_refill if to_pc else 0
        cycles = 1
        for names, value in (
            (LONG, timings.multiply_long),
            (ACCUMULATES, timings.accumulate),
            (LONG_ACCUMULATES, timings.accumulate_long),
            (DIVIDES, timings.divide),
            (SPECIAL, timings.special),
        ):
            if name in names:
                cycles = value
        return cycles, timings.refill if to_pc else 0

    def _load(self, instruction: Any, before: Any) -> int:
        """Time a load: its address phase overlaps the data phase of a load just before it."""
        if before is None or before.insn_name() not in LOADS:
            return self._timings.load
        return self._timings.next_load + self._waits(instruction, before)

    def _waits(self, instruction: Any, before: Any) -> int:
        """Cycles that a load or store waits for an address which the load before it has read."""
        if before is None or before.insn_name() not in LOADS:
            return 0
        loaded = before.operands[0].reg
        addresses = (o.mem for o in instruction.operands if o.type == self._memory)
        depends = any(loaded in (address.base, address.index) for address in addresses)
        # Where loads do not overlap, the address is there in time.
        return self._timings.load - self._timings.next_load if depends else 0


def has_model(core: Core) -> bool:
    """Tell whether cycles of a core can be predicted."""
    return core.name in TIMINGS
