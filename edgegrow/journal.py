"""A growth's events: kept in its run folder, and shown to a listener."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.progress import Others, Progress
from edgegrow.listener import Listener
from edgegrow.run import RunFolder


class Journal:
    """Keeps a growth's events in its run folder, and shows them to a listener."""

    def __init__(self, folder: RunFolder, listener: Listener) -> None:
        self.folder, self.listener = folder, listener
        self._warned: set[str] = set()
        self._latest = ("", "")  # stage of the last epoch, and its validation accuracy in words

    def record(self, event: str, values: Mapping[str, Any]) -> None:
        """Keep an event, and show it."""
        self.folder.record(event, values)
        if event == "epoch":
            accuracy = f", last validation {100 * values['validation_accuracy']:.2f} %"
            self._latest = (values["stage"], accuracy)
            self.listener.detail(
                f"{values['stage']}: {values['steps']} steps, loss {values['train_loss']:.4f}{accuracy}"
            )
        elif event == "lost":
            self.listener.warn(
                f"growth step {values['step']}: {values['allocation']} diverged: it is not taken"
            )
        elif event == "qat":
            self.listener.say(
                f"quantization-aware training: {values['epochs']} epochs; quantized without, validation "
                f"{100 * values['validation_accuracy']:.2f} %, loss {values['validation_loss']:.4f}"
            )
        elif event == "rung":
            widths = " ".join(map(str, values["widths"].values()))
            self.listener.say(f"rung {values['name']}: grown to {values['macs']:,} MACs, widths {widths}")
        elif event == "snapshot":
            self.listener.say(
                f"snapshot of {values['macs']:,} MACs: {100 * values['validation_accuracy']:.2f} % of "
                "validation samples after a short training"
            )
        elif event == "try":
            verdict = (
                "less than after a short training, so it collapsed: once more, from other weights"
                if values["collapsed"]
                else f"{'reaches' if values['reached'] else 'does not reach'} the goal"
            )
            self.listener.say(
                f"try {values['name']}: trained, {100 * values['validation_accuracy']:.2f} % of validation "
                f"samples: {verdict}"
            )
        elif event == "growth":
            widths = " ".join(map(str, values["widths"].values()))
            tried = ", ".join(
                f"{option['allocation']} {option['validation_loss']:.4f}" for option in values["options"]
            )
            said = {
                "deepen": " with a block behind {}",
                "weigh": " with weights in place of {}",
                "trim": " with kernels narrowed",
            }
            block = "".join(said[kind].format(*values["blocks"]) for kind in said if kind in values["kinds"])
            for name, look in values["vetted"].items():
                if look["step"] == values["step"]:
                    said_of = (
                        f"{100 * look[which]['accuracy']:.1f} %, loss {look[which]['loss']:.2f} {which}"
                        if look[which]
                        else f"diverged {which}"
                        for which in ("without", "with")
                    )
                    verdict = "it holds" if look["holds"] else "it is refused"
                    self.listener.say(f"{name}, trained on few samples: {', '.join(said_of)}: {verdict}")
            added = sum(values["channels"].values())
            self.listener.say(
                f"growth step {values['step']}: {values['allocation']} (validation losses: {tried}); {added} "
                f"channels more{block}, loss {values['loss_before']:.4f} -> {values['loss_after']:.4f} "
                f"(predicted change {values['predicted_loss_change']:+.4f}), widths {widths}"
            )

    def checkpoint(
        self,
        progress: Progress,
        trace: NetworkTrace,
        optimizer: torch.optim.Optimizer,
        others: Others = MappingProxyType({}),
    ) -> None:
        """Keep a checkpoint."""
        self.folder.save_checkpoint(progress, trace, optimizer, others)

    def step(self, stage: str, step: int, steps: int, loss: float) -> None:
        """Show an optimiser step, and the last accuracy of the network that takes it, where it had one."""
        of, accuracy = self._latest
        self.listener.step(stage, step, steps, f"loss {loss:.4f}{accuracy if of == stage else ''}")

    def warn(self, line: str) -> None:
        """Show a doubt, once: growth steps may come to the same one."""
        if line not in self._warned:
            self._warned.add(line)
            self.listener.warn(line)
