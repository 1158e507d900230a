"""Pruning with torch-pruning: train a large network, remove its least important channels, train again.

The recipe is the field's strongest for a budget of compute. Channels that depend on each other are scored and
removed as one group, each group's scores over their mean so that groups can be ranked together (Fang et al.,
"DepGraph", CVPR 2023); they go all at once, until every limit is kept. What is left is trained again with the
whole original schedule, the rate back at its peak: "learning rate rewinding" beats fine-tuning at a low rate
(Renda, Frankle, Carbin, "Comparing Rewinding and Fine-tuning in Neural Network Pruning", ICLR 2020).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.baselines.problem import Problem, macs_of
from edgegrow.baselines.scratch import Trained, train_network
from edgegrow.baselines.widths import Widths, check_possible, share_used, uniform_widths, upheld
from edgegrow.data.dataset import Split
from edgegrow.errors import InputError
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.seed import NARROWEST
from edgegrow.training import TRAIN_PASSES, generator

if TYPE_CHECKING:
    from torch_pruning import DependencyGraph

CRITERIA = ("l1", "bn", "taylor")
"""What tells a channel's importance: the L1 norm of all weights that belong to it (Li et al., 2017), the
scale of its batch norms after training with a penalty on them (Liu et al., "Network Slimming", 2017), or how
much the loss would change to first order without it (Molchanov et al., 2019)."""

LARGE = 4.0
"""Multiply-accumulates of the network that is pruned, in units of the uniform one that fills the budget."""

SPARSITY = 1e-4
"""Weight of the L1 penalty on batch norms' scales, where they are the criterion (Network Slimming, 4.2)."""

_SCORED, _SCORING_BATCH = 1024, 64
"""Training samples that the loss's first-order change is averaged over, and how many of them at a time."""

_LARGE_STREAM, _SCORING_STREAM, _TUNING_STREAM = 5, 6, 7
"""Random streams; see `edgegrow.baselines.scratch.train_network`."""


@dataclass(frozen=True)
class Pruned:
    """A pruned and retrained network, and what each part of making it took.

    Attributes
    ----------
    tuned : Trained
        The network; its ``macs_trained`` and ``seconds`` are the retraining's alone.
    large_macs_trained, scoring_macs : float
        Multiply-accumulates of training the large network, and of scoring its channels.
    """

    tuned: Trained
    large_macs_trained: float
    scoring_macs: float

    @property
    def macs_trained(self) -> float:
        """All training's multiply-accumulates."""
        return self.large_macs_trained + self.scoring_macs + self.tuned.macs_trained


def train_large(problem: Problem, criterion: str, epochs: float | None = None) -> Trained:
    """Train the network that is to be pruned, of `LARGE` times the budget and the same proportions.

    Parameters
    ----------
    problem : Problem
        What for.
    criterion : str
        Of `CRITERIA`: ``bn`` needs a penalty on the scales in this training already.
    epochs : float, optional
        By default all of the problem's.

    Raises
    ------
    InputError
        If the budget is impossible, or training diverges.
    """
    uniform = problem.network(uniform_widths(problem))
    larger = problem.within_macs(LARGE * macs_of(uniform))
    trace = larger.network(uniform_widths(larger))
    penalty = _Sparsity(trace) if criterion == "bn" else None
    spent = larger.training_macs(trace, problem.epochs if epochs is None else epochs)
    return train_network(larger, trace, spent, _LARGE_STREAM, penalty)


def prune_to_budget(problem: Problem, large: Trained, criterion: str) -> Pruned:
    """Prune a trained network until every limit is kept, and train it again for all epochs.

    Parameters
    ----------
    problem : Problem
        Its budget is what the network is pruned to.
    large : Trained
        As of `train_large`; its network is changed in place.
    criterion : str
        Of `CRITERIA`.

    Raises
    ------
    InputError
        If torch-pruning is not installed, the network has nothing to tell importance by, or the budget is
        impossible.
    """
    trace = large.trace
    scores, scoring_macs = score_channels(problem, trace, criterion)
    widths = upheld(problem, lambda: widths_to_keep(problem, trace.widths(), scores))
    remove_channels(problem, trace, scores, widths)
    tuned = train_network(problem, trace, problem.training_macs(trace, problem.epochs), _TUNING_STREAM)
    return Pruned(tuned, large.macs_trained, scoring_macs)


def score_channels(
    problem: Problem, trace: NetworkTrace, criterion: str
) -> tuple[dict[str, torch.Tensor], float]:
    """Tell the importance of every channel of every group that can change its width.

    Parameters
    ----------
    problem : Problem
        Gives the samples.
    trace : NetworkTrace
        The trained network; left as it is.
    criterion : str
        Of `CRITERIA`.

    Returns
    -------
    scores : dict
        ``{group name: importance (channels,)}``, each group's of mean 1 (0 where all of it is nought).
    macs : float
        Multiply-accumulates that it took.

    Raises
    ------
    InputError
        If torch-pruning is not installed, or a group has no batch norm to be scored by.
    """
    importances = _torch_pruning().importance
    graph = _dependencies(problem, trace)
    macs = 0.0
    if criterion == "taylor":
        samples = _scored_samples(problem)
        scores = _taylor(trace, graph, importances.GroupTaylorImportance(normalizer=None), samples)
        macs = float(TRAIN_PASSES * macs_of(trace) * len(samples))
    elif criterion == "bn":
        scores = _scores(trace, graph, importances.BNScaleImportance(normalizer=None))
    else:
        scores = _scores(trace, graph, importances.GroupMagnitudeImportance(p=1, normalizer=None))
    return {name: values / values.mean().clamp_min(1e-30) for name, values in scores.items()}, macs


