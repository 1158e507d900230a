"""``edgegrow profiles``: what has been measured, listed and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegrow.commands.shared import JsonOption, print_json
from edgegrow.output import emit_table

app = typer.Typer(help="Profiles that have been stored.", no_args_is_help=True)


@app.command("list")
def list_all(
    folder: Annotated[Path, typer.Argument(help="Where to look, with all folders below.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """List the profiles below a folder."""
    from edgegrow.errors import InputError
    from edgegrow.gate import find_profiles, read_profile
    from edgegrow.measure.protocol import Profile
    from edgegrow.report.profiles import profiles_json, profiles_table

    found: dict[Path, Profile | str] = {}
    for path in find_profiles(folder):
        try:
            found[path] = read_profile(path)
        except InputError as error:  # the others are no worse for it
            found[path] = str(error)
    if as_json:
        print_json(profiles_json(found))
    else:
        emit_table(profiles_table(found, folder))


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A profile's file, or a run folder.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also every operator.")] = False,
) -> None:
    """Show how two profiles differ; what is not of the same identity is shown, not compared."""
    from edgegrow.gate import read_profile
    from edgegrow.measure.regression import compare
    from edgegrow.report.comparison import comparison_json, comparison_table

    comparison = compare(read_profile(first), read_profile(second))
    if as_json:
        print_json(comparison_json(comparison))
    else:
        emit_table(comparison_table(comparison, all_rows=verbose))
