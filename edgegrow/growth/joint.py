"""One network under the limits of several targets at once: its own, and others that it has to fit as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.select import CheckedCostModel, CostModel


def joined(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Put the costs or the limits of several targets together.

    Parameters
    ----------
    figures : mapping
        ``{target: {metric: value}}``, the network's own target first.

    Returns
    -------
    dict
        The own metrics under their names, others as ``METRIC on TARGET``.
    """
    own = next(iter(figures))
    return {
        metric if name == own else f"{metric} on {name}": value
        for name, found in figures.items()
        for metric, value in found.items()
    }


class JointCosts:
    """Costs of a network on several targets, as `joined` puts them together.

    Parameters
    ----------
    models : mapping
        ``{target: cost model}``, the network's own target first.
    """

    def __init__(self, models: Mapping[str, CostModel]) -> None:
        self.models = dict(models)

    def __call__(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Return the costs of a network of these layers."""
        return joined({name: model(layers) for name, model in self.models.items()})


class CheckedJointCosts(JointCosts):
    """The same where at least one of the targets can be tried: on each that can, networks are."""

    def check(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Try a network on every target that can be, and let their models learn from it."""
        return joined(
            {
                name: model.check(layers) if isinstance(model, CheckedCostModel) else model(layers)
                for name, model in self.models.items()
            }
        )

    def learnt(self) -> dict[str, Any]:
        """Return what the checks have taught each model, ``{target: as it tells it}``."""
        return {name: model.learnt() for name, model in self._checked.items()}

    def recall(self, learnt: Mapping[str, Any]) -> None:
        """Put each model into the state that it was in; what is there of other targets is left alone."""
        for name, model in self._checked.items():
            model.recall(learnt.get(name, {}))

    @property
    def _checked(self) -> dict[str, CheckedCostModel]:
        return {name: model for name, model in self.models.items() if isinstance(model, CheckedCostModel)}


def join_costs(models: Mapping[str, CostModel]) -> JointCosts:
    """Join cost models, ``{target: cost model}``; one that can be tried where any of them can."""
    checked = any(isinstance(model, CheckedCostModel) for model in models.values())
    return CheckedJointCosts(models) if checked else JointCosts(models)
