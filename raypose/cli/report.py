"""`raypose report`: the report of a finished run, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raypose.cli.base import app, command, console
from raypose.text import markup

_DIRECTORY = "The outputs of a run (-o), or its run directory."
_OUTPUT = "HTML file to write; the summary goes beside it."


@app.command("report")
@command
def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help=_DIRECTORY)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=_OUTPUT + " [dim]\\[report.html in the run directory][/]",
        ),
    ] = None,
) -> int:
    """Write the report of a run: which videos and moments need a look, as one HTML file."""
    from raypose.report.html import write_report

    page, summary = write_report(directory, output)
    console().print(f"Report: {markup(str(page))}\nTable:  {markup(str(summary))}")
    return 0
