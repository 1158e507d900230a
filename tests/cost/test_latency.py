"""The latency model: exact where the machine keeps to its assumptions, at widths never measured."""

import pytest
from clocks import CALL_NS, NETWORK_NS, calibrated, network_ns, subject_of
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.cost.latency import LatencyModel
from edgegrow.errors import InputError


@pytest.fixture(scope="module")
def subjects(digits):
    return {net: subject_of(net, digits) for net in ("mlp", "dscnn", "resnet8")}


def model_of(subject, **options):
    plan, calibration = calibrated(subject, **options)
    return LatencyModel(subject.graph, plan, calibration, subject.trace.shapes)


@pytest.mark.parametrize("net", ["mlp", "dscnn", "resnet8"])
def test_a_staircase_is_known_at_every_width(net, subjects):
    subject = subjects[net]
    model = model_of(subject)
    assert model.error == pytest.approx(0, abs=1e-9)
    assert model.spread == pytest.approx(0.01, abs=1e-3)
    names = list(subject.trace.widths())

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.integers(2, 80), min_size=len(names), max_size=len(names)))
    def check(widths):
        graph = subject.at(dict(zip(names, widths, strict=True)))
        assert model(graph) == pytest.approx(max(network_ns(graph), 1) / 1e6, rel=1e-9)

    check()


def test_steps_are_found_by_type_and_axis(subjects):
    blocks = model_of(subjects["dscnn"]).table.blocks
    assert blocks[("Conv2D", (1, 1), 0)] == 8
    assert blocks[("Conv2D", (1, 1), 1)] == blocks[("Conv2D", (3, 3), 1)] == 16
    assert blocks[("DepthwiseConv2D", (3, 3), 0)] == 16


def test_the_constant_is_that_of_whole_networks(subjects):
    assert model_of(subjects["mlp"]).constant_ns == pytest.approx(NETWORK_NS)
    assert NETWORK_NS != CALL_NS


def test_a_machine_that_slows_down_midway_is_followed_by_its_reference(subjects):
    """Readings are compared with the reference's of the same run."""
    subject = subjects["dscnn"]
    steady = model_of(subject)
    drifting = model_of(subject, speed=lambda number: 1 + 0.004 * number)
    for factor in (1, 2):
        graph = subject.at({name: factor * width for name, width in subject.trace.widths().items()})
        scale = drifting.table.reference_ns / steady.table.reference_ns
        assert drifting(graph) == pytest.approx(scale * steady(graph), rel=1e-9)


def test_the_error_is_that_of_networks_not_fitted_to(subjects):
    subject = subjects["mlp"]
    plan, calibration = calibrated(subject)
    networks = list(calibration.networks)
    networks[1] = networks[1].model_copy(update={"windows_ns": (2 * networks[1].windows_ns[1],)})
    changed = calibration.model_copy(update={"networks": tuple(networks)})
    model = LatencyModel(subject.graph, plan, changed, subject.trace.shapes)
    assert model.constant_ns == pytest.approx(NETWORK_NS)
    assert model.error == pytest.approx(0.5)


@pytest.mark.parametrize("missing", ["layers", "networks"])
def test_readings_that_are_not_there_are_missed(missing, subjects):
    subject = subjects["mlp"]
    plan, calibration = calibrated(subject)
    lacking = calibration.model_copy(update={missing: getattr(calibration, missing)[:1]})
    with pytest.raises(InputError, match=r"no reading of|fewer than two whole networks"):
        LatencyModel(subject.graph, plan, lacking, subject.trace.shapes)


def test_a_target_may_tell_the_width_of_steps(digits):
    from edgegrow.calibrating import latency_plan

    subject = subject_of("mlp", digits)
    _, calibration = calibrated(subject)
    plan = latency_plan(subject, calibration, 4)
    assert plan.sweeps == {}
    for layer in plan.layers.values():
        assert all(axis.block == 4 for axis in plan.axes(layer, {}) if len(axis.levels) > 1)
        assert any(len(axis.levels) > 1 for axis in plan.axes(layer, {}))
