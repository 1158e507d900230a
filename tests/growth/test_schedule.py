"""How many growth steps there is room for: only tries that the network at hand offers are counted."""

import pytest

from edgegrow import api
from edgegrow.config import GrowConfig, TrainConfig, resolve_config
from edgegrow.errors import InputError
from edgegrow.growth.groups import trace
from edgegrow.growth.grow import Grower
from edgegrow.growth.moves import replay
from edgegrow.growth.moves.places import find_pools
from edgegrow.growth.schedule import check_leaves_training, most_steps, most_tries
from edgegrow.listener import Silent
from edgegrow.nets import load_net
from edgegrow.setting import Setting

from .test_grow import Notes, pricing

EVERYTHING = GrowConfig(moves=("split", "deepen", "weigh", "trim"))


def network(name, shape=(1, 8, 8)):
    return trace(load_net(name).build(shape, 10, None), shape)


def configuration(net, **settings):
    values = {"net.name": net, "budget": {"macs": 8e3}, **settings}
    return resolve_config(values=values)


@pytest.mark.parametrize(
    ("name", "shape", "blocks"),
    [("mlp", (1, 8, 8), 1), ("dscnn", (1, 8, 8), 2), ("conv1d", (1, 40), 2)],
)
def test_blocks_that_a_network_has_no_place_for_are_no_tries(name, shape, blocks):
    """An mlp has neither a pool nor a kernel, a dscnn no kernel above three, a conv1d no pool."""
    assert most_tries(network(name, shape), EVERYTHING) == 2 + blocks
    assert most_steps(network(name, shape), EVERYTHING) == int(0.5 / ((2 + blocks) * 0.02))
    assert most_tries(network(name, shape), GrowConfig(moves=("split",), allocations=("gain",))) == 1


def test_steps_are_refused_by_the_tries_that_they_have_here():
    many = {"grow.steps": 5, "grow.interval": 0.04}
    assert Setting(configuration("mlp", **many), Silent()).grow_config.moves == ("split", "weigh", "trim")
    with pytest.raises(InputError, match=r"grow: 5 steps of 3 tries .* lower steps or interval"):
        Setting(configuration("dscnn", **many), Silent())
    with pytest.raises(InputError, match="5 steps of 3 tries"):
        check_leaves_training(network("conv1d", (1, 40)), GrowConfig(steps=5, interval=0.04))


def test_growth_steps_that_would_leave_no_training_are_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(InputError, match="lower steps or interval"):
        api.grow(configuration("mlp", **{"grow.steps": 30, "grow.interval": 0.1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_that_has_its_block_has_no_more_steps_than_before(digits):
    """Or a run that is resumed would take others."""
    (pool,) = find_pools(network("dscnn"))
    weighed = replay(network("dscnn"), [pool.insertion.to_json()])
    config, training, limits = GrowConfig(), TrainConfig(epochs=1.0), {"macs": 1e6}
    fixed = (digits, pricing("macs"), limits, training, config, 0, Notes())
    assert Grower(weighed, *fixed).most_steps > Grower(network("dscnn"), *fixed).most_steps
    resumed = Grower(weighed, *fixed, seed_network=network("dscnn"))
    assert resumed.most_steps == Grower(network("dscnn"), *fixed).most_steps
