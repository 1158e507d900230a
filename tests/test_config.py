import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgegrow.budget import Budget, Goal, Ladder, TargetLadder, parse_ladder
from edgegrow.config import RunConfig, dump_config, resolve_config
from edgegrow.errors import InputError
from edgegrow.units import UNITS, format_quantity, parse_quantity, quantity_name


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("macs=250k", {"macs": 250e3}),
        ("params=1.5M, flash=64kB", {"params": 1.5e6, "flash_bytes": 64e3}),
        ("latency=500us,energy=2J", {"latency_ms": 0.5, "energy_mj": 2000}),
        ("ram=2KiB", {"ram_bytes": 2048}),
    ],
)
def test_budgets_as_people_write_them(text, limits):
    assert Budget.parse(text).limits == pytest.approx(limits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macs=250q", "unknown unit 'q'"),
        ("latency=20kB", "unknown unit 'kB': use one of: us, ms, s"),
        ("macs=-5", "not a positive number"),
        ("macs=0", "more than 0"),
        ("macs=nan", "not a positive number"),
        ("speed=3", "write key=value with a key of macs"),
        ("macs", "write key=value"),
        ("macs=1k,macs=2k", "macs is given twice"),
        ("", "write key=value"),
    ],
)
def test_wrong_budgets_are_named_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as error:
        Budget.parse(text)
    assert "\n" not in str(error.value)


def test_ladders_and_goals_as_people_write_them(tmp_path):
    file = tmp_path / "wanted.toml"
    file.write_text('ladder = "latency=20ms,500us,5ms"\nbudget = "flash=64kB"\n')
    config = resolve_config(file)
    assert {name: rung.budget.limits for name, rung in config.rungs().items()} == {
        "latency-0.5ms": {"latency_ms": 0.5, "flash_bytes": 64e3},
        "latency-5ms": {"latency_ms": 5.0, "flash_bytes": 64e3},
        "latency-20ms": {"latency_ms": 20.0, "flash_bytes": 64e3},
    }
    file.write_text('goal = "accuracy=90%"\nbudget = "macs=60k"\n')
    assert resolve_config(file).goal == Goal.parse("accuracy=0.9")
    for wanted in (config, resolve_config(file)):
        file.write_text(dump_config(wanted, {"python": "3"}))
        assert resolve_config(file) == wanted


@given(
    st.sampled_from([metric for metric, _ in UNITS.values()]),
    st.lists(st.floats(1e-3, 1e9), min_size=2, max_size=6, unique=True),
)
def test_distinct_rungs_have_distinct_names_in_ascending_order(metric, rungs):
    ladder = Ladder(metric=metric, rungs=rungs)
    assert list(ladder.rungs) == sorted(rungs)
    names = list(RunConfig(budget=Budget(), ladder=ladder).rungs())
    assert names == [quantity_name(metric, rung) for rung in sorted(rungs)]
    assert len(set(names)) == len(rungs)
    assert not any(set(name) & set("/ =") for name in names)


def test_a_ladder_of_targets_shares_its_budget(tmp_path):
    file = tmp_path / "wanted.toml"
    file.write_text('ladder = "target=boards/mine.toml, nrf5340dk"\nbudget = "latency=20ms"\n')
    config = resolve_config(file)
    rungs = config.rungs()
    assert {name: rung.target for name, rung in rungs.items()} == {
        "mine": "boards/mine.toml",
        "nrf5340dk": "nrf5340dk",
    }
    assert all(rung.budget.limits == {"latency_ms": 20.0} and rung.ladder is None for rung in rungs.values())
    file.write_text(dump_config(config, {"python": "3"}))
    assert resolve_config(file) == config
    with pytest.raises(InputError, match="target 'host': the ladder's rungs are targets"):
        resolve_config(file, {"target": "host"})
    file.write_text('budget = "macs=2k"\nladder = {targets = ["a/One.toml", "b/one.toml"]}\n')
    with pytest.raises(InputError, match=r"configuration: ladder.targets: target One is given twice"):
        resolve_config(file)
    file.write_text('ladder = {metric = "macs", rungs = [5, -5]}\n')
    with pytest.raises(InputError, match=r"configuration: ladder.rungs.1: input should be greater than 0"):
        resolve_config(file)


