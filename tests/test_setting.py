"""What is told of a run: channels that keep their width, before it begins; a budget that is left."""

import pytest
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from edgegrow import api
from edgegrow.config import resolve_config
from edgegrow.errors import BudgetError
from edgegrow.setting import Setting

from .growth.listening import Heard


def hidden(shape, classes):
    """One hidden layer on digits: each of its channels takes 64 + 10 multiply-accumulates."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.ReLU(), nn.Linear(2, classes))


def partly_fixed(shape, classes):
    """The weight of one layer is computed from others: what it reads and makes keeps its width."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(),
        weight_norm(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, classes),
    )  # fmt: skip


def config(build, **values):
    return resolve_config(values={"net.name": f"{build.__module__}:{build.__name__}", **values})


def test_what_keeps_its_width_is_named_with_the_reason_and_all_groups_are_shown_to_the_curious():
    heard = Heard()
    setting = Setting(config(partly_fixed, budget={"macs": 5e3}), heard)
    (line,) = (line for line in heard.said if "left at their widths" in line)
    assert "3: the weight of 5 is computed from others; 5: the weight of 5" in line
    assert "1:" not in line
    assert [f"channels {group}" for group in setting.example.groups] == heard.details
    assert any(line.startswith("channels 1: made by 1; read by 3") for line in heard.details)


def test_of_a_network_that_grows_throughout_nothing_is_named():
    heard = Heard()
    assert Setting(config(hidden, budget={"macs": 5e3}), heard).example.left_alone == {}
    assert not any("left at their widths" in line for line in heard.said)


def grown(macs, folder):
    values = {"budget": {"macs": macs}, "train.epochs": 1.0, "grow.samples": 32, "grow.steps": 1}
    return api.grow(config(hidden, **values), folder, Heard())


def test_a_budget_that_nothing_fills_is_a_miss_with_the_one_that_the_network_fills(tmp_path):
    run = grown(290, tmp_path / "run")
    assert run.costs() == {"macs": 222}
    with pytest.raises(BudgetError, match=r"^budget: kept, but 23\.4 % of it is left, .* fills: macs=222$"):
        run.check()
    grown(222, tmp_path / "again").check()
