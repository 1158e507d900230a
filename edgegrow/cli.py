"""The command line: reads options, calls the API, prints what comes back.

Results go to stdout, everything else to stderr.
Exit codes: 0 fine, 1 budget or gate not met, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from edgegrow.commands import profiles, targets
from edgegrow.commands.gate import gate
from edgegrow.commands.shared import (
    JsonOption,
    QuietOption,
    TargetOption,
    VerboseOption,
    listening_to_progress,
    print_json,
)
from edgegrow.errors import EdgegrowError, InputError
from edgegrow.interrupts import INTERRUPTED, Interrupted, one_line
from edgegrow.output import emit, emit_table

if TYPE_CHECKING:
    from edgegrow.api import Family, Run

app = typer.Typer(
    name="edgegrow",
    help="Grow tiny neural networks by splitting neurons, under a budget of the device that runs them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(targets.app, name="targets")
app.add_typer(profiles.app, name="profiles")
app.command()(gate)


@app.command()
def grow(
    config: Annotated[Path | None, typer.Argument(help="A TOML file with any of the settings.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, fashion-mnist, mnist1d, a folder of class folders, a .npz file or module:function."
        ),
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Where a built-in data set lies.")] = None,
    net: Annotated[
        str | None, typer.Option(help="mlp, conv1d, dscnn, mobilenet, resnet8 or module:function.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A target's name, or a file of one.")] = None,
    via: Annotated[
        str | None,
        typer.Option(
            help="Of a Linux board or phone: local, ssh://USER@HOST, adb:SERIAL, container, emulator."
        ),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Limits: macs=250k,params=8k,flash=32kB.")] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            help="A network for each of several budgets: latency=5ms,10ms,20ms, or of several targets: "
            "target=nrf5340dk,nucleo-l4r5zi."
        ),
    ] = None,
    goal: Annotated[
        str | None, typer.Option(help="The smallest network that reaches it within the budget: accuracy=90%.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random.")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="All training, in epochs of the final network.")
    ] = None,
    moves: Annotated[
        str | None,
        typer.Option(
            help="Kinds of moves, with commas: split, signed, new, gradmax, firefly, deepen, weigh, trim, "
            "widen."
        ),
    ] = None,
    qat: Annotated[int | None, typer.Option(help="Quantization-aware epochs at the end, on top.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue an interrupted run folder.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, e.g. train.lr=0.05.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Grow a network under a budget; write, measure and report its artifacts."""
    from edgegrow.budget import Budget, Goal, parse_ladder
    from edgegrow.config import resolve_config

    values = {
        "data.name": data,
        "data.dir": data_dir,
        "net.name": net,
        "target": target,
        "via": via,
        "budget": Budget.parse(budget).limits if budget is not None else None,
        "ladder": parse_ladder(ladder).model_dump() if ladder is not None else None,
        "goal": Goal.parse(goal).model_dump() if goal is not None else None,
        "seed": seed,
        "train.epochs": epochs,
        "grow.moves": [kind.strip() for kind in moves.split(",")] if moves is not None else None,
        "quantize.qat_epochs": qat,
    }
    if resume is not None:
        given = [key for key, value in values.items() if value is not None]
        if given or config is not None or setting or out is not None:
            raise InputError("--resume: it takes everything from the run folder: leave the other options out")
    else:
        resolved = resolve_config(config, values, setting or ())
    from edgegrow import api
    from edgegrow.measure.device import DeviceError

    folder = resume or out or api.new_folder(resolved)
    several = api.is_ladder(resume) if resume else resolved.ladder is not None
    run: Run | Family

    def note() -> str:
        kept = (folder / "config.toml").exists()
        return f": finished epochs are kept: go on with edgegrow grow --resume {folder}" if kept else ""

    with one_line(lambda: f"interrupted{note()}"), listening_to_progress(quiet, verbose) as listener:
        try:
            if resume:
                run = (api.resume_ladder if several else api.resume)(folder, listener)
            else:
                run = (api.grow_ladder if several else api.grow)(resolved, folder, listener)
        except DeviceError as error:
            raise DeviceError(f"{error}{note()}") from error
    _show(run, as_json)
    run.check()


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    formats: Annotated[
        str | None,
        typer.Option("--format", help="tflite, onnx, c; several with commas. By default what the run wrote."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to; by default the run folder.")] = None,
    kernels: Annotated[
        str, typer.Option(help="Of the C package: edgegrow, cmsis-nn, or cmsis-nn:FOLDER with its sources.")
    ] = "edgegrow",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a run's artifacts again, from its newest checkpoint."""
    from edgegrow import api
    from edgegrow.delivery import parse_formats
    from edgegrow.files import size_bytes

    with listening_to_progress(quiet, verbose) as listener:
        chosen = parse_formats(formats) if formats is not None else None
        delivery = api.export(run, chosen, out, listener, kernels)
    sizes = {str(path): size_bytes(path) for path in delivery.files.values()}
    if as_json:
        print_json({"files": sizes})
    else:
        for path, size in sizes.items():
            emit(f"{path}  {size:,} B\n")


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(help="A .tflite or .onnx file, or the folder of a C package.")],
    target: TargetOption = "host",
    via: Annotated[
        str | None,
        typer.Option(help="local, ssh://USER@HOST, adb:SERIAL, container, emulator, serial:PORT, vela."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads the runtime may use.", max=256)] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Timed inferences, at least.", max=10_000_000)
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Timed seconds, at least.", max=600)] = None,
    compiler: Annotated[str | None, typer.Option(help="zig or gcc, for a microcontroller.")] = None,
    emulator: Annotated[str | None, typer.Option(help="unicorn or qemu, for a microcontroller.")] = None,
    meter: Annotated[
        str | None, typer.Option(help="constant, hwmon[:PATH], rapl, ppk2:PORT, joulescope[:ID] or android.")
    ] = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="Count each operator too, on an emulated ARM Linux.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--out", help="Also write the profile here.")] = None,
    other: Annotated[
        Path | None, typer.Option("--compare", help="A profile, or a run folder, to show the difference to.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show every operator, or kind of instructions.")
    ] = False,
) -> None:
    """Measure an artifact on a target."""
    from edgegrow.files import check_writable
    from edgegrow.gate import read_profile
    from edgegrow.measure.regression import compare
    from edgegrow.measure.serial import SerialInterrupted
    from edgegrow.measuring import Options, measure_artifact
    from edgegrow.report.comparison import comparison_table
    from edgegrow.report.terminal import profile_table

    check_writable(json_file)
    options = Options(threads, iterations, seconds, compiler, emulator, meter, operators or None)
    before = read_profile(other) if other is not None else None
    interrupted = None
    with listening_to_progress(quiet, verbose) as listener:
        try:
            profile = measure_artifact(model, target, via, options, listener)
        except SerialInterrupted as error:  # what was measured until then is not lost
            profile, interrupted = error.profile, error
    if as_json:
        print_json(profile.model_dump(mode="json", by_alias=True))
    else:
        emit_table(profile_table(profile, operators=verbose or operators))
    if json_file is not None:
        profile.write(json_file)
    if before is not None:
        emit_table(comparison_table(compare(before, profile), all_rows=verbose), to_stderr=as_json)
    if interrupted is not None:
        raise interrupted


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the budget.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Show what a run delivered, or all of a ladder's runs."""
    from edgegrow import api

    found = api.open_ladder(run) if api.is_ladder(run) else api.open_run(run)
    _show(found, as_json, quiet, verbose)


