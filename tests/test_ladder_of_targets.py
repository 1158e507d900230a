"""A ladder of targets: one budget, a network for each, whatever order they are given in."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest

from edgegrow import api
from edgegrow.budget import Budget, TargetLadder
from edgegrow.calibrating import Effort
from edgegrow.config import resolve_config
from edgegrow.errors import InputError
from edgegrow.family import Family
from edgegrow.files import cache_folder
from edgegrow.growth.select import share
from edgegrow.ladder import LadderGrowth
from edgegrow.ladder_stages import Stage, held_back, read_way
from edgegrow.ladder_targets import largest_macs, settle
from edgegrow.listener import Silent
from edgegrow.output import emit_table
from edgegrow.report.families import ladder_table
from edgegrow.result import Run
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.targets import load_target

from .crashes import fingerprint
from .growth.listening import Heard

for name in ("ziglang", "unicorn", "capstone"):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install edgegrow[mcu]", allow_module_level=True)

SLOW, FAST = "slower", "nucleo-l4r5zi"
"""Two boards of one core: what is emulated for pricing serves both. The slow one is a file of our own."""

SETTINGS = ("grow.samples=32", "grow.allocations=['proportional']", "grow.steps=1")


def board(folder, name=SLOW):
    """Write the file of a Nano 33 BLE at a lower clock."""
    text = load_target("nano33ble")._file.read_text().replace('"nano33ble"', f'"{name}"')
    file = folder / f"{name}.toml"
    file.write_text(text.replace("clock_hz = 64000000", "clock_hz = 40000000"))
    return str(file)


def config(*targets, **more):
    return resolve_config(
        values={
            "net.name": "mlp",
            "ladder": TargetLadder(targets=targets).model_dump(),
            "budget": Budget.parse("latency=0.25ms,flash=64kB").limits,
            "train.epochs": 3.0,
            "grow.moves": ["split"],
            **more,
        },
        settings=SETTINGS,
    )


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Calibrations are kept here, not in the user's cache; zig's own libraries are not built anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgegrow.calibrating.Effort", partial(Effort, emulated=3))
        patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(cache_folder().parent / "zig"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def heard():
    return Heard()


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return board(tmp_path_factory.mktemp("boards"))


@pytest.fixture(scope="module")
def family(tmp_path_factory, heard, slow):
    """Given the loosest first."""
    return api.grow_ladder(config(FAST, slow), tmp_path_factory.mktemp("ladder") / "run", heard)


@pytest.fixture(scope="module")
def setting(family):
    return Setting(family.config.rungs()[FAST], Silent())


def test_every_rung_keeps_the_budget_on_its_own_target_and_fills_it(family, slow):
    assert list(family.rungs) == [SLOW, FAST]  # the order in which they were grown
    assert family.config.ladder == TargetLadder(targets=(slow, FAST))
    for name, run in family.rungs.items():
        assert run.config.target == family.config.ladder.by_name[name]
        assert run.config.budget == family.config.budget
        (profile,) = run.profiles.values()
        assert (profile.target.name, profile.artifact.format) == (name, "c")
        assert 0.91 <= run.costs()["latency_ms"] / 0.25 <= 1  # growth sees an upper estimate, by 2 %
        assert run.costs()["flash_bytes"] <= 64e3
    family.check()


def test_rungs_grow_out_of_each_other_in_strides_of_twice_at_most(family):
    events = list(family.folder.history("growth"))
    sizes = [event["macs"] for event in family.folder.history("rung")]
    widths = [run.folder.load_checkpoint().widths for run in family.rungs.values()]
    assert all(widths[1][name] >= width for name, width in widths[0].items())
    onward = next(family.folder.history("rung"))["onward"]
    assert sizes[1] / sizes[0] == pytest.approx(onward["ratio"], rel=0.1)
    assert onward["ratio"] > 2
    first = [event["widths"] for event in events].index(widths[0])
    assert len(events) - first > 2
    costs = [event["costs"]["latency_ms"] for event in events[first + 1 :]]
    between = (onward["costs"]["latency_ms"] * 0.25) ** 0.5
    assert costs[0] <= between * 1.1 < costs[-1]


@pytest.mark.parametrize(
    "way",
    [None, 3, {}, {"costs": {}, "ratio": 2.0}, {"costs": {"latency_ms": "x"}, "ratio": 2.0},
     {"costs": {"latency_ms": 0.1}, "ratio": float("inf")}, {"costs": {"latency_ms": -1.0}, "ratio": 2.0}],
)  # fmt: skip
def test_a_damaged_event_of_a_rung_is_refused_in_one_line(way):
    limits = {"latency_ms": 0.25}
    sound = {"name": "slower", "onward": {"costs": {"latency_ms": 0.1, "macs": 5}, "ratio": 2.0}}
    assert read_way(sound, limits) == ({"latency_ms": 0.1}, 2.0)
    with pytest.raises(
        InputError, match=r"^rung slower: its event does not tell how growth goes on: grow anew$"
    ):
        read_way({"name": "slower", **({} if way is None else {"onward": way})}, limits)


def test_growth_keeps_the_limits_of_later_targets_too(family):
    first, *_, last = family.folder.history("growth")
    assert f"latency_ms on {FAST}" in first["costs"]
    assert not [metric for metric in last["costs"] if " on " in metric]
    for event in (first, last):
        assert len(event["checked"][0]) == len(event["costs"])  # as emulated for each


def test_what_a_target_has_room_for_is_told(heard):
    (line,) = [line for line in heard.said if line.startswith("ladder: ")]
    assert line.index(SLOW) < line.index(FAST)


def test_a_ladder_that_is_stopped_on_the_way_ends_the_same(family, slow, tmp_path):
    class Impatient(Heard):
        def say(self, line):
            if line.startswith("growth step") and any(said.startswith("rung") for said in self.said):
                raise KeyboardInterrupt
            super().say(line)

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.grow_ladder(config(FAST, slow), folder, Impatient())
    assert [event["name"] for event in RunFolder(folder).history("rung")] == [SLOW]
    found = api.resume_ladder(folder)
    assert fingerprint(folder) == fingerprint(family.folder.path)
    assert found.training() == family.training()
    for name in family.rungs:
        code = f"rungs/{name}/c/src/model.c"
        assert (folder / code).read_bytes() == (family.folder.path / code).read_bytes()


def test_reports_tell_the_target_of_every_rung(family, slow, run_cli):
    code, table, _ = run_cli("report", family.folder.path)
    assert code == 0
    for word in (SLOW, FAST, "latency", "flash", "predicted"):
        assert word in table
    result = json.loads(run_cli("report", family.folder.path, "--json")[1])
    assert result["ladder"] == {"targets": [slow, FAST]}
    assert {name: rung["target"] for name, rung in result["rungs"].items()} == {SLOW: slow, FAST: FAST}
    code, _, err = run_cli("report", family.folder.path / "rungs" / FAST)
    assert code == 0, err


def test_evidence_that_differs_between_targets_stands_with_each_figure(family, capsys):
    run = family.rungs[FAST]
    changed = tuple(
        one.model_copy(update={"evidence": "measured"}) if one.metric == "accuracy" else one
        for one in run.profiles["c"].measurements
    )
    profile = run.profiles["c"].model_copy(update={"measurements": changed})
    measured = Run(run.folder, run.config, {"c": profile})
    emit_table(ladder_table(Family(family.folder, family.config, {**family.rungs, FAST: measured})))
    table = capsys.readouterr().out
    for found, evidence in ((family.rungs[SLOW].profiles["c"], "emulated"), (profile, "measured")):
        assert f"{100 * found.find('accuracy').value:.2f} % ({evidence})" in table


def test_a_target_that_allows_no_more_holds_the_rungs_before_it_back(family, setting, slow, tmp_path):
    """As where the order is not that of a network out of proportion: every rung is kept all the same."""
    wanted = family.config.model_copy(update={"ladder": TargetLadder(targets=(FAST, slow))})
    folder, heard = RunFolder.create(tmp_path / "run", wanted, {}), Heard()
    folder.record("start", {"fingerprint": setting.data.fingerprint})
    grower, _ = LadderGrowth(wanted, Setting(wanted.rungs()[FAST], heard))._grow(folder)
    layers = grower.trace.shapes(grower.trace.widths())
    assert 0.95 <= share(grower.pricing(())(layers), grower.limits) <= 1
    (said,) = [line for line in heard.warnings if line.startswith(f"rung {FAST}: ")]
    assert f"as {SLOW}, whose network grows out of this one" in said
    (same,) = [line for line in heard.warnings if line.startswith(f"rung {SLOW}: ")]
    assert "one will do on both targets" in same


def test_cost_models_are_made_once_for_each_target(family, setting):
    settings = {name: setting.of(rung) for name, rung in family.config.rungs().items()}
    models = {name: one.pricing(()) for name, one in settings.items()}
    assert models[SLOW] is not models[FAST]
    for name, one in settings.items():
        assert setting.of(one.config).costs is models[name] is one.costs
        assert models[name].board.name == name
    narrow = dict.fromkeys(setting.example.widths(), 2)
    layers = setting.example.shapes(narrow)
    stage = Stage.of(settings)
    both = stage.pricing(())(layers)
    assert both["latency_ms"] == models[SLOW](layers)["latency_ms"]
    assert both[f"latency_ms on {FAST}"] == models[FAST](layers)["latency_ms"]
    assert stage.limits[f"ram_bytes on {FAST}"] == load_target(FAST).memory.ram_bytes
    alone = largest_macs(setting.example, narrow, models[SLOW], settings[SLOW].limits)
    # On one core the slower board has room for less, and nothing else binds.
    assert largest_macs(setting.example, narrow, stage.pricing(()), stage.limits) == alone
    assert held_back({SLOW: settings[SLOW]}, setting.example, ()) == ""


def test_blocks_that_one_target_cannot_price_are_left_out_for_all(tmp_path):
    tabled = Path(board(tmp_path, "tabled"))
    tabled.write_text(tabled.read_text().replace("[cost]", '[cost]\nlatency_table = "trials.json"'))
    wanted = config(FAST, str(tabled), **{"net.name": "dscnn", "grow.moves": ["split", "weigh", "trim"]})
    heard = Heard()
    setting = Setting(wanted.rungs()[FAST], heard)
    assert setting.grow_config.moves == ("split", "weigh", "trim")
    priced = setting.of(wanted.rungs()["tabled"])
    assert priced.grow_config.moves == ("split",)
    assert any("target tabled prices one structure alone" in line for line in heard.said)


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(Path(board(tmp_path)).read_text())
    wanted = config(*(str(tmp_path / f"{name}.toml") for name in ("one", "two")))
    with pytest.raises(InputError, match="targets one and two are both called slower"):
        settle(wanted, Setting(wanted.rungs()["one"], Silent()))
