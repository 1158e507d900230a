"""Profiles compared: what fails, what informs, what cannot be compared."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegrow.errors import InputError
from edgegrow.measure.limits import Limits
from edgegrow.measure.protocol import Identity
from edgegrow.measure.regression import compare
from tests.profiles import COUNTS, IDENTITY, changed, figure, profile

METRICS = ["instructions", "cycles", "latency", "flash", "accuracy", "agreement", "load", "x:op", "x"]
UNITS = ["ms", "bytes", "fraction", "instructions", "weird"]
AGGREGATIONS = ["exact", "min", "median", "mean", "max", "p90", "p99"]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
SHARES = st.floats(0, 1)
COUNTED = st.floats(0, 1e308)


def figures(unit):
    """Any that may be in a unit: nothing is counted below 0, and a fraction is one at most."""
    values = {"weird": NUMBERS, "fraction": SHARES}.get(unit, COUNTED | st.integers(0, 2**63 - 1))
    samples = {"weird": st.floats(-1e308, 1e308), "fraction": SHARES}.get(unit, COUNTED)
    return st.builds(
        figure,
        st.sampled_from(METRICS),
        values,
        st.just(unit),
        st.sampled_from(["measured", "emulated", "predicted", "published"]),
        aggregation=st.sampled_from(AGGREGATIONS),
        samples=st.lists(samples, max_size=60).map(tuple),
        trials=st.none() | st.integers(1, 2**62),
        identity=st.sampled_from([IDENTITY, Identity(), Identity(runtime="onnxruntime")]),
    )


FIGURES = st.sampled_from(UNITS).flatmap(figures)
PROFILES = st.lists(
    FIGURES, min_size=1, max_size=12, unique_by=lambda m: (m.metric, m.aggregation, m.evidence)
).map(lambda found: profile(*found))
GIVEN = st.dictionaries(st.sampled_from(METRICS), st.none() | st.floats(0, 10))


def verdicts(baseline, candidate, limits=None):
    rows = compare(baseline, candidate, limits).rows
    return {(row.metric, row.aggregation): row.verdict for row in rows}


def known(limits, *profiles):
    metrics = {m.metric for p in profiles for m in p.measurements}
    return Limits({name: value for name, value in limits.items() if name in metrics})


@given(PROFILES, GIVEN)
def test_a_profile_is_no_worse_than_itself(one, limits):
    comparison = compare(one, one, known(limits, one))
    assert comparison.failures == ()
    assert comparison.differences == ()


@given(PROFILES, PROFILES, GIVEN)
def test_any_two_profiles_compare_and_every_figure_is_in_the_comparison(first, second, limits):
    limits = known(limits, first, second)
    comparison = compare(first, second, limits)
    shown = {id(m) for row in comparison.rows for m in (row.baseline, row.candidate)}
    for m in (*first.measurements, *second.measurements):
        assert (id(m) in shown) != limits.leave_out(m.metric)
    for row in comparison.rows:
        assert row.change is None or math.isfinite(row.change)
        assert not row.failed or row.limit is not None


@given(st.integers(1, 2**53), st.floats(0, 5), st.floats(1.0001, 10))
def test_a_count_beyond_its_limit_always_fails_and_one_within_never(before, limit, beyond):
    base = profile(figure("instructions", float(before), "instructions"))
    limits = Limits({"instructions": limit})
    worse = changed(base, instructions=before * (1 + limit) * beyond)
    assert verdicts(base, worse, limits) == {("instructions", "exact"): "worse"}
    within = changed(base, instructions=before * (1 + limit / beyond))
    assert not compare(base, within, limits).failures


@given(st.floats(0.5, 1), st.floats(0, 0.2), st.floats(1.001, 2))
def test_accuracy_falls_by_points(before, limit, beyond):
    base = profile(figure("accuracy", before, "fraction"))
    limits = Limits({"accuracy": limit})
    lost = limit * beyond + 1e-9
    assert compare(base, changed(base, accuracy=before - lost), limits).failures
    assert not compare(base, changed(base, accuracy=before - limit / beyond), limits).failures
    assert not compare(base, changed(base, accuracy=before + lost), limits).failures


@pytest.mark.parametrize("metric", ["instructions", "cycles", "macs", "params", "flash", "ram", "arena"])
def test_two_percent_more_of_what_repeats_fails_and_jitter_does_not(metric):
    for evidence in ("emulated", "predicted"):
        base = profile(figure(metric, 100_000, "x", evidence))
        assert compare(base, changed(base, **{metric: 102_000})).failures
        assert not compare(base, changed(base, **{metric: 100_060})).failures  # 2 x 0.03 %
        assert verdicts(base, changed(base, **{metric: 99_000})) == {(metric, "exact"): "better"}


def test_counts_of_tflite_runtime_may_vary_between_machines():
    identity = Identity(runtime="tflite-runtime")
    base = profile(figure("instructions", 100_000, "instructions", identity=identity))
    assert not compare(base, changed(base, instructions=100_250)).failures
    assert compare(base, changed(base, instructions=100_350)).failures


@pytest.mark.parametrize(
    ("metric", "unit", "evidence"),
    [("latency", "ms", "measured"), ("latency", "ms", "emulated"), ("energy", "mJ", "measured"),
     ("load", "ms", "measured"), ("peak_memory", "bytes", "measured"), ("latency", "ms", "published"),
     ("float_accuracy", "fraction", "measured"), ("instructions:op", "instructions", "emulated"),
     ("instructions:load", "instructions", "emulated"), ("mac_lanes", "macs", "emulated"),
     ("output_deviation", "LSB", "measured")],
)  # fmt: skip
def test_what_does_not_repeat_informs_until_it_has_a_limit(metric, unit, evidence):
    base = profile(figure(metric, 1.0, unit, evidence))
    other = profile(figure(metric, 0.1 if unit == "fraction" else 9.0, unit, evidence))
    assert verdicts(base, other) == {(metric, "exact"): "informs"}
    assert verdicts(base, other, Limits({metric: 0.01})) == {(metric, "exact"): "worse"}


def test_accuracy_is_judged_by_chance():
    def fall(points, trials):
        base = profile(figure("accuracy", 0.9, "fraction", trials=trials))
        return verdicts(base, changed(base, accuracy=0.9 - points / 100))[("accuracy", "exact")]

    # Two standard errors at 90 %: of 400 samples 4.4 points, of 40,000 0.43.
    assert [fall(4.0, 400), fall(5.0, 400)] == ["ok", "worse"]
    assert [fall(0.4, 40_000), fall(0.5, 40_000)] == ["ok", "worse"]
    assert [fall(0.9, None), fall(1.1, None)] == ["ok", "worse"]
    agreement = profile(figure("agreement", 1.0, "fraction", trials=20))
    assert compare(agreement, changed(agreement, agreement=0.95)).failures


def test_a_latency_with_a_limit_is_judged_by_its_samples():
    def latency(value, samples):
        m = figure("latency", value, "ms", "measured", aggregation="median", samples=samples)
        return profile(m, figure("latency", 9 * value, "ms", "measured", aggregation="p99"))

    limits = Limits({"latency": 0.05})
    steady = latency(4.0, (3.99, 4.0, 4.01) * 20)
    slower = compare(steady, latency(4.4, (4.39, 4.4, 4.41) * 20), limits)
    assert [row.aggregation for row in slower.failures] == ["median"]  # p99 informs
    disturbed = compare(steady, latency(6.0, (3.99, 6.0, 6.01) * 20), limits)
    assert not disturbed.failures
    assert "chance explains it in 60 and 60 samples" in disturbed.rows[0].why
    assert compare(latency(4.0, ()), latency(4.4, ()), limits).failures


def test_exact_and_several_runs_are_the_same_figure():
    exact = profile(figure("instructions", 1000, "instructions"))

    def several(middle, most):
        return profile(
            figure("instructions", middle, "instructions", aggregation="median", samples=(1.0, 2.0)),
            figure("instructions", most, "instructions", aggregation="max"),
        )

    assert verdicts(exact, several(1000, 1005)) == {
        ("instructions", "median"): "ok",
        ("instructions", "max"): "informs",
    }
    assert verdicts(several(1000, 1005), exact)[("instructions", "median")] == "ok"
    assert verdicts(exact, several(1020, 1025))[("instructions", "median")] == "worse"
    assert verdicts(several(1000, 1005), changed(exact, instructions=1020))[("instructions", "median")] == (
        "worse"
    )


def test_the_largest_stands_where_there_is_nothing_else():
    base = profile(figure("peak_memory", 100, "bytes", "measured", aggregation="max"))
    worse = changed(base, peak_memory=120)
    assert compare(base, worse, Limits({"peak_memory": 0.1})).failures


def test_what_appears_is_named_and_what_vanishes_fails_if_it_gated():
    base = profile()
    without = profile(*COUNTS[1:5], unavailable=[("instructions", "the emulator ended")])
    found = {row.metric: row for row in compare(base, without).rows if row.aggregation != "p99"}
    assert found["instructions"].verdict == "vanished"
    assert found["instructions"].why == "unavailable: the emulator ended"
    assert found["latency"].verdict == "gone"
    assert [row.metric for row in compare(base, without, Limits({"latency": 0.1})).failures] == [
        "instructions",
        "latency",
    ]
    assert verdicts(without, base)[("instructions", "exact")] == "new"
    assert not compare(without, base).failures
    assert not compare(None, base).failures
    assert set(verdicts(None, base).values()) == {"new"}


def test_where_a_figure_grew():
    base = profile()
    more = changed(base, instructions=1_020_000, instructions__op_01_linear=320_000)
    comparison = compare(base, more)
    whole = comparison.failures[0]
    assert [row.operator for row in comparison.grown_operators(whole)] == ["op_01_linear"]
    added = figure("instructions:op_02_add", 50_000, "instructions")
    more = profile(*more.measurements, added)
    comparison = compare(base, more)
    grown = comparison.grown_operators(comparison.failures[0])
    assert [row.operator for row in grown] == ["op_02_add", "op_01_linear"]


def test_other_identities_are_named_with_both_values_and_not_compared():
    other = IDENTITY.model_copy(update={"version": "2.4.0", "threads": None, "clock_hz": 1.5e9})
    again = profile(*(m.model_copy(update={"identity": other, "value": 9e9}) for m in COUNTS[:3]))
    comparison = compare(profile(*COUNTS[:3]), again)
    assert [(d.field, d.baseline, d.candidate, d.metrics) for d in comparison.differences] == [
        ("version", "2.3.0", "2.4.0", ("instructions",)),
        ("clock_hz", "not known", "1500000000", ("instructions",)),
        ("threads", "1", "not known", ("instructions",)),
    ]
    assert {row.verdict for row in comparison.rows} == {"not comparable"}
    assert {row.change for row in comparison.rows} == {None}
    assert not compare(profile(*COUNTS[:3]), again, Limits({"instructions": None})).differences


def test_other_targets_formats_and_units_are_named():
    base = profile()
    other = profile(target="raspberry-pi-5", format="onnx")
    fields = {d.field: (d.baseline, d.candidate) for d in compare(base, other).differences}
    assert fields == {
        "target": ("raspberry-pi-4", "raspberry-pi-5"),
        "the artifact's format": ("tflite", "onnx"),
    }
    edited = base.model_copy(update={"target": base.target.model_copy(update={"sha256": "c" * 64})})
    assert compare(base, edited).differences[0].field == "the target's file"
    seconds = profile(figure("latency", 4e-3, "s", "predicted"))
    assert compare(profile(figure("latency", 4, "ms", "predicted")), seconds).differences[0].field == "unit"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("latency=1%", {"latency": 0.01}),
        (" latency = 0.5 % ,load=off", {"latency": 0.005, "load": None}),
        ("instructions:op_00=2%,x=.1%,y=0%", {"instructions:op_00": 0.02, "x": 0.001, "y": 0.0}),
    ],
)
def test_limits_are_read(text, given):
    assert Limits.parse(text).given == pytest.approx(given)


@pytest.mark.parametrize(
    "text",
    ["", "latency", "latency=1", "=1%", "a=-1%", "a=nan%", "a=1e9%", "a=1%,", "a=1%,a=2%", "a=9999999%"],
)
def test_wrong_limits_are_refused(text):
    with pytest.raises(InputError, match="--max-regression"):
        Limits.parse(text)


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(InputError, match="did you mean instructions"):
        compare(profile(), profile(), Limits.parse("instruction=1%"))
    with pytest.raises(InputError, match="there are accuracy, flash, instructions, latency"):
        compare(profile(), profile(), Limits.parse("zzz=1%"))