@app.command()
def doctor(
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is not in order.")] = False,
    repair: Annotated[
        str | None, typer.Option("--fix", help="Prepare it first: emulator, for Linux and Android targets.")
    ] = None,
) -> None:
    """Tell what is installed, what is missing, and how to get it."""
    from dataclasses import asdict

    from edgegrow.doctor import diagnose, fix
    from edgegrow.report.terminal import doctor_table

    if repair is not None:
        with listening_to_progress(quiet, verbose=False) as listener:
            fix(repair, listener)
    checks = [check for check in diagnose() if not quiet or check.status != "ok"]
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        emit_table(doctor_table(checks))


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        with one_line():
            code = app(standalone_mode=False)
            if code == INTERRUPTED:  # typer makes this of Ctrl-C
                raise KeyboardInterrupt
    except Interrupted as error:
        typer.echo(error, err=True)
        code = error.exit_code
    except EdgegrowError as error:
        typer.echo(f"error: {error}", err=True)
        code = error.exit_code
    except TyperException as error:
        if error.format_message():  # none where the help was shown for want of a command
            typer.echo(f"error: {error.format_message()}", err=True)
        code = 2
    sys.exit(code or 0)


def _show(run: Run | Family, as_json: bool, quiet: bool = False, verbose: bool = False) -> None:
    from edgegrow.family import Family

    if as_json:
        print_json(run.to_json())
    elif isinstance(run, Family):
        _show_family(run, quiet)
    else:
        _show_run(run, quiet, verbose)


def _show_family(family: Family, quiet: bool) -> None:
    from edgegrow.report.families import ladder_footer, ladder_table

    emit_table(ladder_table(family))
    if not quiet:
        emit(ladder_footer(family))


def _show_run(run: Run, quiet: bool = False, verbose: bool = False) -> None:
    from edgegrow.report.families import tries_table
    from edgegrow.report.gains import agreement
    from edgegrow.report.terminal import (
        artifacts_table,
        budget_table,
        device_table,
        epochs_table,
        growth_table,
        network_table,
    )

    if quiet:
        emit_table(budget_table(run.config.budget, run.delivered()))
        return
    if verbose:
        emit_table(epochs_table(list(run.folder.history("epoch"))))
    growth = list(run.folder.history("growth"))
    if growth:  # a rung has none of its own
        emit_table(growth_table(growth))
    if (search := run.search()) is not None:
        emit_table(tries_table(search, run.tries()))
    if (agreed := agreement(growth)) is not None:
        emit(f"{agreed}\n")
    emit_table(network_table(next(iter(run.profiles.values()))))
    if "c" in run.profiles:
        emit_table(device_table(run.profiles["c"]))
    else:
        emit_table(artifacts_table(run.profiles))
    emit_table(budget_table(run.config.budget, run.delivered()))
    training = run.training()
    emit(
        f"training: {training['epochs_of_final_network']:.1f} epochs of the final network "
        f"({training['macs_trained']:.3g} MACs, counted), growth and scoring included\n"
        f"everything about it: {run.folder.path}\n"
    )
