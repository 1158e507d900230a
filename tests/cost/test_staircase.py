"""Staircases: the width of steps is found in noise, and a table never smooths them."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.cost.staircase import BLOCKS, SWEPT, Axis, Staircase, find_block, levels


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BLOCKS), st.floats(0.02, 2.0), st.integers(0, 2**20))
def test_the_width_of_steps_is_found(block, height, seed):
    """In noise of half a percent: of each reading, and of each file once more."""
    rng = np.random.default_rng(seed)
    times = [
        1000
        * (1 + height * math.ceil(width / block))
        * np.exp(rng.normal(0, 0.005) + rng.normal(0, 0.005, 5))
        for width in SWEPT
    ]
    found = find_block(SWEPT, [list(values) for values in times])
    if height / (1 + height * SWEPT[-1] / block) > 0.06:  # the last step stands out of the noise
        assert found == block
    else:
        assert found >= block  # a step too low to be seen is no step


def test_readings_without_noise_are_no_trouble():
    assert find_block(SWEPT, [[100.0 + 10 * math.ceil(width / 8)] for width in SWEPT]) == 8
    assert find_block(SWEPT, [[100.0]] * len(SWEPT)) == max(BLOCKS)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 300), st.sampled_from(BLOCKS))
def test_levels_are_whole_steps_from_the_least_to_the_greatest(low, more, block):
    found = levels(low, low + more, block)
    assert all(level % block == 0 for level in found)
    assert list(found) == sorted(set(found))
    assert found[0] - block < low <= found[0]
    assert found[-1] - block < low + more <= found[-1]
    assert all(b <= max(a + block, 1.5 * a) for a, b in pairwise(found))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BLOCKS), st.sampled_from(BLOCKS), st.integers(1, 150), st.integers(1, 150))
def test_a_table_knows_a_bilinear_staircase_at_every_width(block_in, block_out, cin, cout):
    """Inside of steps, between levels and beyond the last: only whole steps count."""

    def time(cin, cout):
        a, b = math.ceil(cin / block_in), math.ceil(cout / block_out)
        return 5.0 + 2 * a + 3 * b + 0.7 * a * b

    axes = [Axis(levels(1, 100, block_in), block_in), Axis(levels(1, 100, block_out), block_out)]
    table = Staircase(axes, {(a, b): time(a, b) for a in axes[0].levels for b in axes[1].levels})
    assert table((cin, cout)) == pytest.approx(time(cin, cout))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BLOCKS), st.integers(0, 2**20), st.integers(1, 800), st.integers(1, 800))
def test_beyond_a_table_noise_makes_nothing_faster_than_its_end(block, seed, cin, cout):
    """Nor much slower: an error of 5 % in the readings is one of 50 % at three times the widths."""
    axis = Axis(levels(2, 64, block), block)
    rng = np.random.default_rng(seed)

    def time(a, b):
        return 100.0 + a * b

    noisy = {(a, b): time(a, b) * rng.uniform(0.95, 1.05) for a in axis.levels for b in axis.levels}
    table, end = Staircase([axis, axis], noisy), axis.levels[-1]
    found = table((max(cin, end), max(cout, end)))
    assert found >= noisy[end, end]
    assert found >= 0.95 * table((end, max(cout, end))) / 1.5
    whole = table((3 * end, end))
    assert 0.5 * time(3 * end, end) < whole < 1.5 * time(3 * end, end)


def test_what_never_varies_has_one_level():
    table = Staircase([Axis((3,)), Axis((16, 32), 16)], {(3, 16): 1.0, (3, 32): 2.0})
    assert [table((3, width)) for width in (1, 16, 17, 32, 33, 48)] == [1, 1, 2, 2, 3, 3]
