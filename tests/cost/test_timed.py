"""Latencies on a device by a clock that is an equation, of a machine slower or faster than it was."""

import re

import pytest
from clocks import calibrated, network_ns, subject_of

from edgegrow.cost.latency import LatencyModel
from edgegrow.cost.model import LayerCosts
from edgegrow.cost.timed import TimedCosts
from edgegrow.delivery import flash_model

METRICS = ("latency_ms", "macs")
DEARER = 1.25
"""What the clock finds for a whole network, in units of what the calibration lets expect."""


class Clock:
    """Times like the calibration's equation, of a machine that is slower by a factor now."""

    def __init__(self, slow):
        self.slow = slow

    def time(self, graphs, rounds, seconds):
        times = [DEARER * self.slow * network_ns(graph) for graph in graphs]
        return [((0.9 * time, time, 1.5 * time), 5e3 * self.slow) for time in times]


@pytest.fixture(scope="module")
def subject(digits):
    return subject_of("mlp", digits)


@pytest.fixture
def costs(subject, digits):
    plan, calibration = calibrated(subject)
    model = LatencyModel(subject.graph, plan, calibration, subject.trace.shapes)
    counted = LayerCosts(["macs"], flash_model(subject.trace, digits), subject.graph)
    warnings = []
    made = TimedCosts(METRICS, counted, model, Clock(1.0), subject.samples, warnings.append, "host")
    return made, warnings


@pytest.mark.parametrize(
    ("slow", "word"), [(1.0, ""), (1.05, ""), (0.95, ""), (1.4, "slower than .* by 40 %"), (0.5, "faster")]
)
def test_a_check_promises_no_less_than_the_clock_says_at_either_speed(slow, word, costs, subject):
    """Where the machine is faster just now, the artifact will be measured at the calibration's speed."""
    made, warnings = costs
    made.clock = Clock(slow)
    layers = subject.trace.shapes(subject.trace.widths())
    graph = subject.at(subject.trace.widths())
    found = made.check(layers)
    expected = DEARER * max(1.0, slow) * network_ns(graph) / 1e6
    assert found["latency_ms"] == pytest.approx((1 + made.margin) * expected, rel=1e-9)
    assert made(layers) == pytest.approx(found)
    assert len(warnings) == bool(word)
    assert all(re.search(word, warning) for warning in warnings)


def test_a_check_corrects_other_widths_by_the_same_factor(costs, subject):
    made, _ = costs
    wider = subject.trace.shapes({name: 2 * width for name, width in subject.trace.widths().items()})
    before = made(wider)
    made.check(subject.trace.shapes(subject.trace.widths()))
    after = made(wider)
    assert after["latency_ms"] == pytest.approx(DEARER * before["latency_ms"], rel=1e-9)
    assert after["macs"] == before["macs"]
