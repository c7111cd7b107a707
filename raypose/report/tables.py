"""The tables of `raypose plan` and of the end of a run."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Column, Table

from raypose import storage
from raypose.report.terminal import duration, print_problems
from raypose.steps import STEPS, Smooth
from raypose.storage import as_path
from raypose.text import markup
from raypose.video.frames import WORDS

if TYPE_CHECKING:
    from raypose.planning import OutputPlan, Plan, VideoPlan
    from raypose.results import RunResult

_MOST_ROWS = 40
# When it is worth telling that GPUs waited: in a run that took this long, for this share of it.
_LONG_S, _MUCH = 60.0, 0.3


def print_plan(console: Console, plan: Plan) -> None:
    """What would run, what is finished, which problems there are, and the disk space it takes."""
    numbers = [Column(name, justify="right") for name in ("frames", "length")]
    rest = ("size", "format", "model", "to do", "done")
    table = Table("video", *numbers, *rest, box=box.SIMPLE_HEAD)
    videos = [video for recording in plan.recordings for video in recording.videos]
    for video in videos[:_MOST_ROWS]:
        _add_video(table, video)
    console.print(table)
    if len(videos) > _MOST_ROWS:
        console.print(f"… and {len(videos) - _MOST_ROWS} more videos")
    _print_recordings(console, plan)
    print_problems(console, plan.problems)
    _print_totals(console, plan)


def _print_recordings(console: Console, plan: Plan) -> None:
    """Which videos belong together, where recordings have several views."""
    several = [recording for recording in plan.recordings if len(recording.videos) > 1]
    for recording in several[:_MOST_ROWS]:
        views = ", ".join(video.video.view for video in recording.videos)
        smooth = recording.smooth.step if recording.smooth else None
        calibration = smooth.calibration if isinstance(smooth, Smooth) else ""
        calibrated = f"; calibration {calibration}" if calibration else ""
        console.print(f"Recording {markup(recording.key)}: views {markup(views + calibrated)}")
    if len(several) > _MOST_ROWS:
        console.print(f"… and {len(several) - _MOST_ROWS} more recordings")


def _add_video(table: Table, plan: VideoPlan) -> None:
    video = plan.video
    first = (
        markup(video.key),
        f"{video.n_frames:,}" if video.n_frames else "",
        duration(video.duration_s) if video.n_frames else "",
        f"{video.width}×{video.height}" if video.n_frames else "",
        markup(video.format),
    )
    for i, output in enumerate(plan.outputs):
        cells = first if i == 0 else ("",) * len(first)
        table.add_row(*cells, markup(output.owner.name), *_standing(output))


def _standing(output: OutputPlan) -> tuple[str, str]:
    to_do = []
    for planned in output.missing:
        why = "" if planned.reason in ("missing", "--overwrite") else f" ({planned.reason})"
        to_do.append(f"{planned.step.title}{markup(why)}")
    done = [planned.step.title for planned in output.steps if planned.done]
    return ", ".join(to_do) or "–", ", ".join(done) or "–"


def _print_totals(console: Console, plan: Plan) -> None:
    if plan.done:
        finished = f"Everything is finished already ({_count(plan.n_videos, 'video')})."
        console.print(finished if plan.n_videos else "Nothing can be done.")
        return
    frames = plan.frames_to_predict
    steps = Counter(step.title for step in plan.missing)
    parts = ", ".join(f"{n} × {title}" for title, n in steps.items())
    console.print(f"To do for {plan.n_pending_videos} of {plan.n_videos} videos: {parts}.")
    if frames:
        console.print(f"{frames:,} frames to predict, counted once a model.")
    if plan.estimate is not None:
        what = "The predictions take" if plan.estimate.predictions_alone else "That takes"
        about = duration(plan.estimate.seconds)
        console.print(f"{what} about {about} (an estimate, from {plan.estimate.source}).")
    if plan.labeled_bytes:
        folder = as_path(plan.pending[0].outputs[0].path).parent
        free = storage.store_of(folder).free_bytes(folder)  # None of an object store
        room = "" if free is None else f"; {_size(free)} are free"
        size = _size(plan.labeled_bytes)
        console.print(f"Labelled videos and snippets may take about {size}{room}.")
        if free is not None and plan.labeled_bytes > free:
            console.print(
                "[red]error[/] that is more than is free: free some space, or choose -o."
            )


def print_result(console: Console, result: RunResult) -> None:
    """The files made and their folders; the failures and their reasons."""
    if any(result.made.values()):
        console.print(_made_table(result))
    if result.damaged:
        console.print(_damaged_table(result))
    if result.failures:
        names = ("what", "step", "why, and what to do")
        columns = [Column(name, overflow="fold") for name in names]
        table = Table(*columns, box=box.SIMPLE_HEAD, title="failed", title_justify="left")
        for failure in result.failures:
            table.add_row(markup(failure.subject), markup(failure.step), markup(str(failure)))
        console.print(table)
        if result.skipped:
            steps = _count(result.skipped, "later step")
            console.print(f"Because of these, {steps} could not run.")
    if result.nothing_to_do:
        if n := result.plan.n_videos:
            of = _count(n, "video")
            console.print(f"Nothing to do: all outputs of {of} exist and are verified.")
        return
    print_problems(console, [p for p in result.plan.problems if p.lasting])
    n_made = sum(len(paths) for paths in result.made.values())
    speed = f", {result.n_frames:,} frames predicted" if result.n_frames else ""
    console.print(
        f"{_count(n_made, 'file')} in {duration(result.seconds)}{speed}. "
        f"Log: {markup(str(result.run_dir))}"
    )
    if result.report is not None:
        console.print(f"Which videos need a look: {markup(str(result.report))}")
    if result.gpu_s > _LONG_S and result.gpu_waited_s > _MUCH * result.gpu_s:
        console.print(
            f"[yellow]note[/] networks on GPUs waited for frames {result.gpu_waited_s:.0f} of "
            f"{result.gpu_s:.0f} s: decoding is what limits them. --decoder nvdec decodes on the "
            "GPU; with --workers-per-gpu 2 two workers share it."
        )


def _made_table(result: RunResult) -> Table:
    files, where = Column("files", justify="right"), Column("where", overflow="fold")
    table = Table("made", files, where, box=box.SIMPLE_HEAD)
    folders: Counter[tuple[str, str]] = Counter()
    for name, paths in result.made.items():
        folders.update((name, os.path.dirname(path)) for path in paths)
    for (name, folder), n in folders.items():
        table.add_row(STEPS[name].title, str(n), markup(folder))
    return table


def _damaged_table(result: RunResult) -> Table:
    """Frames of each status, of the videos that have damaged ones."""
    columns = [Column("video", overflow="fold"), *(Column(w, justify="right") for w in WORDS)]
    table = Table(*columns, box=box.SIMPLE_HEAD, title="damaged", title_justify="left")
    for path, counts in result.damaged.items():
        table.add_row(markup(path), *(f"{counts.get(word, 0):,}" for word in WORDS))
    return table


def _count(n: int, thing: str) -> str:
    return f"1 {thing}" if n == 1 else f"{n:,} {thing}s"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
