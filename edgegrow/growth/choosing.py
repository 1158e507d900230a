"""Which option of a growth step is taken: what is clearly ahead after short trainings, and does no harm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial

from edgegrow.errors import DivergedError
from edgegrow.growth.allocations import Option
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves import apply
from edgegrow.growth.moves.blocks import Restructuring
from edgegrow.growth.probe import TRY_STREAM, Figures, count_of
from edgegrow.growth.progress import Progress
from edgegrow.growth.stretch import Trainer
from edgegrow.growth.vetting import Vetting
from edgegrow.training import generator

FAIR_ANNEAL = 0.5
"""Share of all training that should be left for the final size."""

_CLEARLY = 0.02
"""Share of its validation loss by which another option has to beat the first: short trainings of one network
differ by as much, and architectures chosen by noise are worse than those in proportion."""


@dataclass(frozen=True)
class Chooser:
    """Chooses among the options of one growth step that have been tried.

    Attributes
    ----------
    trace : NetworkTrace
        The network that is grown; it is not changed.
    number : int
        Of the growth step.
    epochs : float
        All training.
    trainer : Trainer
        Has the seed, and the journal that is told; knows what an epoch takes.
    vetting : Vetting
        Takes the looks.
    keep : callable
        Makes a checkpoint of the growth's progress.
    """

    trace: NetworkTrace
    number: int
    epochs: float
    trainer: Trainer
    vetting: Vetting
    keep: Callable[[Progress], None]

    def best(self, options: Sequence[Option], figures: Mapping[str, Figures], progress: Progress) -> Option:
        """Take the best after the short trainings, if clearly better than the first; a block if it holds.

        The first is one without blocks, which others are compared with.

        Parameters
        ----------
        options : sequence of Option
            Tried ones.
        figures : mapping
            What came of them, by name.
        progress : Progress
            Is charged with looks, and keeps what came of them.

        Raises
        ------
        DivergedError
            If no option without blocks is left to compare with.
        """
        left = sorted(options, key=lambda option: bool(option.blocks))
        otherwise = left[0]
        if otherwise.blocks:
            raise DivergedError(
                f"growth step {self.number}: whatever it tried without changing the structure diverged: "
                "lower train.lr"
            )
        while True:
            best = min(left, key=lambda option: figures[option.name].validation_loss)
            if figures[best.name].validation_loss > (1 - _CLEARLY) * figures[otherwise.name].validation_loss:
                return otherwise
            if all(self._holds(block, best, otherwise, progress) for block in best.blocks):
                return best
            left.remove(best)

    def _holds(self, block: Restructuring, option: Option, otherwise: Option, progress: Progress) -> bool:
        """Whether a block does no harm where samples are few; asked once for each.

        It is asked of the network as it is, with and without; where a block frees a part of the budget, of
        the networks of its option, which spends that, and of the one that would be taken otherwise. A block
        is not taken where that would leave less than half of all training.
        """
        vetted = progress.vetted.get(str(block.insertion))
        if vetted is None:
            networks: dict[str, NetworkTrace] = {}
            for name, taken in (("without", otherwise), ("with", option)):
                network = deepcopy(self.trace)
                if block.frees:
                    rng = generator(self.trainer.seed, TRY_STREAM, self.number)
                    network = apply(network, taken.moves, rng).trace
                elif taken is option:
                    network = block.made(network)
                networks[name] = network
            spent = progress.macs_trained + sum(map(self.vetting.macs, networks.values()))
            if spent > (1 - FAIR_ANNEAL) * self.epochs * self.trainer.epoch_macs(count_of(networks["with"])):
                self.trainer.journal.warn(
                    f"{block.kind} is not taken: a look at it on few samples would leave too little of all "
                    "training: give more --epochs, or leave it out of --moves"
                )
                return False
            looks = {}
            for name, network in networks.items():
                stage = f"grow {self.number}, {block.kind}, few samples {name}"
                looks[name] = self.vetting.look(network, partial(self.trainer.journal.step, stage))
            progress.macs_trained = spent
            vetted = progress.vetted[str(block.insertion)] = {
                "step": self.number,
                "holds": self.vetting.holds(looks["without"], looks["with"], alike=not block.frees),
                **{name: look and asdict(look) for name, look in looks.items()},
            }
            self.keep(progress)
        return bool(vetted["holds"])


def refused_before(progress: Progress, number: int) -> set[str]:
    """Name the blocks that looks have refused before a growth step, as `Progress.vetted` does."""
    return {
        name for name, vetted in progress.vetted.items() if vetted["step"] < number and not vetted["holds"]
    }
