"""The tables of `raypose plan` and of the end of a run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Column, Table

from raypose import storage
from raypose.report.folding import Folded
from raypose.report.names import ShortNames
from raypose.report.terminal import duration, left_out, print_problems, sentence, without_some
from raypose.steps import STEPS, Smooth
from raypose.storage import as_path
from raypose.text import data_size, markup, shown
from raypose.video.frames import WORDS, describe

if TYPE_CHECKING:
    from raypose.planning import OutputPlan, Plan, VideoPlan
    from raypose.results import RunResult

_MOST_ROWS = 40
_WIDE = 110  # columns; a narrower terminal shows less about each video
_MOST_NAMED = 3
_MOST_FAILED = 20
_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# When it is worth telling that GPUs waited: in a run that took this long, for this share of it.
_LONG_S, _MUCH = 60.0, 0.3


def print_plan(console: Console, plan: Plan) -> None:
    """What would run, what is finished, which problems there are, and the disk space it takes."""
    names = ShortNames.of(plan)
    numbers = [Column(name, justify="right") for name in ("frames", "length")]
    about = ("size", "format") if console.width >= _WIDE else ()
    table = Table("video", *numbers, *about, "model", "to do", "done", box=box.SIMPLE_HEAD)
    videos = [video for recording in plan.recordings for video in recording.videos]
    for video in videos[:_MOST_ROWS]:
        _add_video(table, video, names, 3 + len(about))
    console.print(table)
    if len(videos) > _MOST_ROWS:
        console.print(f"… and {len(videos) - _MOST_ROWS} more videos")
    _print_recordings(console, plan)
    print_problems(console, plan.problems, names)
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


def _add_video(table: Table, plan: VideoPlan, names: ShortNames, n_about: int) -> None:
    """One row per model; the first one has `n_about` cells about the video."""
    video = plan.video
    first = (
        markup(video.key),
        f"{video.n_frames:,}" if video.n_frames else "",
        duration(video.duration_s) if video.n_frames else "",
        f"{video.width}×{video.height}" if video.n_frames else "",
        markup(video.format),
    )
    for i, output in enumerate(plan.outputs):
        cells = first[:n_about] if i == 0 else ("",) * n_about
        table.add_row(*cells, markup(names.model(output.owner.name)), *_standing(output))


def _standing(output: OutputPlan) -> tuple[str, str]:
    """What is to do of a table's steps, and what is done."""
    if all(planned.done for planned in output.steps):
        return "–", "everything"
    if all(planned.reason == "missing" for planned in output.steps):
        return "everything", "–"
    to_do = []
    for planned in output.missing:
        why = "" if planned.reason in ("missing", "--overwrite") else f" ({planned.reason})"
        to_do.append(f"{planned.step.title}{markup(why)}")
    done = [planned.step.title for planned in output.steps if planned.done]
    return ", ".join(to_do) or "–", ", ".join(done) or "–"


def _print_totals(console: Console, plan: Plan) -> None:
    if plan.done:
        told = "; ".join(filter(None, (_count(plan.n_videos, "video"), left_out(plan))))
        done = f"Everything is finished already ({told})."
        console.print(done if plan.n_videos else f"Nothing can be done{without_some(plan)}.")
        return
    frames = plan.frames_to_predict
    steps = Counter(step.title for step in plan.missing)
    parts = ", ".join(f"{n} × {title}" for title, n in steps.items())
    to_do = f"{plan.n_pending_videos:,} of {plan.n_given:,} videos{without_some(plan)}"
    console.print(f"To do for {to_do}: {parts}.")
    if frames:
        console.print(f"{frames:,} frames to predict, counted once per model.")
    if plan.estimate is not None:
        what = "The predictions take" if plan.estimate.predictions_alone else "That takes"
        about = duration(plan.estimate.seconds)
        console.print(f"{what} about {about} (an estimate, from {plan.estimate.source}).")
    if plan.labeled_bytes:
        folder = as_path(plan.pending[0].outputs[0].path).parent
        free = storage.store_of(folder).free_bytes(folder)  # None of an object store
        room = "" if free is None else f"; {data_size(free)} are free"
        size = data_size(plan.labeled_bytes)
        console.print(f"Labelled videos and snippets may take about {size}{room}.")


