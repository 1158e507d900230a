"""A run's configuration: TOML and command-line values -> frozen, checked models."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from edgegrow.budget import Budget, Frozen, Goal, Ladder, TargetLadder, parse_ladder
from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.units import quantity_name

Kind = Literal["split", "signed", "new", "gradmax", "firefly", "deepen", "weigh", "trim", "widen"]
"""Kinds of moves, as `edgegrow.growth.moves` knows them."""

_LADDERS = ("a ladder of bounds", "a ladder of targets")


def _kind_of_ladder(value: Any) -> str:
    of_targets = isinstance(value, TargetLadder) or (isinstance(value, Mapping) and "targets" in value)
    return _LADDERS[of_targets]


AnyLadder = Annotated[
    Annotated[Ladder, Tag(_LADDERS[0])] | Annotated[TargetLadder, Tag(_LADDERS[1])],
    Discriminator(_kind_of_ladder),
]
"""Of bounds or of targets."""


class DataConfig(Frozen):
    """Where the samples come from: a built-in name, a folder, a ``.npz`` file or ``module:function``."""

    name: str = "digits"
    dir: str | None = None


class NetConfig(Frozen):
    """The seed network: a built-in name or ``module:function``; ``widths`` fixes its size at the start."""

    name: str = "dscnn"
    widths: tuple[PositiveInt, ...] | None = Field(None, min_length=1)


class TrainConfig(Frozen):
    """How the network is trained.

    Attributes
    ----------
    epochs : float, optional
        Total training, growth and its scoring included, in units of one epoch of the *final* network. Unset:
        20, or as many as give 6,000 steps, whichever is more. Quantization-aware epochs come on top.
    batch_size, lr, momentum, weight_decay
        Of SGD with Nesterov momentum; ``lr`` is the peak.
    augment : bool
        Move images by up to a fourteenth of their side, and mirror them where the data set allows. Networks
        as small as these underfit before they overfit: on Fashion-MNIST at 250k MACs it cost 0.7 points of
        validation accuracy (dscnn, one seed).
    threads : int
        Threads of PyTorch; other counts sum in another order and give other bits.
    """

    epochs: float | None = Field(None, gt=0, le=10_000)
    batch_size: int = Field(64, ge=2, le=4096)
    lr: float = Field(0.1, gt=0, le=10)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, lt=1)
    augment: bool = False
    threads: int = Field(1, ge=1, le=256)


class GrowConfig(Frozen):
    """How the network is grown.

    Attributes
    ----------
    moves : tuple of Kind
        Kinds of moves that compete for the budget.
    allocations : tuple of str
        Ways to lay each growth step's budget out, between which short trainings decide: in proportion, by
        what moves promise for their cost. Each kind of block among the moves is one more.
    weights : str
        What the grown network is trained from: ``fresh`` weights, as growing has searched widths and depth
        alone, or ``inherited`` ones. Inherited weights are the handicap of small grown networks
        (docs/results/growth.md).
    seed_fraction : float
        Cost of the network that growth starts from, in units of the budget.
    steps : int
        Growth steps; costs rise geometrically from the seed's to the budget. More follow while less than 95 %
        of every limit is used.
    interval : float
        Training of the seed network, and of every way that a growth step tries, in units of all training
        (``train.epochs``).
    samples : int, optional
        Training samples that moves are scored on. Unset: 1024, or fewer where scoring would take more than a
        twentieth of all training; at most half of them.
    products : int
        Lanczos steps for the extreme eigenpairs of splitting matrices.
    step_sizes : tuple of float
        Steps that the line search tries, relative to the filters' norms.
    """

    moves: tuple[Kind, ...] = Field(("split", "weigh", "trim"), min_length=1)
    allocations: tuple[Literal["proportional", "gain"], ...] = Field(("proportional", "gain"), min_length=1)
    weights: Literal["fresh", "inherited"] = "fresh"
    seed_fraction: float = Field(0.4, gt=0, lt=1)
    steps: int = Field(2, ge=1, le=64)
    interval: float = Field(0.02, gt=0, lt=0.5)
    samples: int | None = Field(None, ge=16)
    products: int = Field(8, ge=2, le=256)
    step_sizes: tuple[PositiveFloat, ...] = Field((0.02, 0.05, 0.1, 0.2, 0.3, 0.5), min_length=1)

    @field_validator("moves", "allocations")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))


class QuantizeConfig(Frozen):
    """How the trained network is quantized.

    Attributes
    ----------
    calibration_samples : int
        Training samples that the ranges of activations are taken from.
    qat_epochs : int
        Epochs of quantization-aware training after all other training. They help where quantization costs
        accuracy, which that of the built-in networks hardly does (docs/results/qat.md).
    """

    calibration_samples: int = Field(512, ge=1)
    qat_epochs: int = Field(0, ge=0, le=10_000)


class MeasureConfig(Frozen):
    """How long the artifacts are timed: at least so many iterations and seconds."""

    iterations: int = Field(50, ge=50)
    seconds: float = Field(1.0, ge=1.0, le=600)


class RunConfig(Frozen):
    """Everything that decides a run.

    Attributes
    ----------
    budget : Budget
        With a ladder of bounds, what bounds every rung beside its own; of targets, what bounds every rung;
        with a goal, what bounds the search.
    ladder : Ladder or TargetLadder, optional
        Several networks are wanted, one for each of its rungs.
    goal : Goal, optional
        The smallest network is wanted that reaches it.
    target : str
        Name or file of the device that it is for; of no account where the rungs of a ladder are targets.
    via : str, optional
        How the device is reached, as ``measure --via`` has it; by default what the target's file says.
    """

    budget: Budget
    ladder: AnyLadder | None = None
    goal: Goal | None = None
    data: DataConfig = DataConfig()
    net: NetConfig = NetConfig()
    target: str = "host"
    via: str | None = Field(None, min_length=1)
    seed: int = Field(0, ge=0, lt=2**32)
    train: TrainConfig = TrainConfig()
    grow: GrowConfig = GrowConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    measure: MeasureConfig = MeasureConfig()

    @model_validator(mode="after")
    def _goes_together(self) -> RunConfig:
        if self.ladder is not None and self.goal is not None:
            raise ValueError("ladder and goal: a run has one of them: leave the other out")
        if isinstance(self.ladder, Ladder):
            if self.ladder.metric in self.budget.limits:
                raise ValueError(
                    f"budget {self.ladder.metric}: the ladder's rungs bound it: leave it out of the budget"
                )
        elif not self.budget.limits:
            what = "state what every target keeps" if self.ladder else "state one"
            what = "the search for a goal is bounded by one" if self.goal else what
            raise ValueError(f"budget: none given: {what}, e.g. --budget macs=250k")
        if isinstance(self.ladder, TargetLadder):
            if "target" in self.model_fields_set:
                raise ValueError(f"target {self.target!r}: the ladder's rungs are targets: leave it out")
            if self.via is not None:
                raise ValueError(f"via {self.via!r}: every target is reached as its file says: leave it out")
        if self.goal is not None and self.grow.weights != "fresh":
            raise ValueError(
                "goal: networks of the sizes that it tries have no weights to inherit: leave grow.weights at "
                "fresh"
            )
        return self

    def rungs(self) -> dict[str, RunConfig]:
        """Return the configuration of every rung's own run, ``{name: configuration}``.

        Bounds come in ascending order, targets in that of the configuration.
        """
        assert self.ladder is not None
        if isinstance(self.ladder, TargetLadder):
            return {
                name: self.model_copy(update={"ladder": None, "target": target})
                for name, target in self.ladder.by_name.items()
            }
        metric = self.ladder.metric
        return {
            quantity_name(metric, rung): self.model_copy(
                update={"ladder": None, "budget": self.budget.model_copy(update={metric: rung})}
            )
            for rung in self.ladder.rungs
        }


def resolve_config(
    file: Path | None = None, values: Mapping[str, Any] | None = None, settings: Sequence[str] = ()
) -> RunConfig:
    """Put a configuration together: defaults, then a TOML file, then values, then ``section.key=value``.

    Parameters
    ----------
    file : Path, optional
        A TOML file of the form `dump_config` writes; every key is optional but the budget.
    values : mapping, optional
        Dotted keys to values, ``None`` for not given: what the command line's own options set.
    settings : sequence of str
        ``section.key=value`` with a TOML value, as of ``--set``.

    Raises
    ------
    InputError
        For a missing or malformed file, an unknown key, a wrong type or a value out of range.
    """
    tree = _read_toml(file) if file is not None else {}
    tree.pop("versions", None)  # written beside the configuration for the record, not part of it
    _parse(tree)
    for key, value in (values or {}).items():
        if value is not None:
            _put(tree, key, value)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise InputError(f"--set {setting}: write section.key=value")
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word: a string without its quotes
        _put(tree, key.strip(), value)
    _parse(tree)
    tree.setdefault("budget", {})
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        where = f"{file}: " if file is not None else ""
        raise InputError(where + _first_problem(error)) from error


def dump_config(config: RunConfig, versions: Mapping[str, str]) -> str:
    """Write a resolved configuration, all defaults written out, with the versions it ran with, as TOML."""
    # What stands in place of the one target is not given beside it.
    left_out = {"target"} if isinstance(config.ladder, TargetLadder) else None
    tree = config.model_dump(mode="json", exclude_none=True, exclude=left_out)
    return tomli_w.dumps({**tree, "versions": dict(versions)})


def _parse(tree: dict[str, Any]) -> None:
    """Read what is written as on the command line: ``budget = "macs=250k"``."""
    if isinstance(budget := tree.get("budget"), str):
        tree["budget"] = Budget.parse(budget).limits
    if isinstance(ladder := tree.get("ladder"), str):
        tree["ladder"] = parse_ladder(ladder).model_dump()
    if isinstance(goal := tree.get("goal"), str):
        tree["goal"] = Goal.parse(goal).model_dump()


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"{dotted}: {section} is not a section: see config.toml of a run for the keys")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{dotted}: {value!r} is no valid text: rename it") from error
    tree[key] = value


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_regular(file).decode())
    except OSError as error:
        raise InputError(f"configuration {file}: cannot read it: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {file}: not valid TOML: {error}") from error


def _first_problem(error: ValidationError) -> str:
    """Pydantic's report in one line: the key, what is wrong, what was given."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"] if part not in _LADDERS)
    if not key:  # of the whole: its message says which
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"configuration: unknown key '{key}': see config.toml of a run for the keys"
    given = "" if isinstance(problem["input"], dict) else f" (given: {problem['input']!r})"
    message = problem["msg"].removeprefix("Value error, ")
    return f"configuration: {key}: {message[0].lower()}{message[1:]}{given}"
