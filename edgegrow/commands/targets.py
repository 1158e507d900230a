"""``edgegrow targets``: the devices that a budget can be stated for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegrow.commands.shared import (
    JsonOption,
    QuietOption,
    VerboseOption,
    listening_to_progress,
    print_json,
)
from edgegrow.interrupts import one_line
from edgegrow.output import emit, emit_table

app = typer.Typer(help="The devices that a budget can be stated for.", no_args_is_help=True)


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """List the targets that edgegrow ships."""
    from edgegrow.report.terminal import targets_table
    from edgegrow.targets import list_targets

    found = list_targets()
    if as_json:
        print_json([target.model_dump(mode="json") for target in found])
    else:
        emit_table(targets_table(found))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A target's name, or a file of one.")],
    as_json: JsonOption = False,
) -> None:
    """Show a target, every number with its source."""
    from edgegrow.targets import load_target

    target = load_target(name).model_dump(mode="json", exclude_none=True)
    if as_json:
        print_json(target)
    else:
        import tomli_w

        emit(tomli_w.dumps(target))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A target's TOML file.")],
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the exit code.")] = False,
) -> None:
    """Check a target file: form, values, and a source for every number."""
    from edgegrow.targets import load_target

    target = load_target(str(file))
    if as_json:
        print_json({"file": str(file), "name": target.name, "sha256": target.reference.sha256})
    elif not quiet:
        emit(f"{file}: fine ({target.name})\n")


@app.command()
def calibrate(
    name: Annotated[str, typer.Argument(help="A target's name, or a file of one.")],
    net: Annotated[str, typer.Option(help="The network whose layers are priced.")] = "dscnn",
    data: Annotated[str, typer.Option(help="The data it is for: they decide its shapes.")] = "digits",
    data_dir: Annotated[str | None, typer.Option(help="Where a built-in data set lies.")] = None,
    via: Annotated[
        str | None, typer.Option(help="Of a Linux board or phone: ssh://USER@HOST, adb:SERIAL or local.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep it here instead of in the cache: see cost.latency_table.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure, or emulate, what the layers of a network take on a target over their widths."""
    from edgegrow.pricing import calibrate

    def said() -> str:
        return "interrupted: what has been measured is kept: give the command again to go on"

    with one_line(said), listening_to_progress(quiet, verbose) as listener:
        calibration, place = calibrate(name, net, data, data_dir, out, listener, via)
    if as_json:
        print_json({"file": str(place), **calibration.summary()})
    else:
        emit(f"{calibration.described()}\nkept in {place}\n")
