"""Predicted gains against what came of them."""

import pytest
from scipy.stats import spearmanr

from edgegrow.report.gains import agreement


def events(*tries):
    options = [{"predicted_loss_change": p, "realised_loss_change": r, "won_back": w} for p, r, w in tries]
    return [{"fresh": False, "options": options[:2]}, {"fresh": False, "options": options[2:]}]


def test_it_is_spearmans_correlation_over_all_tries():
    tries = [(-0.3, -0.1, 0.5), (-0.2, -0.2, 0.1), (-0.2, 0.0, 0.2), (-0.05, 0.1, -0.1), (-0.4, -0.3, 0.4)]
    found = agreement(events(*tries))
    predicted, realised, won = zip(*tries, strict=True)
    assert found.tries == 5
    assert found.with_realised == pytest.approx(spearmanr(predicted, realised)[0])
    assert found.with_won_back == pytest.approx(spearmanr([-p for p in predicted], won)[0])


def test_predictions_that_come_true_agree_wholly():
    found = agreement(events(*((-0.1 * n, -0.05 * n, 0.02 * n) for n in range(1, 6))))
    assert found.with_realised == found.with_won_back == pytest.approx(1)


def test_steps_with_fresh_weights_are_left_out():
    tries = [(-0.1 * n, -0.05 * n, 0.02 * n) for n in range(1, 6)]
    fresh = {"fresh": True, "options": events((-9.0, 1.0, -5.0))[0]["options"]}
    assert agreement([*events(*tries), fresh]) == agreement(events(*tries))


@pytest.mark.parametrize("tries", [[(-0.1, -0.1, 0.1)] * 3, [(-0.1, -0.1, 0.1)] * 6])
def test_nothing_is_said_of_few_tries_or_equal_ones(tries):
    assert agreement(events(*tries)) is None
