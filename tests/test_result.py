"""A promise that is not kept says by how much, and what would be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegrow import api
from edgegrow.config import Budget
from edgegrow.errors import BudgetError
from edgegrow.result import Run
from edgegrow.units import UNITS, format_budget


@pytest.fixture
def run(finished_run):
    return api.open_run(finished_run[0])


def asked(run, **limits):
    return Run(run.folder, run.config.model_copy(update={"budget": Budget(**limits)}), run.profiles)


def test_a_budget_that_is_kept_raises_nothing(run):
    run.check_budget()
    asked(run, macs=1e6, flash_bytes=1e6, latency_ms=1e3, ram_bytes=1e6).check_budget()


def test_every_miss_is_named_with_the_nearest_budget_that_the_network_keeps(run):
    missing = asked(run, macs=1000, flash_bytes=1e6, latency_ms=1e-6)
    with pytest.raises(
        BudgetError, match=r"budget macs: missed: .* % over 1,000; budget latency_ms: "
    ) as told:
        missing.check_budget()
    nearest = Budget.parse(str(told.value).rpartition(": ")[2])
    assert nearest.flash_bytes == 1e6
    assert nearest.macs == run.costs()["macs"]
    again = asked(run, **nearest.limits)
    again.check_budget()
    assert again.costs()["latency_ms"] == pytest.approx(nearest.latency_ms, rel=2e-3)


def test_ram_of_a_host_is_the_arena_as_it_is_planned(run):
    profile = run.profiles["tflite"]
    delivered = asked(run, ram_bytes=1e6).delivered()["ram_bytes"]
    assert delivered == profile.find("peak_activations")
    assert delivered.evidence == "predicted"


def test_a_latency_that_was_measured_is_judged_by_its_median_and_one_that_was_computed_by_its_greatest(run):
    """The slowest of many inferences on a clock tells of the machine's other work."""

    def latency(evidence, *aggregations):
        profile = run.profiles["tflite"]
        found = {"max": 9.0, "median": 2.0, "mean": 3.0}
        one = profile.find("latency").model_copy(update={"evidence": evidence, "samples": ()})
        made = (one.model_copy(update={"aggregation": a, "value": found[a]}) for a in aggregations)
        changed = profile.model_copy(update={"measurements": tuple(made)})
        return Run(run.folder, asked(run, latency_ms=1.0).config, {"tflite": changed}).costs()["latency_ms"]

    assert latency("measured", "max", "median", "mean") == 2
    assert latency("measured", "max", "mean") == 3
    assert latency("predicted", "max", "median") == 9


@given(
    st.dictionaries(
        st.sampled_from([metric for metric, _ in UNITS.values()]), st.floats(1e-7, 1e12), min_size=1
    )
)
def test_a_budget_is_written_as_it_is_read_rounded_up(limits):
    read = Budget.parse(format_budget(limits)).limits
    assert read.keys() == limits.keys()
    for metric, value in limits.items():
        step = 2e-3 * value if metric in ("latency_ms", "energy_mj") else 1
        assert value <= read[metric] <= value + step
