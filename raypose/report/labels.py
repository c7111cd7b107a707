"""What `raypose suggest` and `raypose evaluate` print."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from raypose.storage import AnyPath, write_text
from raypose.text import markup

if TYPE_CHECKING:
    from raypose.labels.evaluate import Evaluation
    from raypose.labels.project import Written

_MOST_ROWS = 40
_HEADINGS = {"n": "keypoints", "mean": "mean", "max": "max"}


def print_written(console: Console, written: Written) -> None:
    """Which frames were chosen, by video; where they are, and what to do with them."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("video", "frames", "worst score", "mostly because of"):
        table.add_column(name, justify="right" if name in ("frames", "worst score") else "left")
    videos = [list(group) for _, group in groupby(written.frames, key=lambda frame: frame.video)]
    for frames in videos[:_MOST_ROWS]:
        reasons = Counter(frame.reason.replace("_", " ") for frame in frames)
        score = max(frame.score for frame in frames)
        cells = (str(len(frames)), f"{score:.2f}", reasons.most_common(1)[0][0])
        table.add_row(markup(frames[0].video), *cells)
    console.print(table)
    if len(videos) > _MOST_ROWS:
        console.print(f"… and {len(videos) - _MOST_ROWS} more videos")
    _print_notes(console, written.notes)
    labels = ", ".join(_short(path) for path in written.labels[:3])
    more = f" and {len(written.labels) - 3} more" if len(written.labels) > 3 else ""
    n = len(written.frames)
    where = f"{n} {'frame is' if n == 1 else 'frames are'} in {_short(written.directory)}"
    console.print(
        markup(f"{where}; first guesses of their labels, to be corrected: {labels}{more}")
    )


def print_evaluation(console: Console, evaluation: Evaluation, n_worst: int) -> None:
    """Errors of each model and of the ensemble; the frames with the highest errors."""
    summary = evaluation.as_dict(n_worst)
    table = Table(box=box.SIMPLE_HEAD, title="error in pixels", title_justify="left")
    table.add_column("predictions")
    columns = [name for name in next(iter(summary["errors"].values())) if name != "keypoints"]
    for name in columns:
        table.add_column(_HEADINGS.get(name, f"{name[1:]} %"), justify="right")
    for owner, errors in summary["errors"].items():
        cells = [str(errors["n"]), *(_pixels(errors[name]) for name in columns[1:])]
        table.add_row(markup(owner), *cells)
    console.print(table)
    worst = Table(
        box=box.SIMPLE_HEAD, title="frames with the highest errors", title_justify="left"
    )
    worst.add_column("image")
    for owner in summary["errors"]:
        worst.add_column(markup(owner), justify="right")
    worst.add_column("worst keypoint")
    for frame in summary["worst"]:
        cells = [_pixels(error) for error in frame["errors"].values()]
        worst.add_row(markup(frame["image"]), *cells, markup(frame["keypoint"]))
    if summary["worst"]:
        console.print(worst)
    _print_notes(console, evaluation.notes)
    n, n_labelled = len(evaluation.images), evaluation.n_labelled
    console.print(f"{n} of {n_labelled} labelled frames were compared.")


def write_errors(path: AnyPath, evaluation: Evaluation) -> None:
    """All errors as a CSV: a row for each owner and image, a column for each keypoint.

    Raises:
        OSError, StorageError: it can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "predictions", *evaluation.keypoint_names])
    for owner, errors in evaluation.errors.items():
        for image, values in zip(evaluation.images, errors.tolist(), strict=True):
            numbers = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
            writer.writerow([image, owner, *numbers])
    write_text(path, text.getvalue())


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"[yellow]note[/] {markup(note)}")


def _pixels(error: float | None) -> str:
    return "–" if error is None else f"{error:.2f}"


def _short(path: Path) -> str:
    """The path relative to the current directory where it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
