"""ARM Linux and phones without one: emulated by QEMU's user mode, their instructions counted by kind."""
