"""The command line: reads options, calls the API, prints what comes back.

Results go to stdout, everything else to stderr.
Exit codes: 0 fine, 1 budget or gate not met, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from edgegrow.errors import EdgegrowError, InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgegrow.api import Run
    from edgegrow.listener import Listener

_INTERRUPTED = 130

app = typer.Typer(
    name="edgegrow",
    help="Grow tiny neural networks by splitting neurons, under a budget of the device that runs them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
targets_app = typer.Typer(help="The devices that a budget can be stated for.", no_args_is_help=True)
app.add_typer(targets_app, name="targets")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Also show every epoch.")]
TargetOption = Annotated[str, typer.Option("--target", help="A target's name, or a file of one.")]


@app.command()
def grow(
    config: Annotated[Path | None, typer.Argument(help="A TOML file with any of the settings.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, fashion-mnist, a folder of class folders, a .npz file or module:function."
        ),
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Where a built-in data set lies.")] = None,
    net: Annotated[
        str | None, typer.Option(help="mlp, conv1d, dscnn, mobilenet, resnet8 or module:function.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A target's name, or a file of one.")] = None,
    budget: Annotated[str | None, typer.Option(help="Limits: macs=250k,params=8k,flash=32kB.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random.")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="All training, in epochs of the final network.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue an interrupted run folder.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, e.g. train.lr=0.05.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Grow a network under a budget; write, measure and report its artifacts."""
    from edgegrow.config import Budget, resolve_config

    values = {
        "data.name": data,
        "data.dir": data_dir,
        "net.name": net,
        "target": target,
        "budget": Budget.parse(budget).limits if budget is not None else None,
        "seed": seed,
        "train.epochs": epochs,
    }
    if resume is not None:
        given = [key for key, value in values.items() if value is not None]
        if given or config is not None or setting or out is not None:
            raise InputError("--resume: it takes everything from the run folder: leave the other options out")
    else:
        resolved = resolve_config(config, values, setting or ())
    from edgegrow import api

    with _listening(quiet, verbose) as listener:
        run = api.resume(resume, listener) if resume is not None else api.grow(resolved, out, listener)
    _show_run(run, as_json)
    run.check_budget()


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    formats: Annotated[str, typer.Option("--format", help="What to write.")] = "tflite,onnx",
    out: Annotated[Path | None, typer.Option(help="Where to; by default the run folder.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a run's artifacts again, from its newest checkpoint."""
    from edgegrow import api
    from edgegrow.delivery import parse_formats

    with _listening(quiet, verbose) as listener:
        delivery = api.export(run, parse_formats(formats), out, listener)
    sizes = {str(path): path.stat().st_size for path in delivery.files.values()}
    if as_json:
        _print_json({"files": sizes})
    else:
        for path, size in sizes.items():
            typer.echo(f"{path}  {size:,} B")


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(help="A .tflite or .onnx file.")],
    target: TargetOption = "host",
    threads: Annotated[int, typer.Option(help="Threads the runtime may use.")] = 1,
    iterations: Annotated[int, typer.Option(help="Timed inferences, at least.")] = 50,
    seconds: Annotated[float, typer.Option(help="Timed seconds, at least.")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--out", help="Also write the profile here.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure an artifact on a target."""
    from edgegrow import api
    from edgegrow.report.terminal import profile_table

    with _listening(quiet, verbose) as listener:
        profile = api.measure(model, target, threads, iterations, seconds, listener)
    if json_file is not None:
        profile.write(json_file)
    if as_json:
        _print_json(profile.model_dump(mode="json", by_alias=True))
    else:
        _print(profile_table(profile))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the budget.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Show what a run delivered."""
    from edgegrow import api

    _show_run(api.open_run(run), as_json, quiet, verbose)


@app.command()
def doctor(
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is not in order.")] = False,
) -> None:
    """Tell what is installed, what is missing, and how to get it."""
    from dataclasses import asdict

    from edgegrow.doctor import diagnose
    from edgegrow.report.terminal import doctor_table

    checks = [check for check in diagnose() if not quiet or check.status != "ok"]
    if as_json:
        _print_json([asdict(check) for check in checks])
    else:
        _print(doctor_table(checks))


@targets_app.command("list")
def targets_list(as_json: JsonOption = False) -> None:
    """List the targets that edgegrow ships."""
    from edgegrow.report.terminal import targets_table
    from edgegrow.targets import list_targets

    found = list_targets()
    if as_json:
        _print_json([target.model_dump(mode="json") for target in found])
    else:
        _print(targets_table(found))


@targets_app.command("show")
def targets_show(
    name: Annotated[str, typer.Argument(help="A target's name, or a file of one.")],
    as_json: JsonOption = False,
) -> None:
    """Show a target, every number with its source."""
    from edgegrow.targets import load_target

    target = load_target(name).model_dump(mode="json", exclude_none=True)
    if as_json:
        _print_json(target)
    else:
        import tomli_w

        typer.echo(tomli_w.dumps(target), nl=False)


@targets_app.command("check")
def targets_check(
    file: Annotated[Path, typer.Argument(help="A target's TOML file.")],
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the exit code.")] = False,
) -> None:
    """Check a target file: form, values, and a source for every number."""
    from edgegrow.targets import load_target

    target = load_target(str(file))
    if as_json:
        _print_json({"file": str(file), "name": target.name, "sha256": target.reference.sha256})
    elif not quiet:
        typer.echo(f"{file}: fine ({target.name})")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        code = app(standalone_mode=False)
    except EdgegrowError as error:
        typer.echo(f"error: {error}", err=True)
        code = error.exit_code
    except TyperException as error:
        typer.echo(f"error: {error.format_message()}", err=True)
        code = 2
    if code == _INTERRUPTED:  # typer's own answer to Ctrl-C
        typer.echo("interrupted: finished epochs are kept: go on with edgegrow grow --resume RUN", err=True)
    sys.exit(code or 0)


def _listening(quiet: bool, verbose: bool) -> AbstractContextManager[Listener]:
    from edgegrow.report.progress import listening

    return listening(quiet, verbose)


def _show_run(run: Run, as_json: bool, quiet: bool = False, verbose: bool = False) -> None:
    from edgegrow.report.terminal import (
        artifacts_table,
        budget_table,
        epochs_table,
        growth_table,
        network_table,
    )

    if as_json:
        _print_json(run.to_json())
        return
    if quiet:
        _print(budget_table(run.config.budget, run.delivered()))
        return
    if verbose:
        _print(epochs_table(list(run.folder.history("epoch"))))
    _print(growth_table(list(run.folder.history("growth"))))
    _print(network_table(next(iter(run.profiles.values()))))
    _print(artifacts_table(run.profiles))
    _print(budget_table(run.config.budget, run.delivered()))
    training = run.training()
    typer.echo(
        f"training: {training['epochs_of_final_network']:.1f} epochs of the final network "
        f"({training['macs_trained']:.3g} MACs), growth and scoring included"
    )
    typer.echo(f"everything about it: {run.folder.path}")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def _print(renderable: RenderableType) -> None:
    from rich.console import Console

    console = Console()
    # A pipe has no width of its own: what would be folded at 80 columns is worth more whole.
    Console(width=None if console.is_terminal else 120).print(renderable)
