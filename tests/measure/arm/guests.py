"""Tiny programs for ARM Linux that mark each of some instructions, to be counted."""

import subprocess
import sys
from pathlib import Path

from edgegrow.measure.runner.marked import MARK_SYSCALL

START = {
    "a64": """
.arch armv8.6-a+fp16+fp16fml+dotprod+i8mm+bf16+lse
.global _start
_start:
    adrp x20, buffer
    add x20, x20, :lo12:buffer
    mov x21, #0
    mov x8, #SYSCALL
""",
    "a32": """
.arch armv7-a
.arch_extension idiv
.fpu neon-vfpv4
.global _start
_start:
    ldr r10, =buffer
    ldr r4, =buffer
    mov r11, #0
    mov r5, #0
    movw r7, #SYSCALL
""",
}
ONE = {
    "a64": """
    adr x22, 9f
    mov x0, #1
    svc #0
    INSTRUCTION
9:
    mov x0, #0
    svc #0
""",
    "a32": """
    adr r6, 9f
    mov r0, #1
    svc #0
    INSTRUCTION
9:
    mov r0, #0
    svc #0
    b 8f
    .ltorg
8:
""",
}
END = {
    "a64": "mov x8, #93\nmov x0, #0\nsvc #0\n.bss\n.balign 64\nbuffer: .space 64\n",
    "a32": "mov r7, #1\nmov r0, #0\nsvc #0\n.ltorg\n.bss\n.balign 64\nbuffer: .space 64\n",
}
CPU = {"a64": "cortex-a76", "a32": "cortex-a7", "t32": "cortex-a7"}
QEMU = {"a64": "qemu-aarch64", "a32": "qemu-arm", "t32": "qemu-arm"}
TRIPLE = {"a64": "aarch64-linux-musl", "a32": "arm-linux-musleabihf"}


def build(folder: Path, isa: str, instructions: list[str]) -> Path:
    """Assemble a static program that marks each instruction by itself."""
    thumb, isa = isa == "t32", isa.replace("t32", "a32")
    text = START[isa] + "".join(ONE[isa].replace("INSTRUCTION", line) for line in instructions) + END[isa]
    if thumb:
        text = text.replace(".global", ".thumb\n.syntax unified\n.global").replace(
            "_start:", ".thumb_func\n_start:"
        )
        text = text.replace("adr r6, 9f", "adr.w r6, 9f\n    orr r6, r6, #1")
    source, program = folder / "guest.s", folder / "guest"
    source.write_text(text.replace("SYSCALL", str(MARK_SYSCALL)))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", TRIPLE[isa], "-nostdlib", "-static"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True, capture_output=True, timeout=240)
    return program


LOOP = {
    "a64": "mov x1, #TIMES\n1: fmla v1.4s, v2.4s, v3.4s\n subs x1, x1, #1\n b.ne 1b",
    "a32": "movw r1, #TIMES\n1: vmla.f32 q1, q2, q3\n subs r1, r1, #1\n bne 1b",
}


def build_loop(folder: Path, isa: str, times: int) -> Path:
    """Assemble a program that marks a loop of three instructions."""
    return build(folder, isa, [LOOP[isa.replace("t32", "a32")].replace("TIMES", str(times))])
