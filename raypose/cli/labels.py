"""`raypose suggest` and `evaluate`: labels beside the predictions of a run."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import typer

from raypose.cli.base import app, command, console
from raypose.cli.options import check_exists, checked_option
from raypose.config.types import AtLeastZero, Count
from raypose.errors import UsageError
from raypose.text import json_text

Format = Literal["lp", "dlc"]
_FORMAT = "Project of Lightning Pose (lp) or DeepLabCut (dlc)."
_WORST = "Number of worst frames to list."
_RunOutput = typer.Argument(
    metavar="DIR",
    help="Output directory (-o) of a run; without -o, the model directory.",
)


@app.command("suggest", epilog="raypose suggest out -n 100 -o to-label")
@command
def suggest(
    directory: Annotated[str, _RunOutput],
    output: Annotated[
        str,
        typer.Option(
            "--output-dir",
            "-o",
            metavar="DIR",
            help="Directory of the labelling project. If it exists, its files are not changed, "
            "and frames near those that it lists already are left out.",
        ),
    ],
    n: Annotated[int, checked_option(Count, "--frames", "-n", help="Number of frames.")] = 50,
    format: Annotated[Any, checked_option(Format, "--format", help=_FORMAT)] = "lp",
) -> int:
    """Choose the frames of a finished run whose labels would help most, and write them as a
    labelling project with predictions as first guesses."""
    from raypose.labels.suggest import suggest
    from raypose.report.labels import print_written

    print_written(console(), suggest(directory, n, output, format))
    return 0


@app.command("evaluate", epilog="raypose evaluate data/CollectedData.csv out")
@command
def evaluate(
    labels: Annotated[
        str,
        typer.Argument(
            metavar="LABELS",
            help="CSV file of labels, such as Lightning Pose's CollectedData.csv.",
        ),
    ],
    directory: Annotated[str, _RunOutput],
    n_worst: Annotated[int, checked_option(AtLeastZero, "--worst", help=_WORST)] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    csv: Annotated[
        str | None,
        typer.Option(
            "--csv", metavar="FILE", help="Write the error of every keypoint to this file."
        ),
    ] = None,
) -> int:
    """Compute pixel errors of each model and of the smoothed ensemble on labelled frames."""
    from raypose.labels.evaluate import evaluate
    from raypose.report.labels import print_evaluation, write_errors
    from raypose.storage import as_path

    errors_file = None if csv is None else as_path(csv)
    if errors_file is not None and _is_same_file(str(errors_file), labels):
        hint = "Give --csv another name."
        raise UsageError("--csv names the file of labels", path=errors_file, hint=hint)
    check_exists(labels)
    found = evaluate(labels, directory)
    if errors_file is not None:
        write_errors(errors_file, found)
    if json:
        typer.echo(json_text(found.as_dict(n_worst), indent=1))
    else:
        print_evaluation(console(), found, n_worst)
    return 0


def _is_same_file(one: str, other: str) -> bool:
    """Whether two paths lead to one existing file, also through a link."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
