"""`raypose report`: the report of a finished run, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raypose.cli.base import app, command, console
from raypose.text import markup

_DIRECTORY = "Output directory (-o) of a run, or its run directory."
_OUTPUT = "HTML file to write; the summary goes beside it, as .csv."


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
    """Rewrite the report of a run: one HTML file with the videos and moments that need a look."""
    from raypose.report.html import write_report

    page, summary = write_report(directory, output)
    console().print(f"Report: {markup(str(page))}\nTable:  {markup(str(summary))}")
    return 0
