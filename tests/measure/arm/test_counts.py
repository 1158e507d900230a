import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegrow.measure.arm.counts import KINDS, PREFIX, Counts, count_measurements, read_counts
from edgegrow.measure.device import DeviceError
from edgegrow.measure.protocol import Identity


def line(n=0, lanes=5, **kinds):
    found = {kind: kinds.get(kind, 1) for kind in KINDS}
    return {"inference": n, "instructions": sum(found.values()), "mac_lanes": lanes, **found}


def written(*lines):
    return b"".join(b"\n" + PREFIX + json.dumps(one).encode() + b"\n" for one in lines)


def test_lines_of_the_counter_and_of_others_are_told_apart():
    text = b"INFO: a delegate, half a li" + written(line(0), line(1, load=7)) + b"the rest"
    counts, rest = read_counts(text, "emulator")
    assert [(one.inference, one.instructions, one.load) for one in counts] == [(0, 8, 1), (1, 14, 7)]
    assert rest == b"INFO: a delegate, half a li\nthe rest"


@pytest.mark.parametrize(
    "damaged",
    [
        {**line(), "instructions": 9},
        {**line(), "load": -1},
        {**line(), "load": 1.0},
        {**line(), "load": "1"},
        {**line(), "load": 2**70},
        {**line(), "more": 1},
        {"inference": 0},
        [],
        "x",
    ],
)
def test_damaged_lines_are_refused(damaged):
    with pytest.raises(DeviceError, match=r"^emulator: a line of its counter is damaged"):
        read_counts(written(damaged), "emulator")


def test_endless_lines_are_refused():
    with pytest.raises(DeviceError, match=r"more than 10,000 lines"):
        read_counts(written(line()) * 10_001, "emulator")


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(text, begins):
    try:
        counts, rest = read_counts(PREFIX + text if begins else text, "emulator")
    except DeviceError as error:
        said = str(error)
    else:
        said = ""
        assert all(isinstance(one, Counts) for one in counts)
        assert len(rest) <= len(text)
    assert "\n" not in said


def test_figures_are_exact_where_all_are_the_same_and_sum_up():
    counts, _ = read_counts(written(line(0), line(1, load=3), line(2)), "emulator")
    found = {(m.metric, m.aggregation): m for m in count_measurements(counts, Identity(cpu="X"), "fine")}
    assert found["instructions", "median"].value == 8
    assert found["instructions", "median"].samples == (8, 10, 8)
    assert found["instructions", "max"].value == 10
    assert found["instructions:store", "exact"].value == 1
    assert found["mac_lanes", "exact"].value == 5
    assert {m.evidence for m in found.values()} == {"emulated"}
    assert sum(m.value for (name, how), m in found.items() if ":" in name and how != "max") == 8
