import gc
import time

import numpy as np
import pytest

from edgegrow.measure.protocol import Identity
from edgegrow.measure.runner.repeating import time_calls, warm_up
from edgegrow.measure.runner.request import KEYS
from edgegrow.measure.timing import latency

DEFAULTS = {name: KEYS[name] for name in ("min_iterations", "min_seconds", "max_samples")}


class Clock:
    """A clock that only a call moves on: by the next of its durations, in ns."""

    def __init__(self, durations):
        self.now, self.calls, self.durations = 0, 0, durations

    def __call__(self):
        return self.now

    def call(self):
        self.now += self.durations[self.calls % len(self.durations)]
        self.calls += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock([1_000_000])
    monkeypatch.setattr(time, "perf_counter_ns", clock)
    return clock


def test_both_minima_hold(clock):
    assert len(time_calls(clock.call, **{**DEFAULTS, "min_seconds": 0})) == clock.calls == 50
    assert len(time_calls(clock.call, **{**DEFAULTS, "min_seconds": 0.2})) == 200
    clock.durations = [10_000_000_000]
    assert len(time_calls(clock.call, **DEFAULTS)) == 50


def test_warm_up_ends_when_the_times_stop_falling(clock):
    clock.durations = [n * 1_000_000 for n in range(40, 10, -1)] + [10_000_000] * 1000
    times, settled = warm_up(clock.call, 10)
    assert settled
    assert len(times) == clock.calls
    assert times[:3] == [40_000_000, 39_000_000, 38_000_000]
    assert 3 <= times.count(10_000_000) <= 15


def test_warm_up_of_fast_calls_lasts_until_clocks_have_risen(clock):
    clock.durations = [100_000]
    times, settled = warm_up(clock.call, 10)
    assert settled
    assert 500 <= len(times) < 520


def test_warm_up_that_never_settles_ends(clock):
    clock.durations = [int(1e9 * 0.9**n) for n in range(100)]
    times, settled = warm_up(clock.call, 3)
    assert (len(times), settled) == (5, False)
    assert warm_up(clock.call, 0)[1], "one window was asked for"


def test_it_takes_the_time_it_is_told():
    before = time.perf_counter()
    samples = time_calls(lambda: time.sleep(0.001), **{**DEFAULTS, "min_seconds": 0.1})
    assert 0.1 <= time.perf_counter() - before < 2
    assert len(samples) >= 50
    assert samples.min() >= 1_000_000


@pytest.mark.parametrize("calls", [10, 11, 100, 1000, 1023])
def test_samples_are_spread_over_the_whole_time(clock, calls):
    clock.durations = list(range(1, calls + 1))
    samples = time_calls(clock.call, min_iterations=calls, min_seconds=0, max_samples=10)
    assert clock.calls == calls
    assert 5 <= len(samples) <= 10
    steps = np.diff(samples)
    assert len(set(steps)) == 1, "every n-th call"
    assert samples[0] == 1
    assert samples[-1] > calls - 1 - steps[0]


def test_garbage_collection_waits_and_returns():
    states = []
    time_calls(lambda: states.append(gc.isenabled()), min_iterations=3, min_seconds=0, max_samples=10)
    assert states == [False] * 3
    assert gc.isenabled()

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        time_calls(fail, **DEFAULTS)
    assert gc.isenabled()


def test_statistics_of_a_known_distribution(clock):
    clock.durations = (np.random.default_rng(0).permutation(101) * 10_000 + 1_000_000).tolist()
    samples = time_calls(clock.call, min_iterations=101, min_seconds=0, max_samples=200)
    figures = {m.aggregation: m for m in latency(samples, Identity(runtime="litert"), "synthetic")}
    values = {name: m.value for name, m in figures.items()}
    assert values == {"min": 1.0, "median": 1.5, "p90": 1.9, "p99": 1.99}
    assert figures["median"].samples == tuple(s / 1e6 for s in samples.tolist())
    assert all(m.samples == () for name, m in figures.items() if name != "median")
    assert {(m.unit, m.evidence, m.metric) for m in figures.values()} == {("ms", "measured", "latency")}