def _scored_samples(problem: Problem) -> Split:
    train = problem.data.train
    order = torch.randperm(len(train), generator=generator(problem.seed, _SCORING_STREAM))[:_SCORED].numpy()
    return Split(train.x[order], train.y[order])


def _taylor(
    trace: NetworkTrace, graph: DependencyGraph, importance: Any, samples: Split
) -> dict[str, torch.Tensor]:
    """Sum the importance over batches: that of a summed gradient vanishes where training has converged."""
    scores = {name: torch.zeros(width) for name, width in trace.widths().items()}
    training = trace.graph.training
    trace.graph.eval()  # running statistics stay as they are
    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.y)
    for inputs, labels in zip(x.split(_SCORING_BATCH), y.split(_SCORING_BATCH), strict=True):
        trace.graph.zero_grad(set_to_none=True)
        F.cross_entropy(trace.graph(inputs), labels).backward()
        for name, values in _scores(trace, graph, importance).items():
            scores[name] += values
    trace.graph.zero_grad(set_to_none=True)
    trace.graph.train(training)
    return scores


def _scores(trace: NetworkTrace, graph: DependencyGraph, importance: Any) -> dict[str, torch.Tensor]:
    found = {}
    for group in trace.growable:
        module = trace.module(group.producers[0])
        width = trace.widths()[group.name]
        values = importance(_pruning_group(graph, module, range(width)))
        if values is None:
            raise InputError(
                f"pruning: group {group.name} has no batch norm: choose another criterion than bn"
            )
        found[group.name] = values.detach().clone()
    return found


def widths_to_keep(problem: Problem, widths: Mapping[str, int], scores: Mapping[str, torch.Tensor]) -> Widths:
    """How many channels each group keeps if the least important go first, until every limit is kept.

    Those that went are then put back, the most important first, where the limits still have room.

    Parameters
    ----------
    problem : Problem
        Its limits are kept; no group keeps fewer than `edgegrow.growth.seed.NARROWEST`.
    widths : mapping
        Of the network as it is, ``{group name: channels}``.
    scores : mapping
        ``{group name: importance (channels,)}``.

    Raises
    ------
    InputError
        If even the narrowest network is above a limit.
    """
    check_possible(problem)
    ranked = sorted((value, name) for name, values in scores.items() for value in values.tolist())
    kept, removed = dict(widths), []
    for _, name in ranked:
        if share_used(problem, kept) <= 1:
            break
        if kept[name] > NARROWEST:
            kept[name] -= 1
            removed.append(name)
    for name in reversed(removed):
        wider = {**kept, name: kept[name] + 1}
        if share_used(problem, wider) <= 1:
            kept = wider
    return kept


def remove_channels(
    problem: Problem, trace: NetworkTrace, scores: Mapping[str, torch.Tensor], widths: Mapping[str, int]
) -> None:
    """Remove the least important channels of every group down to a width, by torch-pruning's surgery.

    Parameters
    ----------
    problem : Problem
        Gives the shape of the input.
    trace : NetworkTrace
        Changed in place; its parameters are new ones.
    scores : mapping
        ``{group name: importance (channels,)}``.
    widths : mapping
        ``{group name: channels left}``.
    """
    graph = _dependencies(problem, trace)
    for group in trace.growable:
        values = scores[group.name]
        order = torch.argsort(values, stable=True)[: len(values) - widths[group.name]]
        if len(order):
            _pruning_group(graph, trace.module(group.producers[0]), sorted(order.tolist())).prune()
            trace.sizes[group.name] = widths[group.name]


class _Sparsity:
    """Adds the gradient of an L1 penalty on batch norms' scales: the sign of each."""

    def __init__(self, trace: NetworkTrace) -> None:
        norms = (
            module for module in trace.graph.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        )
        self.scales = [norm.weight for norm in norms if isinstance(norm.weight, nn.Parameter)]

    def __call__(self, optimizer: torch.optim.Optimizer) -> None:
        for scale in self.scales:
            if scale.grad is not None:
                scale.grad.add_(SPARSITY * scale.detach().sign())


def _torch_pruning() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_pruning
    except ImportError as error:
        raise InputError(
            "pruning: torch-pruning is not installed: pip install 'edgegrow[baselines]'"
        ) from error
    return torch_pruning


def _dependencies(problem: Problem, trace: NetworkTrace) -> DependencyGraph:
    sample = torch.zeros(2, *problem.data.input_shape)
    training = trace.graph.training
    trace.graph.eval()  # else it would trace with batch statistics, and update the running ones
    graph = _torch_pruning().DependencyGraph().build_dependency(trace.graph, example_inputs=sample)
    trace.graph.train(training)
    return graph


def _pruning_group(graph: DependencyGraph, module: nn.Module, channels: Any) -> Any:
    pruner = graph.get_pruner_of_module(module)
    return graph.get_pruning_group(module, pruner.prune_out_channels, list(channels))
