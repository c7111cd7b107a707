"""The tables of `raypose plan` and of the end of a run."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from raypose import storage
from raypose.pipeline import RunResult
from raypose.planning import OwnerWork, Plan, VideoPlan
from raypose.report.terminal import duration, print_problems
from raypose.storage import as_path
from raypose.text import markup
from raypose.video.frames import WORDS

_WORDS = {
    "table": "predictions",
    "metrics": "metrics",
    "label": "labelled",
    "snippet": "snippet",
    "timestamps": "timestamps",
}
_MOST_ROWS = 40
# When it is worth telling that GPUs waited: in a run that took this long, for this share of it.
_LONG_S, _MUCH = 60.0, 0.3


def print_plan(console: Console, plan: Plan) -> None:
    """What would run, what is done already, what is wrong, and how much disk it may take."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("video", "frames", "length", "size", "format", "model", "to do", "done"):
        table.add_column(name, justify="right" if name in ("frames", "length") else "left")
    formats = {str(video.path): str(video.format) for video in plan.videos}
    videos = [video for session in plan.sessions for video in session.videos]
    for video in videos[:_MOST_ROWS]:
        _add_video(table, video, formats[video.video.path])
    console.print(table)
    if len(videos) > _MOST_ROWS:
        console.print(f"… and {len(videos) - _MOST_ROWS} more videos")
    _print_recordings(console, plan)
    print_problems(console, plan.problems)
    _print_totals(console, plan)


def _print_recordings(console: Console, plan: Plan) -> None:
    """Which videos belong together, where recordings have several views."""
    several = [session for session in plan.sessions if len(session.videos) > 1]
    for session in several[:_MOST_ROWS]:
        views = ", ".join(video.video.view for video in session.videos)
        calibrated = f"; calibration {session.calibration}" if session.calibration else ""
        console.print(f"Recording {markup(session.key)}: views {markup(views + calibrated)}")
    if len(several) > _MOST_ROWS:
        console.print(f"… and {len(several) - _MOST_ROWS} more recordings")


def _add_video(table: Table, plan: VideoPlan, coded: str) -> None:
    video = plan.video
    first = (
        markup(video.key),
        f"{video.n_frames:,}",
        duration(video.duration_s),
        f"{video.width}×{video.height}",
        markup(coded),
    )
    for i, work in enumerate(plan.works):
        cells = first if i == 0 else ("",) * len(first)
        table.add_row(*cells, markup(work.owner.name), *_standing(work))


def _standing(work: OwnerWork) -> tuple[str, str]:
    to_do = []
    for step in work.missing:
        why = "" if step.reason in ("missing", "--overwrite") else f" ({step.reason})"
        to_do.append(f"{_word(work, step.kind)}{markup(why)}")
    done = [_word(work, step.kind) for step in work.steps if step.done]
    return ", ".join(to_do) or "–", ", ".join(done) or "–"


def _word(work: OwnerWork, kind: str) -> str:
    return "smoothing" if kind == "table" and work.owner.name == "eks" else _WORDS[kind]


def _print_totals(console: Console, plan: Plan) -> None:
    if plan.done:
        n = plan.n_videos
        console.print(
            f"Everything is done already ({_videos(n)})." if n else "Nothing can be done."
        )
        return
    frames = plan.frames_to_predict
    steps: Counter[str] = Counter()
    for session in plan.pending:
        for work in session.works:
            steps.update(_word(work, step.kind) for step in work.missing)
    parts = ", ".join(f"{n} × {kind}" for kind, n in steps.items())
    n_pending = sum(len(session.videos) for session in plan.pending)
    console.print(f"To do for {n_pending} of {plan.n_videos} videos: {parts}.")
    if frames:
        console.print(f"{frames:,} frames to predict, counted once a model.")
    if plan.labeled_bytes:
        free = _free_bytes(plan)
        room = "" if free is None else f"; {_size(free)} are free"
        size = _size(plan.labeled_bytes)
        console.print(f"Labelled videos and snippets may take about {size}{room}.")
        if free is not None and plan.labeled_bytes > free:
            console.print("[red]error[/] that is more than there is: free space, or choose -o.")


def _free_bytes(plan: Plan) -> int | None:
    """Bytes free where the outputs go; None where that is a store."""
    folder = as_path(plan.pending[0].works[0].table.outputs["table"]).parent
    return storage.store_of(folder).free_bytes(folder)


def print_result(console: Console, result: RunResult[Any]) -> None:
    """What was made, where it is, what failed and why."""
    if any(result.made.values()):
        console.print(_made_table(result))
    if result.damaged:
        console.print(_damaged_table(result))
    if result.failures:
        table = Table(box=box.SIMPLE_HEAD, title="failed", title_justify="left")
        for name in ("what", "step", "why, and what to do"):
            table.add_column(name, overflow="fold")
        for failed in result.failures:
            failure = failed.failure
            table.add_row(markup(failed.subject), markup(failure.step), markup(str(failure)))
        console.print(table)
        if result.skipped:
            console.print(f"{result.skipped} later steps were left out because of these.")
    if result.nothing_to_do:
        n = result.plan.n_videos
        if n:
            console.print(f"Nothing to do: all outputs of {_videos(n)} are there and verified.")
        return
    print_problems(console, [p for p in result.plan.problems if p.lasting])
    n_made = sum(len(paths) for paths in result.made.values())
    speed = f", {result.n_frames:,} frames predicted" if result.n_frames else ""
    console.print(
        f"{n_made} files in {duration(result.seconds)}{speed}. Log: {markup(str(result.run_dir))}"
    )
    if result.gpu_s > _LONG_S and result.gpu_waited_s > _MUCH * result.gpu_s:
        console.print(
            f"[yellow]note[/] networks on GPUs waited for frames {result.gpu_waited_s:.0f} of "
            f"{result.gpu_s:.0f} s: decoding is what limits them. --decoder nvdec decodes on the "
            "GPU; with --workers-per-gpu 2 two workers share it."
        )


def _made_table(result: RunResult[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("made")
    table.add_column("files", justify="right")
    table.add_column("where", overflow="fold")
    folders: Counter[tuple[str, str]] = Counter()
    for kind, paths in result.made.items():
        folders.update((kind, os.path.dirname(path)) for path in paths)
    words = {**_WORDS, "smooth": "smoothing"}
    for (kind, folder), n in folders.items():
        table.add_row(words.get(kind, kind), str(n), markup(folder))
    return table


def _damaged_table(result: RunResult[Any]) -> Table:
    """Frames of each status, of the videos that have damaged ones."""
    table = Table(box=box.SIMPLE_HEAD, title="damaged", title_justify="left")
    table.add_column("video", overflow="fold")
    for word in WORDS:
        table.add_column(word, justify="right")
    for path, counts in result.damaged.items():
        table.add_row(markup(path), *(f"{counts.get(word, 0):,}" for word in WORDS))
    return table


def _videos(n: int) -> str:
    return "1 video" if n == 1 else f"{n} videos"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
