"""Timings of the same thing differ, and of different things too: what is told apart, and what is not."""

import itertools
import json
import math
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegrow.measure.chance import chance_difference, median_interval, slower

RECORDED = Path(__file__).parent / "recorded" / "latency_on_a_busy_machine_ns.json"
"""24 measurements of MLPerf Tiny's keyword spotting model with LiteRT 2.3.0, one after the other on a machine
whose processors others kept busy; every eighth sample. The medians of two are off by 3 % and 27 %."""

FINITE = st.floats(-1e300, 1e300)


@pytest.fixture(scope="module")
def busy():
    return json.loads(RECORDED.read_text())


def test_noise_is_no_regression_where_the_values_alone_would_be_one(busy):
    pairs = list(itertools.permutations(busy, 2))
    assert len(busy) > 20
    assert sum(median(b) > 1.05 * median(a) for a, b in pairs) >= 20
    assert not any(slower(a, b, 0.05) for a, b in pairs)


def test_a_slower_artifact_is_found_on_the_busy_machine(busy):
    pairs = list(itertools.permutations(busy, 2))
    found = sum(slower(a, [1.1 * t for t in b], 0.05) for a, b in pairs)
    assert found > 0.75 * len(pairs)


def test_the_interval_holds_the_median_as_often_as_it_says():
    generator = np.random.default_rng(0)
    held = 0
    for n in (11, 20, 49, 50, 400):
        for samples in generator.lognormal(0, 1, (400, n)):
            low, high = median_interval(samples.tolist())
            held += low <= 1 <= high
    assert held / 2000 > 0.995


def test_the_interval_narrows_and_few_samples_give_their_range():
    generator = np.random.default_rng(1)
    widths = []
    for n in (11, 30, 300, 3000):
        low, high = median_interval(generator.normal(10, 1, n).tolist())
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.2
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([7.0]) == (7.0, 7.0)


def test_neighbours_in_time_are_no_independent_samples():
    """A disturbance of a tenth of the time shifts many samples; stretches tell that it was one event."""
    calm = [1.0 + 0.001 * (i % 7) for i in range(1000)]
    disturbed = [1.5 * t if 300 <= i < 850 else t for i, t in enumerate(calm)]
    assert median(disturbed) > 1.4
    assert median_interval(disturbed)[0] < 1.01
    assert not slower(calm, disturbed, 0.01)


@given(st.lists(FINITE, min_size=1, max_size=120), st.floats(0, 10))
def test_nothing_is_slower_than_itself(samples, limit):
    low, high = median_interval(samples)
    assert min(samples) <= low <= high <= max(samples)
    assert not slower(samples, samples, limit)


@given(st.lists(st.floats(0.9, 1.0), min_size=1, max_size=120), st.floats(0, 1))
def test_what_takes_longer_every_time_is_slower(samples, limit):
    assert slower(samples, [t * (1 + limit) * 1.12 for t in samples], limit)


@given(st.floats(-10, 10), st.integers(1, 2**62), st.floats(-10, 10), st.integers(1, 2**62))
def test_chance_allows_a_number(first, n, second, m):
    allowed = chance_difference(first, n, second, m)
    assert 0 <= allowed <= math.sqrt(1 / n + 1 / m) * 1.0001


def test_chance_is_as_large_as_draws_show():
    generator = np.random.default_rng(2)
    n, p = 500, 0.9
    draws = generator.binomial(n, p, (4000, 2)) / n
    beyond = np.mean([a - b > chance_difference(a, n, b, n) for a, b in draws])
    assert 0.01 < beyond < 0.04  # one side of two standard errors: 2.3 %
