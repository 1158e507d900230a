"""Listeners that note what a growth shows."""

from edgegrow.listener import Silent


class Heard(Silent):
    """Notes everything, and interrupts at a stage."""

    def __init__(self, stop_at=None):
        self.warnings, self.said, self.details, self.stages, self.stop_at = [], [], [], [], stop_at

    def say(self, line):
        self.said.append(line)

    def warn(self, line):
        self.warnings.append(line)

    def detail(self, line):
        self.details.append(line)

    def step(self, stage, step, steps, figures):
        self.stages.append(stage)
        if stage == self.stop_at:
            raise KeyboardInterrupt
