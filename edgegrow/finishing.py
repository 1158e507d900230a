"""The last epochs of a run: quantization-aware training of the network as it will be deployed."""

from __future__ import annotations

import time
from functools import partial

from edgegrow.config import TrainConfig
from edgegrow.data.dataset import Dataset
from edgegrow.deploy.qat import FakeQuantized
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.progress import Progress
from edgegrow.journal import Journal
from edgegrow.run import Checkpoint
from edgegrow.training import TRAIN_PASSES, Batches, cosine, evaluate, generator, make_optimizer, train

_RATE = 1e-3
"""Peak learning rate in units of ``train.lr``. Without batch norms, ten times as much spoils networks
(docs/results/qat.md)."""

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
    data : Dataset
        Trains on its training split, reports on its validation split, never sees the test split.
    train_config : TrainConfig
        Its learning rate and momentum are used; weights do not decay any more.
    epochs : int
        How many there will be in all.
    seed : int
        Decides the order of the samples.

    Attributes
    ----------
    taken : int
        Epochs that the network has had.
    """

    def __init__(
        self,
        trace: NetworkTrace,
        network: FakeQuantized,
        data: Dataset,
        train_config: TrainConfig,
        epochs: int,
        seed: int,
    ) -> None:
        self.trace, self.network, self.data, self.epochs, self.seed = trace, network, data, epochs, seed
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
        checkpoint.restore_qat(self.network, self.optimizer)
        self.taken = checkpoint.progress.qat_epochs

    def run(self, progress: Progress, batches: Batches, journal: Journal) -> None:
        """Take the epochs that are left, each from streams of its own and with a checkpoint at its end.

        Raises
        ------
        InputError
            If the training diverges.
        """
        if self.taken == 0 < self.epochs:
            loss, accuracy = evaluate(self.network, self.data.validation)
            journal.record(
                "qat", {"epochs": self.epochs, "validation_loss": loss, "validation_accuracy": accuracy}
            )
        while self.taken < self.epochs:
            self._epoch(progress, batches, journal)
            self.taken = progress.qat_epochs = self.taken + 1
            journal.checkpoint(progress, self.trace, self.optimizer, self.network)

    def _epoch(self, progress: Progress, batches: Batches, journal: Journal) -> None:
        started = time.monotonic()
        length = batches.steps_per_epoch
        total = self.epochs * length
        steps = range(self.taken * length, (self.taken + 1) * length)
        rates = partial(cosine, self.rate, steps=total)
        loss = train(
            self.network,
            self.optimizer,
            batches.draw(generator(self.seed, _STREAM, self.taken)),
            rates,
            steps,
            lambda step, value: journal.step("quantization-aware", step + 1, total, value),
        )
        progress.macs_trained += TRAIN_PASSES * self.network.start.macs * batches.size * length
        validation_loss, validation_accuracy = evaluate(self.network, self.data.validation)
        journal.record(
            "epoch",
            {
                "stage": "quantization-aware",
                "steps": length,
                "lr": rates(steps.start),
                "train_loss": loss,
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                "macs_trained": progress.macs_trained,
                "seconds": time.monotonic() - started,
            },
        )
