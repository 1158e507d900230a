"""Tries whose training diverges: they are lost, the growth is not."""

import json

import pytest

from edgegrow import api
from edgegrow.config import TrainConfig, resolve_config
from edgegrow.errors import DivergedError
from edgegrow.growth import grow as grow_module
from edgegrow.growth.groups import trace
from edgegrow.growth.stretch import Trainer
from edgegrow.growth.vetting import Look, Vetting
from edgegrow.nets import load_net

from .listening import Heard
from .test_vetting import Told, grown


@pytest.fixture
def exploding(monkeypatch):
    """Let stages of a growth train at a rate that makes their losses no numbers."""

    def explode(*stages):
        class Exploding(Trainer):
            def train(self, network, macs, optimizer, progress, stage, key, rates, first, total):
                own = (lambda step: 1e38) if stage in stages else rates
                return super().train(network, macs, optimizer, progress, stage, key, own, first, total)

        monkeypatch.setattr(grow_module, "Trainer", Exploding)

    return explode


def configuration():
    return resolve_config(
        values={
            "net.name": "mlp", "budget": {"macs": 5e3}, "train.epochs": 3.0, "grow.samples": 64,
            "grow.moves": ("split", "deepen"), "grow.interval": 0.05,
        }
    )  # fmt: skip


def history(folder):
    events = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in event.items() if "seconds" not in k} for event in events]


def test_a_try_that_diverges_is_lost_and_the_run_goes_on(exploding, tmp_path):
    """It is not tried again after an interruption."""
    exploding("grow 1, proportional")
    heard, again = Heard(), Heard()
    whole = api.grow(configuration(), tmp_path / "whole", heard)
    whole.check_budget()
    first, *_ = whole.folder.history("growth")
    assert {option["allocation"] for option in first["options"]} == {"gain", "deepen"}
    assert [(one["step"], one["allocation"]) for one in whole.folder.history("lost")] == [(1, "proportional")]
    assert "growth step 1: proportional diverged: it is not taken" in heard.warnings
    with pytest.raises(KeyboardInterrupt):
        api.grow(configuration(), tmp_path / "run", Heard("grow 1, gain"))
    api.resume(tmp_path / "run", again)
    assert "grow 1, proportional" not in again.stages
    assert history(tmp_path / "run") == history(whole.folder.path)


def test_a_step_of_which_all_tries_diverge_ends_the_run(exploding, tmp_path):
    exploding("grow 2, proportional", "grow 2, gain", "grow 2, deepen")
    with pytest.raises(DivergedError, match=r"growth step 2: .* lower train\.lr"):
        api.grow(configuration(), tmp_path / "run")
    lost = [event for event in history(tmp_path / "run") if event["event"] == "lost"]
    assert {one["step"] for one in lost} == {2}
    assert len(lost) >= 2


def test_a_block_is_not_taken_where_there_is_nothing_to_compare_it_with(exploding, tmp_path):
    exploding("grow 1, proportional", "grow 1, gain")
    with pytest.raises(DivergedError, match=r"growth step 1: .* without changing the structure diverged"):
        api.grow(configuration(), tmp_path / "run")


def test_a_look_that_diverges_is_behind_every_other(digits):
    config = TrainConfig(epochs=1.0).model_copy(update={"lr": 1e38})
    trained, network = Vetting(digits, config, 0), load_net("mlp").build((1, 8, 8), 10, None)
    assert trained.look(trace(network, (1, 8, 8)), lambda *step: None) is None
    for alike in (True, False):
        assert not trained.holds(Look(0.1, 9.0), None, alike)
        assert not trained.holds(None, None, alike)
        assert trained.holds(None, Look(0.1, 9.0), alike)


def test_a_block_whose_look_diverges_is_refused(digits):
    class Diverging(Told):
        def look(self, trace, on_step):
            look = super().look(trace, on_step)
            return look if self.asked % 2 else None

    progress, notes = grown(digits, Diverging(digits, 0.6, 0.6))
    assert not progress.insertions
    ((_, vetted),) = progress.vetted.items()
    assert vetted["with"] is None
    assert not vetted["holds"]
    assert notes.of("growth")
