"""``edgegrow gate``: whether a change made an artifact worse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegrow.commands.shared import JsonOption, print_json
from edgegrow.output import emit, emit_table


def gate(
    baseline: Annotated[Path, typer.Argument(help="The profile to keep up with: a file, or a run folder.")],
    candidate: Annotated[Path, typer.Argument(help="The profile to judge: a file, or a run folder.")],
    max_regression: Annotated[
        str | None,
        typer.Option(
            help="How much worse figures may get: latency=1%,accuracy=0.5%,load=off. By default counts and "
            "sizes 0.1 %, accuracies by chance; what a clock gave informs."
        ),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Make an accepted candidate the new baseline; also the first.")
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Also write the comparison as Markdown.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write it as JUnit XML.")] = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the exit code.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also every operator.")] = False,
) -> None:
    """Compare a profile with a baseline: exit 1 where it got worse, 2 where they cannot be compared."""
    from edgegrow import gate as gates
    from edgegrow.files import check_writable, write_atomic
    from edgegrow.measure.limits import Limits
    from edgegrow.report.comparison import comparison_json, comparison_table
    from edgegrow.report.junit import comparison_junit
    from edgegrow.report.markdown import comparison_markdown

    gates.check_distinct(
        {"--markdown": markdown, "--junit": junit}, {"baseline": baseline, "candidate": candidate}
    )
    check_writable(markdown, junit, baseline if update else None)
    limits = Limits.parse(max_regression) if max_regression is not None else Limits()
    known = gates.read_baseline(baseline, update)
    judged = gates.read_profile(candidate)
    comparison = gates.gate(known, judged, limits)
    if markdown is not None:
        write_atomic(markdown, comparison_markdown(comparison))
    if junit is not None:
        write_atomic(junit, comparison_junit(comparison))
    if as_json:
        print_json(comparison_json(comparison))
    elif not quiet:
        emit_table(comparison_table(comparison, all_rows=verbose))
    gates.check(comparison)
    if update:
        judged.write(baseline)
        if not (as_json or quiet):
            emit(f"the baseline is now the candidate: {baseline}\n")
