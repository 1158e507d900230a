"""Claim 5: stuck at a local optimum, a split still lowers the loss; before convergence it does no harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from results import table
from scipy.stats import spearmanr

from claims import law, pictures
from claims.effort import Effort
from claims.parts import Part
from claims.toys import Toy, bells, best_step, disc_mlp, gradient_norm, split
from edgegrow.training import generator

CLAIM = (
    "When gradient descent is stuck at a local optimum of the parameters, a split still lowers the loss: the "
    "curve falls off a cliff right after it. It is also fine to split before full convergence: the "
    "parametric "
    "and the splitting terms decouple."
)

ARMS = ("split", "random", "copies", "training")
"""Along the lowest eigenvector; along a random direction by the same step; plain copies; no growth at all."""

STOPPED = 3
"""Length of the training that ends at a local optimum, in units of each one that follows."""

GROWTHS = 4
"""Growths of the radial basis toy, one neuron each."""

FALL, TIMES = 0.01, 10
"""A cliff is a fall by this share of the loss at least, and by so many times the controls' at least: the
plain copies' and that of training on. Medians over all growths and seeds."""

LAW = 0.1
"""How far the median of realised over predicted change may be from 1, at a relative step of `LAW_STEP`, for
single channels of a smooth network."""

LAW_STEP = "0.02"

FACTOR = 2.0
"""The same for all splits of a growth step at once, at the step that its line search chooses: a factor."""

EARLY, LATER = 0.1, 1.05
"""A split after this share of the training must end, at equal steps in all, at no more than this many times
the loss of a split after all of it (median over seeds)."""

SHIFT, COUPLING = 0.02, 0.1
"""Relative move along the negative gradient, and by the split; and how much the former may change what the
latter does to the loss, in units of it (median over seeds)."""

STOPPED_AT = 1e-3
"""Norm of the mean loss's gradient below which descent has stopped."""

POINTS = 300
"""Of a curve that is kept."""


def inputs(effort: Effort) -> None:
    """Return what the figures depend on beside the effort: nothing."""


def examine(effort: Effort) -> dict[str, Any]:
    """Train the toys along all arms, and look at the second-order law."""
    return {
        "bells": [ways_on(bells(seed), effort, GROWTHS, seed) for seed in effort.seeds],
        "mlp": [ways_on(disc_mlp(seed), effort, 1, seed) for seed in effort.seeds],
        "early": [_early(seed, effort) for seed in effort.seeds],
        "coupling": [coupling(seed, effort) for seed in effort.seeds],
        "channels": {
            "SiLU": law.channel_by_channel(effort, smooth=True),
            "ReLU": law.channel_by_channel(effort, smooth=False),
        },
        "growth_steps": [event for seed in effort.seeds for event in law.per_growth_step(effort, seed)],
    }


