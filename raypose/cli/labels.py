"""`raypose suggest` and `evaluate`: labels beside the predictions of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from raypose.cli.base import app, command, console
from raypose.text import json_text

_RunOutput = typer.Argument(
    metavar="DIR",
    help="The -o of a run; a model directory, if it was run without.",
)


@app.command("suggest")
@command
def suggest(
    directory: Annotated[str, _RunOutput],
    output: Annotated[
        str,
        typer.Option(
            "--output-dir",
            "-o",
            metavar="PATH",
            help="Directory of the labelling project. It may exist; no file in it is changed, and "
            "frames that are labelled in it are left out.",
        ),
    ],
    n: Annotated[int, typer.Option("--frames", "-n", min=1, help="How many frames.")] = 50,
    format: Annotated[
        Literal["lp", "dlc"],
        typer.Option("--format", help="Project of Lightning Pose or of DeepLabCut."),
    ] = "lp",
) -> int:
    """Choose the frames of a finished run whose labels would help most, and write them as a
    labelling project with the predictions as first guesses."""
    from raypose.labels.suggest import suggest
    from raypose.report.labels import print_written

    print_written(console(), suggest(directory, n, output, format))
    return 0


@app.command("evaluate")
@command
def evaluate(
    labels: Annotated[
        str,
        typer.Argument(metavar="LABELS", help="CSV of labels, as Lightning Pose's CollectedData."),
    ],
    directory: Annotated[str, _RunOutput],
    n_worst: Annotated[
        int, typer.Option("--worst", min=0, help="How many of the worst frames to list.")
    ] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="PATH", help="Write the error of every keypoint here."),
    ] = None,
) -> int:
    """Pixel errors of each model and of the smoothed ensemble on labelled frames."""
    from raypose.labels.evaluate import evaluate
    from raypose.report.labels import print_evaluation, write_errors

    found = evaluate(labels, directory)
    if csv is not None:
        write_errors(csv, found)
    if json:
        typer.echo(json_text(found.as_dict(n_worst), indent=1))
    else:
        print_evaluation(console(), found, n_worst)
    return 0
