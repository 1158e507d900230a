"""One network under the limits of several targets."""

from edgegrow.cost.layers import count_macs
from edgegrow.growth.joint import join_costs, joined
from edgegrow.growth.seed import build_network
from edgegrow.growth.select import CheckedCostModel
from edgegrow.ladder_stages import Stage, strides
from edgegrow.ladder_targets import largest_macs
from edgegrow.nets import load_net


def counted(layers):
    return {"macs": float(count_macs(layers))}


class Learning:
    """A board that takes twice what is predicted, until it is tried."""

    def __init__(self):
        self.factor = 1.0

    def __call__(self, layers):
        return {"latency_ms": self.factor * count_macs(layers)}

    def check(self, layers):
        self.factor = 2.0
        return self(layers)

    def learnt(self):
        return {"factor": self.factor}

    def recall(self, learnt):
        self.factor = learnt.get("factor", 1.0)


def mlp():
    return build_network(load_net("mlp"), (1, 8, 8), 10, None, 0)


def test_own_metrics_keep_their_names_and_others_tell_their_target():
    assert joined({"a": {"macs": 1.0, "ram_bytes": 2.0}, "b": {"macs": 3.0}}) == {
        "macs": 1.0,
        "ram_bytes": 2.0,
        "macs on b": 3.0,
    }


def test_what_is_tried_on_one_target_is_counted_on_the_others():
    layers = mlp().shapes({})
    macs, board = count_macs(layers), Learning()
    costs = join_costs({"host": counted, "board": board})
    assert isinstance(costs, CheckedCostModel)
    assert costs(layers) == {"macs": macs, "latency_ms on board": macs}
    assert costs.check(layers) == {"macs": macs, "latency_ms on board": 2 * macs} == costs(layers)
    learnt = costs.learnt()
    costs.recall({})
    assert costs(layers)["latency_ms on board"] == macs
    later = join_costs({"board": board})  # once the rung of the host is passed
    later.recall(learnt)
    assert later(layers) == {"latency_ms": 2 * macs}
    assert not isinstance(join_costs({"host": counted}), CheckedCostModel)


def test_the_largest_network_in_proportion_fills_the_limits_or_there_is_none():
    trace = mlp()
    least = dict.fromkeys(trace.widths(), 2)
    assert 0.95 * 5e3 < largest_macs(trace, least, counted, {"macs": 5e3}) <= 5e3
    assert largest_macs(trace, least, counted, {"macs": 100}) == 0
    unbound = largest_macs(trace, least, counted, {"macs": 1e15})
    assert unbound == count_macs(trace.shapes({name: 64 * w for name, w in trace.widths().items()}))


def test_the_way_to_a_rung_is_gone_in_even_strides_of_at_most_twice():
    assert strides({"macs": 1e3, "ram_bytes": 4.0}, {"macs": 4e3, "ram_bytes": 5.0}, 4.0) == [
        {"macs": 2e3, "ram_bytes": 20**0.5},
        {"macs": 4e3, "ram_bytes": 5.0},
    ]
    assert strides({"macs": 1e3}, {"macs": 1.9e3}, 1.9) == [{"macs": 1.9e3}]
    assert strides({"macs": 1e3}, {"macs": 1e3}, 1.0) == [{"macs": 1e3}]


def test_what_is_left_to_grow_by_is_a_ratio_of_sizes_not_of_costs():
    trace = mlp()
    macs = count_macs(trace.shapes({}))
    fixed = 9 * macs  # most of what it takes does not depend on widths

    def costs(layers):
        return {"latency_ms": fixed + count_macs(layers)}

    way = Stage({"latency_ms": fixed + 4.0 * macs}, lambda records: costs).way_from(trace, ())
    assert way["costs"] == {"latency_ms": 10 * macs}
    assert 3.8 < way["ratio"] <= 4
    full = Stage({"latency_ms": fixed + 1.0 * macs}, lambda records: costs).way_from(trace, ())
    assert full["ratio"] == 1
