"""The search for a size, on laws that errors might follow: it ends, encloses the goal, and is frugal."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegrow.growth.architecture import Architecture
from edgegrow.growth.goal_search import CLOSE, Bracket, Trained, next_size
from edgegrow.growth.groups import trace
from edgegrow.growth.snapshots import Snapshot, as_deep, narrowest, of_size
from edgegrow.nets import load_net

SMALLEST, SEED, LARGEST = 2_000, 8_000, 100_000


def search(error, goal, short_error):
    """Follow the search where a network of any size is to be had; trained is the sum of sizes."""
    short = [Trained(SEED, 1 - short_error(SEED))]
    tries = []
    while len(tries) < 40:
        largest = LARGEST if short[-1].macs == LARGEST else None
        size = next_size(tries, short, goal, SMALLEST, largest)
        if size is None:
            return tries
        if size > short[-1].macs:
            macs = min(LARGEST, round(1.3 * short[-1].macs))
            short.append(Trained(macs, 1 - short_error(macs)))
            continue
        assert Bracket.of(tries, goal).encloses(size)
        assert SMALLEST <= size <= LARGEST
        tries.append(Trained(round(size), 1 - error(round(size))))
    pytest.fail("it does not end")


@given(
    st.floats(0.05, 1.2), st.floats(0.0, 0.1), st.floats(0.3, 1.2), st.floats(0.05, 0.9),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_smallest_that_reaches_the_goal_is_enclosed_or_an_end_is_reached(
    slope, floor, level, goal, random
):
    """Whatever the law, how wrong the short trainings, and how noisy the whole ones are."""
    noise = {}

    def error(macs):
        factor = noise.setdefault(macs, random.uniform(0.95, 1.05))
        return min(1.0, factor * (floor + level * (macs / SMALLEST) ** -slope))

    tries = search(error, goal, lambda macs: random.uniform(0.1, 1.0))
    bracket = Bracket.of(tries, goal)
    if bracket.reached is None:
        assert bracket.missed == LARGEST
    elif bracket.missed is None:
        assert bracket.reached == SMALLEST
    else:
        assert bracket.reached <= CLOSE * bracket.missed


@pytest.mark.parametrize("place", [3e3, 9e3, 2e4, 4e4, 8e4])
def test_a_law_without_noise_takes_few_trainings_near_the_goal(place):
    """Two enclose it; the others are cheap or one correction, and all cost less than five of its size."""
    errors = [lambda macs, s=s: 0.1 * (macs / place) ** -s for s in (0.15, 0.25, 0.4)]
    for error in errors:
        tries = search(error, 0.9 - 1e-9, lambda macs, error=error: min(0.9, 3 * error(macs)))
        assert len(tries) <= 5
        assert sum(one.macs for one in tries) <= 5 * max(place, SEED)
        reached = Bracket.of(tries, 0.9 - 1e-9).reached
        assert place - 1 <= reached <= CLOSE * place + 1


def test_a_goal_of_everything_is_searched_up_to_the_largest():
    tries = search(lambda macs: 0.5, 1.0, lambda macs: 0.8)
    assert [one.macs for one in tries][-1] == LARGEST
    assert len(tries) <= 4


@pytest.mark.parametrize("place", [3e4, 6e4, 9e4, 1e9])
def test_sizes_that_hardly_differ_in_accuracy_are_not_all_tried(place):
    """Just below the goal, the line predicts the next size again and again."""
    tries = search(lambda macs: 0.105 if macs < place else 0.05, 0.9, lambda macs: 0.5)
    assert len(tries) <= 10
    assert sum(one.macs for one in tries) <= 5 * LARGEST
    assert (Bracket.of(tries, 0.9).reached is None) == (place > LARGEST)


def test_networks_between_snapshots_are_of_the_size_asked_for_and_fit_into_the_larger():
    def fresh():
        return trace(load_net("dscnn").build((1, 8, 8), 10, None), (1, 8, 8))

    network, snapshots = fresh(), []
    for scale in (0.5, 1.0):
        widths = {name: round(scale * width) for name, width in network.widths().items()}
        macs = sum(layer.macs for layer in network.shapes(widths))
        snapshots.append(Snapshot(len(snapshots), Architecture(widths), Trained(macs, 0.5)))
    small, large = (one.short.macs for one in snapshots)
    for size in (0.6 * small, 1.2 * small, 0.7 * large, 0.9 * large):
        found = of_size(snapshots, size, fresh)
        above = snapshots[found.snapshot].architecture
        assert 0.95 * size <= found.macs <= size
        assert found.snapshot == (0 if size < small else 1)
        assert all(width <= above.widths[name] for name, width in found.architecture.widths.items())
        built = found.architecture.build(fresh())
        assert sum(layer.macs for layer in built.shapes(built.widths())) == found.macs
        spread = [log(above.widths[name] / width) for name, width in found.architecture.widths.items()]
        assert max(spread) - min(spread) < 0.15
    assert of_size(snapshots, 1.01 * small, fresh).macs == small
    least = narrowest(snapshots, fresh)
    assert of_size(snapshots, least, fresh).macs == least


def test_snapshots_without_the_newest_blocks_are_left_out():
    def snapshot(step, *blocks):
        insertions = tuple({"after": block, "form": "plain"} for block in blocks)
        return Snapshot(step, Architecture({"a": 2 + step}, insertions), Trained(1000 * (1 + step), 0.5))

    every = [snapshot(0), snapshot(1, "x"), snapshot(2, "x", "y"), snapshot(3, "x", "y")]
    assert [one.step for one in as_deep(every)] == [2, 3]
    assert [one.step for one in as_deep(every[:2])] == [1]
    assert as_deep(every[:1]) == every[:1]