def ways_on(toy: Toy, effort: Effort, growths: int, seed: int) -> dict[str, Any]:
    """Train to a stop, then go on in four ways from there."""
    first = STOPPED * effort.steps
    begun = toy.fit(first)
    result: dict[str, Any] = {
        "first": first, "steps": effort.steps, "gradient_norm": gradient_norm(toy), "arms": {}
    }  # fmt: skip
    for arm in ARMS:
        own, falls = toy.copy(), []
        curve, optimizer = list(begun), own.optimizer()
        for growth in range(growths):
            before = own.loss()
            if arm != "training":
                (index,) = own.indices()
                everyone = torch.arange(len(index.eigenvalues))
                chosen = [(index, everyone if growths == 1 else index.eigenvalues.argmin()[None])]
                step = 0.0 if arm == "copies" else best_step(own, chosen)
                rng = generator(seed, 52, growth) if arm == "random" else None
                split(own, chosen, step, rng, optimizer.state)
            right_after = own.loss()
            curve += own.fit(effort.steps, optimizer)
            falls.append({"before": before, "right_after": right_after, "end": own.loss()})
        every = max(1, len(curve) // POINTS)
        result["arms"][arm] = {
            "falls": falls,
            "curve": [[i, float(f"{curve[i]:.6g}")] for i in range(0, len(curve), every)],
        }
    return result


def _early(seed: int, effort: Effort) -> dict[str, float]:
    """Split the MLP after different shares of its first training; return the final losses, steps equal."""
    found = {}
    for share in (EARLY, 0.3, 1.0):
        toy = disc_mlp(seed)
        first = STOPPED * effort.steps
        early = round(share * first)
        optimizer = toy.optimizer()
        toy.fit(early, optimizer)
        (index,) = toy.indices()
        chosen = [(index, torch.arange(len(index.eigenvalues)))]
        split(toy, chosen, best_step(toy, chosen), state=optimizer.state)
        toy.fit(first + effort.steps - early, optimizer)
        found[str(share)] = toy.loss()
    return found


def coupling(seed: int, effort: Effort) -> dict[str, float]:
    """How a move along the gradient changes what a split does to the loss, early in training.

    ``(L(mu, delta) - L(mu, 0)) / (L(0, delta) - L(0, 0)) - 1``: of the first order in the moves, if the terms
    decouple at second order.
    """
    toy = disc_mlp(seed)
    toy.fit(round(EARLY * STOPPED * effort.steps))
    toy = toy.double()
    (index,) = toy.indices()
    parting = split(toy, [(index, torch.arange(len(index.eigenvalues)))], 0.0)
    parameters = list(toy.network.parameters())
    mean = toy.loss_sum(toy.network(toy.x), toy.y) / len(toy.y)
    gradients = torch.autograd.grad(mean, parameters)
    start = [p.data.clone() for p in parameters]

    def loss(shift: float, step: float) -> float:
        for p, value, g in zip(parameters, start, gradients, strict=True):
            p.data = value - shift * value.norm() / g.norm().clamp_min(1e-30) * g + step * parting.get(p, 0.0)
        return toy.loss()

    still = loss(0, 0)
    found = {}
    for size in (SHIFT / 4, SHIFT / 2, SHIFT, 2 * SHIFT):
        found[str(size)] = (loss(size, size) - loss(size, 0)) / (loss(0, size) - still) - 1
    return found


def parts(figures: Mapping[str, Any]) -> list[Part]:
    """Judge the cliff, the law behind it, and splits before convergence."""
    single = _ratio(figures["channels"]["SiLU"][LAW_STEP])
    rough = figures["channels"]["ReLU"][LAW_STEP]
    within, wrong = _within(rough), _wrong_sign(rough)
    events = figures["growth_steps"]
    fallen = [event["steps"][str(event["best"])][1] for event in events]
    ratios = [realised / predicted for predicted, realised in _at_best(events)]
    far = max(max(r, 1 / r) if r > 0 else float("inf") for r in ratios)
    outside = sum(not 1 / FACTOR <= r <= FACTOR for r in ratios)
    late = median(one[str(EARLY)] / one["1.0"] for one in figures["early"])
    coupling = median(abs(one[str(SHIFT)]) for one in figures["coupling"])
    return [
        _cliff("radial basis toy", figures["bells"]),
        _cliff("MLP", figures["mlp"]),
        Part(
            "One channel's split changes the loss by what its splitting matrix says",
            f"{single:.3f} of the prediction (median, smooth network, relative step {LAW_STEP})",
            f"within {LAW:g} of 1",
            abs(single - 1) <= LAW,
        ),
        Part(
            f"The same for every channel of a network with ReLU, within a factor of {FACTOR:g}",
            f"{within} of {len(rough)} are within a factor of {FACTOR:g}, {wrong} of the wrong sign "
            f"(relative step {LAW_STEP})",
            f"within a factor of {FACTOR:g}",
            within == len(rough),
            "activations are smooth, where the gain of a single channel is predicted",
        ),
        Part(
            "The loss falls right after every growth step (conv1d on MNIST-1D)",
            f"in {sum(f < 0 for f in fallen)} of {len(fallen)} growth steps",
            "in all",
            all(f < 0 for f in fallen),
        ),
        Part(
            "A growth step's prediction is met",
            f"outside a factor of {FACTOR:g} in {outside} of {len(ratios)} growth steps (at most "
            f"{far:.1f})" if far < float("inf") else f"of the wrong sign in some of {len(ratios)}",
            f"within a factor of {FACTOR:g} at the step chosen",
            outside == 0,
            "the step of a whole growth is found by a line search and not taken from the prediction",
        ),
        Part(
            "Splitting before convergence costs nothing",
            f"split after {100 * EARLY:g} % of the training ends at {late:.2f} times the loss of a split "
            "after all of it (median, equal steps in all)",
            f"at most {LATER:g} times",
            late <= LATER,
            "the descent has converged first",
        ),
        Part(
            "The parametric and the splitting terms decouple",
            f"a move of {SHIFT:g} along the gradient changes the split's effect by {100 * coupling:.1f} % "
            "(median)",
            f"at most {100 * COUPLING:g} %",
            coupling <= COUPLING,
        ),
    ]  # fmt: skip


def _cliff(name: str, toys: Sequence[Mapping[str, Any]]) -> Part:
    won, idle = falls(toys, "split"), max(falls(toys, "copies"), falls(toys, "training"))
    return Part(
        f"Stuck, a split still lowers the loss ({name})",
        f"by {100 * won:.2f} % (median); plain copies or more training by {100 * max(idle, 0.0):.3f} %",
        f"by {100 * FALL:g} % at least, and {TIMES} times the controls'",
        won >= FALL and won >= TIMES * idle,
    )


def falls(toys: Sequence[Mapping[str, Any]], arm: str, end: str = "end") -> float:
    """Median share of the loss that went in the steps after a growth, over all growths and seeds."""
    return median(1 - fall[end] / fall["before"] for toy in toys for fall in toy["arms"][arm]["falls"])


def _ratio(pairs: Sequence[Sequence[float]]) -> float:
    return median(realised / predicted for predicted, realised in pairs)


def _parted(fall: Mapping[str, float]) -> bool:
    return fall["end"] < (1 - FALL) * fall["before"]


def _within(pairs: Sequence[Sequence[float]]) -> int:
    return sum(1 / FACTOR <= realised / predicted <= FACTOR for predicted, realised in pairs)


def _wrong_sign(pairs: Sequence[Sequence[float]]) -> int:
    return sum(realised / predicted < 0 for predicted, realised in pairs)


def _at_best(events: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    return [event["steps"][str(event["best"])] for event in events]


def section(figures: Mapping[str, Any]) -> list[str]:
    """Lines of the readable page."""
    names = {
        "split": "split along the lowest eigenvector", "random": "split along a random direction",
        "copies": "plain copies", "training": "just more training",
    }  # fmt: skip
    rows = [
        [names[arm], *(f"{100 * falls(figures[toys], arm, end):.3f} %" for toys in ("bells", "mlp")
                       for end in ("right_after", "end"))]
        for arm in ARMS
    ]  # fmt: skip
    laws = [
        [kind, *(f"{_ratio(pairs):.2f}" for pairs in steps.values()),
         *(f"{count(steps[LAW_STEP])} of {len(steps[LAW_STEP])}" for count in (_within, _wrong_sign))]
        for kind, steps in figures["channels"].items()
    ]  # fmt: skip
    best = _at_best(figures["growth_steps"])
    rank = spearmanr([p for p, _ in best], [r for _, r in best]).statistic
    norms = [[toy["gradient_norm"] for toy in figures[toys]] for toys in ("bells", "mlp")]
    moving = sum(norm > STOPPED_AT for norm in norms[0])
    copied, grown = ([fall for toy in figures["bells"] for fall in toy["arms"][arm]["falls"]]
                     for arm in ("copies", "split"))  # fmt: skip
    parted = sum(map(_parted, copied))
    seeds = sum(any(map(_parted, toy["arms"]["copies"]["falls"])) for toy in figures["bells"])
    risen = sum(fall["right_after"] > fall["before"] for fall in grown)
    early = {key: median(one[key] / one["1.0"] for one in figures["early"]) for key in figures["early"][0]}
    coupling = {key: median(abs(one[key]) for one in figures["coupling"]) for key in figures["coupling"][0]}
    return [
        "![Loss curves of four ways to go on from a local optimum](claims-cliff.png)",
        "",
        "Full-batch gradient descent with momentum. The radial basis toy fits a sum of 15 bells in one",
        "dimension and gains one neuron a growth; the MLP tells a disc from its outside with two hidden",
        "neurons, which are split once. The gradient's norm before the first growth is",
        f"{median(norms[0]):.1e} in the toy (median; with {moving} of {len(norms[0])} seeds it is above",
        f"{STOPPED_AT:g}, {max(norms[0]):.1e} at most, though training on moves the loss little) and",
        f"{max(norms[1]):.1e} at most in the MLP. Shares of the loss that went, medians over",
        "growths and seeds:",
        "",
        *table(["way to go on", "toy, right after", "toy, after training", "MLP, right after",
                "MLP, after training"], rows),
        "",
        "Exact copies receive equal gradients, and part only by rounding: in the toy the loss fell by more",
        f"than {100 * FALL:g} % after {parted} of {len(copied)} of them, with {seeds} of the seeds.",
        f"Right after a split along the lowest eigenvector it rose in {risen} of {len(grown)} growths of the",
        "toy, by every step tried; else it falls by the second-order gain. The rest of the cliff comes as",
        "descent follows the negative curvature that the split has opened. The random direction tells how",
        "much of it is the eigenvector's, how much comes of parting the copies at all.",
        "",
        "![Predicted against realised gain](claims-gains.png)",
        "",
        "Realised over predicted change of the loss, splits of single channels (conv1d on MNIST-1D,",
        "medians of all channels; ReLU's curvature is a surrogate's), and how many channels are at a step of",
        f"{LAW_STEP} within a factor of {FACTOR:g} of the prediction, and how many of the wrong sign:",
        "",
        *table(["activation", *(f"step {step}" for step in figures["channels"]["SiLU"]),
                "within the factor", "wrong sign"], laws),
        "",
        f"Whole growth steps, {100 * law.SHARE:g} % of all channels at once, line search on samples of",
        "its own:",
        f"rank correlation (Spearman) of predicted and realised change {rank:.2f} over {len(best)} growth",
        "steps.",
        "",
        "Final loss of the MLP, split after a share of its training, equal steps in all, in units of a split",
        "after all of it (medians): " + ", ".join(f"{100 * float(k):g} %: {v:.2f}" for k, v in early.items())
        + ".",
        "Coupling of a move along the gradient with the split's effect, both of a relative size (medians): "
        + ", ".join(f"{float(k):g}: {100 * v:.1f} %" for k, v in coupling.items()) + ".",
    ]  # fmt: skip


def draw(figures: Mapping[str, Any], folder: Path) -> None:
    """Draw the cliff and the gains."""
    pictures.draw_cliff(figures, folder / "claims-cliff.png")
    pictures.draw_gains(figures, folder / "claims-gains.png")