def print_result(
    console: Console, result: RunResult, told: Collection[tuple[str, str]] = ()
) -> None:
    """The files made and their folders; failures, damage and notes; what it took.

    Of failures that are `told` already, by path and message, only the names are printed.
    """
    plan, names = result.plan, ShortNames.of(result.plan)
    if any(result.made.values()):
        console.print(_made_table(result, names))
    if result.damaged:
        console.print(_damaged_table(result, names))
    _print_notes(console, result, names)
    print_problems(console, [p for p in plan.problems if p.lasting], names)
    _print_failures(console, result, names, told)
    if result.skipped:
        steps = _count(result.skipped, "later step")
        console.print(f"Because of these, {steps} could not run.")
    precisions = " and ".join(_PRECISIONS.get(name, name) for name in sorted(result.precisions))
    computed = f" Networks computed in {precisions}." if precisions else ""
    if result.nothing_to_do:
        if plan.n_videos:
            n = _count(plan.n_videos, "video")
            done = f"all outputs of {n} exist and are verified{without_some(plan)}"
            console.print(f"Nothing to do: {done}.{computed}")
        return
    n_made = sum(len(paths) for paths in result.made.values())
    speed = f", {result.n_frames:,} frames predicted" if result.n_frames else ""
    n_elsewhere = result.n_videos_elsewhere
    n_here = plan.n_pending_videos - n_elsewhere
    of = f"{n_here:,} of {_count(plan.n_given, 'video')}{without_some(plan)}"
    took = f"{of}: {_count(n_made, 'file')} in {duration(result.seconds)}{speed}.{computed}"
    if n_elsewhere:
        runs = sorted({by for by in result.elsewhere.values() if by})
        by = f" ({'; '.join(runs)})" if runs else ""
        who = "other runs" if len(runs) > 1 else "another run"
        done = f"{_count(n_elsewhere, 'video')} finished by {who} meanwhile{by}."
        console.print(Folded(shown(done)))
    console.print(Folded(f"{took} Log: {shown(names.from_here(str(result.run_dir)))}"))
    if result.report is not None:
        report = shown(names.from_here(str(result.report)))
        console.print(Folded(f"Which videos need a look: {report}"))
    if result.gpu_s > _LONG_S and result.gpu_waited_s > _MUCH * result.gpu_s:
        waited = (
            f"networks on GPUs waited for frames {result.gpu_waited_s:.0f} of "
            f"{result.gpu_s:.0f} s: decoding is what limits them. --decoder nvdec decodes on the "
            "GPU; with --workers-per-gpu 2 two workers share it."
        )
        console.print(sentence("note", "yellow", waited))


def _print_failures(
    console: Console, result: RunResult, names: ShortNames, told: Collection[tuple[str, str]]
) -> None:
    """Each failure in a sentence, or its name where the sentence stands above."""
    above = []
    for failure in result.failures:
        if (failure.path, failure.message) not in told:
            console.print(sentence("failed", "red", names.sentence(failure)))
        elif failure.step == "plan":
            above.append(names.path(failure.path))
        else:
            above.append(f"{failure.step} {names.subject(failure.subject)}")
    if above:
        more = len(above) - _MOST_FAILED
        listed = ", ".join(above[:_MOST_FAILED]) + (f" and {more} more" if more > 0 else "")
        console.print(sentence("failed", "red", f"{listed} (reasons above)"))


def _print_notes(console: Console, result: RunResult, names: ShortNames) -> None:
    """Each sentence once, with those it is about; what the table of damage says is left out."""
    damage = tuple(map(describe, result.damaged.values()))
    about: dict[str, list[str]] = {}
    for subject, note in result.warnings:
        if not note.endswith(damage):
            about.setdefault(note, []).append(names.subject(subject))
    for note, subjects in about.items():
        first = ", ".join(dict.fromkeys(subjects[:_MOST_NAMED]))
        more = f" and {len(subjects) - _MOST_NAMED} more" if len(subjects) > _MOST_NAMED else ""
        console.print(sentence("note", "yellow", f"{first}{more}: {note}"))


def _made_table(result: RunResult, names: ShortNames) -> Table:
    table = Table("made", Column("files", justify="right"), "where", box=box.SIMPLE_HEAD)
    folders: Counter[tuple[str, str]] = Counter()
    for name, paths in result.made.items():
        folders.update((name, os.path.dirname(path)) for path in paths)
    for (name, folder), n in folders.items():
        table.add_row(STEPS[name].title, str(n), Folded(shown(names.path(folder))))
    return table


def _damaged_table(result: RunResult, names: ShortNames) -> Table:
    """Frames of each status, of the videos that have damaged ones."""
    counted = (Column(word, justify="right") for word in WORDS)
    table = Table("video", *counted, box=box.SIMPLE_HEAD, title="damaged", title_justify="left")
    for path, counts in result.damaged.items():
        cells = (f"{counts.get(word, 0):,}" for word in WORDS)
        table.add_row(Folded(shown(names.path(path))), *cells)
    return table


def _count(n: int, thing: str) -> str:
    return f"1 {thing}" if n == 1 else f"{n:,} {thing}s"
