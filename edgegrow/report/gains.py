"""Whether what moves promised is what training won back: over all tries of a run's growth steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FEWEST = 4
"""Tries below which a rank correlation says nothing."""


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlations over the tries of growth steps.

    Attributes
    ----------
    tries : int
        How many there were.
    with_realised : float
        Of the predicted loss change with the realised one, right after the step.
    with_won_back : float
        Of the predicted loss change with what growth and the short training behind it took off the
        validation loss.
    """

    tries: int
    with_realised: float
    with_won_back: float

    def __str__(self) -> str:
        return (
            f"predicted gains of {self.tries} tries agree in rank with the loss right after by "
            f"{self.with_realised:+.2f}, with what training then won by {self.with_won_back:+.2f} (Spearman)"
        )


def agreement(events: Sequence[Mapping[str, Any]]) -> Agreement | None:
    """Compare predictions with what came of them.

    Steps whose options had fresh weights are left out: moves promise what they do to trained ones.

    Parameters
    ----------
    events : sequence of mapping
        Growth events of a run's history.

    Returns
    -------
    Agreement or None
        None where there were too few tries, or all came out alike.
    """
    from scipy.stats import rankdata

    tries = [option for event in events if not event["fresh"] for option in event["options"]]
    if len(tries) < _FEWEST:
        return None

    def correlation(metric: str, sign: float) -> float | None:
        pairs = ([sign * o["predicted_loss_change"] for o in tries], [o[metric] for o in tries])
        x, y = (rankdata(values) - (len(tries) + 1) / 2 for values in pairs)
        spread = float((x @ x) * (y @ y)) ** 0.5
        return float(x @ y) / spread if spread else None

    realised, won_back = correlation("realised_loss_change", 1.0), correlation("won_back", -1.0)
    if realised is None or won_back is None:
        return None
    return Agreement(len(tries), realised, won_back)
