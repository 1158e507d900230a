"""The latency model: exact where the machine keeps to its assumptions, at widths never measured."""

import pytest
from clocks import CALL_NS, NETWORK_NS, branching_subject, calibrated, layer_ns, network_ns, subject_of
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.cost.latency import LatencyModel
from edgegrow.cost.operators import kind, sizes
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


@pytest.mark.parametrize("name", ["squeeze and excite", "dense", "u-net"])
def test_noise_makes_no_wide_network_cheap(name):
    """Tables of half the own widths, read with errors of 5 %; eight times their widths at last.

    A line through the last two levels of each axis would price some of these networks at nothing, and others
    at nine times what they take.
    """
    subject = branching_subject(name)
    own = subject.trace.widths()
    narrowest = subject.at(subject.narrowest)
    for seed in range(6):
        model = model_of(subject, networks=4, widest=0.5, noise=0.05, seed=seed)
        before = model(narrowest)
        for factor, least, most in ((1, 0.8, 1.25), (2, 0.75, 1.6), (4, 0.5, 3.5)):
            graph = subject.at({group: factor * width for group, width in own.items()})
            found = model(graph)
            assert before < found
            assert least < found / (network_ns(graph) / 1e6) < most
            before = found


def test_a_network_is_not_faster_than_its_slowest_layer(subjects):
    """Whatever its constant was fitted to."""
    subject = subjects["dscnn"]
    plan, calibration = calibrated(subject)
    impossible = tuple(net.model_copy(update={"windows_ns": (1.0,)}) for net in calibration.networks)
    changed = calibration.model_copy(update={"networks": impossible})
    model = LatencyModel(subject.graph, plan, changed, subject.trace.shapes)
    graph = subject.at(dict.fromkeys(subject.trace.widths(), 40))
    slowest = max(layer_ns(kind(op), sizes(op)) for op in graph.operators)
    assert model(graph) == pytest.approx(slowest / 1e6)


def test_the_constant_is_fitted_to_relative_errors(subjects):
    """A percent of a large network is more than all of a small one: it must not decide what that takes."""
    subject = subjects["mlp"]
    plan, calibration = calibrated(subject, networks=4)
    small, unseen, large, _ = calibration.networks
    slower = [ns + 5e5 for ns in large.windows_ns]
    networks = (small, unseen, large.model_copy(update={"windows_ns": tuple(slower)}), unseen)
    changed = calibration.model_copy(update={"networks": networks})
    assert LatencyModel(subject.graph, plan, changed, subject.trace.shapes).constant_ns == pytest.approx(
        NETWORK_NS
    )


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


def test_a_table_has_two_steps_at_least(subjects):
    """Of one alone it would not be known what the next takes: wider networks would cost nothing more."""
    plan, _ = calibrated(subjects["mlp"])
    wide = {layer.family(axis): 256 for layer in plan.layers.values() for axis in (0, 1)}
    for layer in plan.layers.values():
        for number, axis in enumerate(plan.axes(layer, wide)):
            assert axis.levels == ((256, 512) if layer.varies(number) else (layer.low[number],))
