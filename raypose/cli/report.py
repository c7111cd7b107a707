"""`raypose report`: the report of a finished run, written again."""

from __future__ import annotations

from typing import Annotated

import typer

from raypose.cli.base import app, command, console, directory_of_run
from raypose.errors import UsageError
from raypose.text import markup

_DIRECTORY = "Output directory (-o) of a run, or its run directory."
_OUTPUT = "HTML file to write; the summary goes beside it, as .csv."


@app.command("report", epilog="raypose report out\nraypose report out -o week12.html")
@command
def report(
    directory: Annotated[str, typer.Argument(metavar="DIR", help=_DIRECTORY)],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=_OUTPUT + " [dim]\\[default: report.html in the run directory][/]",
        ),
    ] = None,
) -> int:
    """Rewrite the report of a run: one HTML file with the videos and moments that need a look."""
    from raypose.report.html import write_report
    from raypose.storage import local_path

    file = None if output is None else local_path(output)
    if output is not None and file is None:
        hint = "Give -o a file on this machine."
        raise UsageError("a report can't be written to a store", path=output, hint=hint)
    page, summary = write_report(directory_of_run(directory), file)
    console().print(f"Report: {markup(str(page))}\nTable:  {markup(str(summary))}")
    return 0
