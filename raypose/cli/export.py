"""`raypose export`: the tables of a finished run in the formats of other tools."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypose.cli.base import app, command, complain, console
from raypose.cli.options import checked_option
from raypose.config.settings import FormatNames
from raypose.text import markup

if TYPE_CHECKING:
    from raypose.exporting import Exported

_FORMAT = "h5 is DeepLabCut's, slp SLEAP's. Several with commas between, as in nwb,slp."
_EXAMPLES = "raypose export out --format nwb\nraypose export out --format slp -o slp"
_MOST_LISTED = 20


@app.command("export", epilog=_EXAMPLES)
@command
def export(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="Output directory (-o) of a run; without -o, the model directory. Or one table.",
        ),
    ],
    formats: Annotated[list[Any], checked_option(FormatNames, "--format", help=_FORMAT)],
    output: Annotated[
        str | None,
        typer.Option(
            "--output-dir",
            "-o",
            metavar="DIR",
            help="Directory for the files. [dim]\\[default: beside each table][/]",
        ),
    ] = None,
    skeleton: Annotated[
        str | None,
        typer.Option(
            "--skeleton",
            metavar="FILE",
            help="YAML file with a list of pairs of keypoints named skeleton. "
            "[dim]\\[default: the run's][/]",
        ),
    ] = None,
) -> int:
    """Write the tables of a finished run as Parquet, NWB, SLEAP, DeepLabCut or COCO files too."""
    from raypose.exporting import export

    made = export(place, itertools.chain.from_iterable(formats), output, skeleton=skeleton)
    _print(made)
    return 1 if made.failures else 0


def _print(made: Exported) -> None:
    screen = console()
    for path in made.written[:_MOST_LISTED]:
        screen.print(markup(str(path)))
    if len(made.written) > _MOST_LISTED:
        screen.print(f"… and {len(made.written) - _MOST_LISTED} more files")
    for note in made.notes[:_MOST_LISTED]:
        screen.print(f"[yellow]note[/] {markup(note)}")
    if len(made.notes) > _MOST_LISTED:
        screen.print(f"… and {len(made.notes) - _MOST_LISTED} more notes")
    for failure in made.failures:
        complain("error", str(failure))
    counts = f"{len(made.written)} written, {len(made.up_to_date)} up to date"
    failed = f", {len(made.failures)} failed" if made.failures else ""
    screen.print(f"Files: {counts}{failed}.")
