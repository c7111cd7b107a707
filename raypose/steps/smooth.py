"""Smooth the members' tables of one recording with EKS, and commit the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from raypose.errors import Failure, SmoothingError
from raypose.steps.outcome import Outcome
from raypose.steps.provenance import of_members
from raypose.storage import as_path, ledger
from raypose.storage.digests import verified
from raypose.storage.origins import Origin, union
from raypose.tasks import SmoothArgs, Task
from raypose.text import json_text
from raypose.worker.context import Context


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; its results are the smoothed tables, one for each view."""
    from raypose.eks import fitting_members, smooth_recording
    from raypose.steps.frame_files import COUNTS, commit_frames, drop_frames, frames_of_members
    from raypose.tables.keypoints import write_csv, write_points_csv
    from raypose.video.frames import describe

    args = task.args
    assert isinstance(args, SmoothArgs)
    n = len(args.members)
    views = {
        video.view: dict(zip(args.members, inputs[v * n : (v + 1) * n], strict=True))
        for v, video in enumerate(args.videos)
    }
    members = fitting_members(
        views,
        keypoints=args.options["keypoints"],
        min_members=args.options["min_members"],
    )
    digest = str(args.recipes[0].get("calibration", "")) if args.calibration else ""
    with verified(args.calibration, digest, "the calibration", SmoothingError):
        result = smooth_recording(
            members.tables,
            args.options,
            mirrored=args.mirrored,
            calibration=args.calibration,
            on_progress=context.progress(task),
            should_stop=context.should_stop,
        )
    facts = {"mode": result.mode, "reason": result.reason, "members": list(members.names)}
    warnings = [f"EKS went on without {who}: it {why}" for who, why in members.left_out.items()]
    warnings += members.notes
    # The next run makes it anew, as soon as there are more members.
    left_out = {"left_out": members.left_out} if members.left_out else {}
    origins = [None if isinstance(table, Failure) else table.origin for table in inputs]
    made_from = [
        of_members(recipe if args.final else {**recipe, **left_out}, origins, n)
        for recipe in args.recipes
    ]
    read = union(table.origin for tables in members.tables.values() for table in tables.values())
    params = {
        "mode": result.mode,
        "reason": result.reason,
        "members": list(members.names),
        **left_out,
        **({"notes": list(members.notes)} if members.notes else {}),
        "options": dict(args.options),
        "smooth_params": result.smooth_params,
    }
    source = args.video.path
    made = [args.params_output]
    results: list[Any] = []
    params_output = as_path(args.params_output)
    with ledger.committing(
        params_output, made_from[0], source=source, videos=lambda: read
    ) as temporary:
        temporary.write_text(json_text(params, indent=1), encoding="utf-8")
    if args.points_output and result.points is not None:
        points = ledger.committing(
            as_path(args.points_output),
            made_from[0],
            source=source,
            facts=facts,
            videos=lambda: read,
        )
        with points as temporary:
            write_points_csv(result.points, temporary, context.budget.write)
        made.append(args.points_output)
    damaged: dict[str, dict[str, int]] = {}
    for video, path, recipe in zip(args.videos, args.outputs, made_from, strict=True):
        output = as_path(path)
        frames = frames_of_members(list(members.tables[video.view].values()))
        origin = Origin(ledger.digest_of(recipe), read)
        table = replace(result.tables[video.view], origin=origin, frames=frames)
        noted: dict[str, Any] = {"n_rows": table.n_frames, **facts, **left_out}
        if frames is not None:
            damaged[video.path] = noted[COUNTS] = frames.counts
            made += commit_frames(output, recipe, frames, source=video.path, videos=read)
            if args.final:  # else, those who predicted have said so
                warnings.append(f"{video.key}: {describe(frames.counts)}")
        else:
            drop_frames(output)
        with ledger.committing(
            output, recipe, source=video.path, facts=noted, videos=lambda: read
        ) as temporary:
            write_csv(table, temporary, context.budget.write)
        made.append(path)
        results.append(table)
    told = {"n_rows": results[0].n_frames, **facts, "damaged": damaged}
    return Outcome(results, made, told, warnings)