@given(st.lists(st.text(max_size=12), max_size=4))
def test_rungs_of_targets_have_the_names_of_folders(targets):
    try:
        names = list(TargetLadder(targets=targets).by_name)
    except ValidationError:
        return
    assert len({name.lower() for name in names}) == len(targets) >= 2
    assert not any(set(name) & set("/\\ =:") or name.startswith(".") for name in names)


def parsed_over_targets(text):
    return parse_ladder(f"target={text}")


@given(st.text(max_size=30), st.sampled_from([Ladder.parse, Goal.parse, parse_ladder, parsed_over_targets]))
def test_no_text_breaks_the_parsers_of_ladders_and_goals(text, parse):
    message = ""
    try:
        parse(text)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@given(st.text(max_size=30))
@example("0\n0\x85")
def test_no_text_breaks_the_budget_parser(text):
    message = ""
    try:
        assert Budget.parse(text).limits
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@given(st.sampled_from(sorted(UNITS)), st.floats(1e-3, 1e6), st.data())
def test_quantities_scale_by_their_unit(key, number, data):
    unit = data.draw(st.sampled_from(sorted(UNITS[key][1])))
    value = parse_quantity(key, f"{number:.6f}{unit}")
    assert value == pytest.approx(float(f"{number:.6f}") * UNITS[key][1][unit])
    assert format_quantity(UNITS[key][0], value)


def test_a_resolved_configuration_reads_back_as_itself(tmp_path):
    config = resolve_config(values={"budget": {"macs": 1e5}, "seed": 3}, settings=["train.lr=0.2"])
    file = tmp_path / "config.toml"
    file.write_text(dump_config(config, {"torch": "2"}))
    assert resolve_config(file) == config
    assert tomllib.loads(file.read_text())["versions"] == {"torch": "2"}


def test_later_sources_win(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('budget = "macs=10k"\nseed = 1\n[train]\nlr = 0.3\nbatch_size = 32\n')
    config = resolve_config(file, {"seed": 2}, ["train.lr=0.05", "net.name=mlp", "net.widths=[8, 8]"])
    assert (config.seed, config.train.lr, config.train.batch_size) == (2, 0.05, 32)
    assert (config.budget.macs, config.net.name, config.net.widths) == (10e3, "mlp", (8, 8))
    config = resolve_config(file, settings=["budget=macs=5k", "goal=accuracy=90%"])
    assert (config.budget.macs, config.goal.accuracy) == (5e3, 0.9)
    assert resolve_config(file, settings=["budget.macs=7e3"]).budget.macs == 7e3


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("budget = ", (), "not valid TOML"),
        ("nonsense = 1\nbudget='macs=1k'", (), "unknown key 'nonsense'"),
        ("budget='macs=1k'\n[train]\nlr = 'fast'", (), "train.lr"),
        ("budget='macs=1k'\ntrain = 3", ("train.lr=1",), "train is not a section"),
        ("seed = 1", (), "budget: none given"),
        ("budget='macs=1k'", ("train.epochs=-3",), r"train.epochs: .*greater than 0.*given: -3"),
        ("budget='macs=1k'", ("train.epochs=nan",), "train.epochs"),
        ("budget='macs=1k'", ("epochs",), "write section.key=value"),
        ("budget='macs=1k'", ("=1",), "write section.key=value"),
        ("budget='macs=1k'", ("train.=1",), "write section.key=value"),
        ("budget='macs=1k'", ("data.name=d/\udcff",), "data.name: .* is no valid text"),
        ("budget='macs=1k'\nseed=1.5", (), "seed"),
        ("budget=7", (), "budget"),
    ],
)
def test_wrong_configurations_are_named_in_one_line(tmp_path, content, settings, message):
    file = tmp_path / "c.toml"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        resolve_config(file, settings=settings)
    assert "\n" not in str(error.value)


def test_configurations_are_frozen():
    config = RunConfig(budget=Budget(macs=1))
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1
