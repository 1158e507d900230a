"""The last epochs of a run: quantization-aware training of the network as it will be deployed."""

from __future__ import annotations

from functools import partial

from edgegrow.config import TrainConfig
from edgegrow.deploy.qat import FakeQuantized
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.progress import Progress
from edgegrow.growth.stretch import Trainer
from edgegrow.journal import Journal
from edgegrow.run import Checkpoint
from edgegrow.training import cosine, evaluate, make_optimizer

_RATE = 1e-3
"""Peak learning rate in units of ``train.lr``. Without batch norms, ten times as much spoils networks
(docs/results/qat.md)."""

PREFIX = "qat_"
"""Of its tensors in a checkpoint."""

_STREAM = 20
"""Key of the random streams, apart from those of growth."""


class Finisher:
    """Trains a folded, quantized network for some epochs; with none it stays what calibration made it.

    Parameters
    ----------
    trace : NetworkTrace
        The float network that it was made from, for the checkpoints.
    network : FakeQuantized
        Trained in place.
    train_config : TrainConfig
        Its learning rate and momentum are used; weights do not decay any more.
    epochs : int
        How many there will be in all.

    Attributes
    ----------
    taken : int
        Epochs that the network has had.
    """

    def __init__(
        self, trace: NetworkTrace, network: FakeQuantized, train_config: TrainConfig, epochs: int
    ) -> None:
        self.trace, self.network, self.epochs = trace, network, epochs
        self.rate = _RATE * train_config.lr
        self.optimizer = make_optimizer(network, self.rate, train_config.momentum, weight_decay=0.0)
        self.taken = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the state of a checkpoint's last epoch of this training, where it had one.

        Raises
        ------
        InputError
            If the network is not the one that the checkpoint was taken of.
        """
        self.taken = checkpoint.progress.qat_epochs
        if self.taken:
            checkpoint.restore_other(PREFIX, self.network, self.optimizer)

    def run(self, progress: Progress, trainer: Trainer, journal: Journal) -> None:
        """Take the epochs that are left, each from streams of its own and with a checkpoint at its end.

        Raises
        ------
        InputError
            If the training diverges.
        """
        length = trainer.batches.steps_per_epoch
        if self.taken == 0 < self.epochs:
            loss, accuracy = evaluate(self.network, trainer.data.validation)
            journal.record(
                "qat", {"epochs": self.epochs, "validation_loss": loss, "validation_accuracy": accuracy}
            )
        total = self.epochs * length
        rates = partial(cosine, self.rate, steps=total)
        while self.taken < self.epochs:
            trainer.train(
                self.network,
                self.network.start.macs,
                self.optimizer,
                progress,
                "quantization-aware",
                (_STREAM, self.taken),
                rates,
                self.taken * length,
                total,
            )
            self.taken = progress.qat_epochs = self.taken + 1
            journal.checkpoint(progress, self.trace, self.optimizer, {PREFIX: (self.network, self.optimizer)})
