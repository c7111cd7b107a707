"""The outputs of a run as the report finds them, without the run: records and reviews, no tables.

For tests and for benchmarks/report.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raypose.metrics.compute import TEMPORAL_NORM, temporal_norm
from raypose.metrics.review import Review, review_table
from raypose.steps.quality import summarize
from raypose.storage import commits, digests, run_log
from raypose.storage.layout import output_paths
from raypose.tables.keypoints import COORDS, EKS_COORDS, KeypointTable
from raypose.text import json_text
from raypose.video.frames import Frames

NAMES = ("nose", "paw", "tail")
WORKER = "host:1 cpu 0"
BEGAN = 1_790_000_000
"""When the run began; an event came every two seconds."""


def make_table(
    n_frames: int = 400,
    names: Sequence[str] = NAMES,
    *,
    seed: int = 0,
    smoothed: bool = False,
    unlikely: float = 0.05,
    jumps: int = 0,
    frames: Frames | None = None,
) -> KeypointTable:
    """A walk of every keypoint, with a share of unlikely ones, and some jumps."""
    random = np.random.default_rng(seed)
    coords = EKS_COORDS if smoothed else COORDS
    values = np.zeros((n_frames, len(names), len(coords)), np.float32)
    values[..., :2] = 200 + random.normal(0, 1, (n_frames, len(names), 2)).cumsum(axis=0)
    values[random.integers(1, n_frames, jumps), 0, :2] += 150
    values[..., 2] = np.where(random.random(values.shape[:2]) < unlikely, 0.2, 0.97)
    values[..., 3:] = np.abs(random.normal(4, 1, values[..., 3:].shape))
    scorer = "ensemble-kalman_tracker" if smoothed else "heatmap_tracker"
    return KeypointTable(scorer, tuple(names), coords, values, frames=frames)


def make_review(table: KeypointTable, *, pictures: bool = False, fps: float = 25.0) -> Review:
    """The review of a table, with pictures of clouds if asked for."""
    metrics = {TEMPORAL_NORM: temporal_norm(table)}
    times_s = np.arange(table.n_frames) / fps
    review = review_table(table, metrics, threshold=0.9, times_s=times_s, fps=fps)
    facts = {**review.facts, "quality": summarize(table, metrics, 0.9)}
    stills: dict[int, bytes] = {}
    if pictures:
        stills = {m["frame"]: make_picture(320, m["frame"]) for m in facts["moments"]}
    thumbnail = make_picture(120, 0) if pictures else b""
    return replace(review, facts=facts, stills=stills, thumbnail=thumbnail)


def make_picture(width: int, seed: int) -> bytes:
    """A WebP picture of clouds, with about as much in it as a frame of a laboratory video."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (width // 12, width // 8, 3)).astype(np.uint8)
    clouds = cv2.resize(noise, (width, width * 2 // 3), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".webp", clouds, [cv2.IMWRITE_WEBP_QUALITY, 50])[1])


def commit_table(
    out: Path, owner: str, key: str, review: Review | None, *, n_frames: int = 400
) -> Path:
    """The record of a table, and its review; the table itself is empty, since no one reads it."""
    paths = output_paths(out / owner, key, "app")
    made_from = {"kind": "predictions", "video": key, "model": owner}
    stats = {"n_rows": n_frames, "frames": {"ok": n_frames}}
    source = f"/videos/{key}.mp4"
    with commits.committing(paths.predictions, made_from, source=source, stats=stats) as file:
        file.touch()
    if review is not None:
        of_table = {"kind": "review", "table": digests.digest_of_json(made_from)}
        with commits.committing(paths.review, of_table, source=source) as file:
            review.write(file)
    return Path(str(paths.predictions))


def describe_run(
    out: Path,
    videos: Sequence[str],
    models: Sequence[str],
    *,
    failures: Mapping[str, str] | None = None,
    n_frames: int = 400,
    fps: float = 25.0,
    continues: bool = False,
    began: float = BEGAN,
) -> Path:
    """`run.json` and the log of a run of these; returns the run directory.

    Args:
        out: the directory of outputs.
        videos: keys of the videos.
        models: names of the owners of tables.
        failures: key of a video → why it could not be predicted.
        n_frames: of every video.
        fps: of every video.
        continues: whether it is one more part of the run before.
        began: its first event, in seconds since the epoch.
    """
    failures = failures or {}
    log = run_log.RunLog(out / "raypose")
    log.describe(
        {
            "config": {"output_dir": str(out)},
            "run_dir": str(log.directory),
            "models": [{"name": name} for name in models if name != "eks"],
            "videos": [
                {"path": f"/videos/{key}.mp4", "key": key, "n_frames": n_frames, "fps": fps}
                for key in videos
            ],
            "outputs": [_output(out, key, name) for key in videos for name in models],
            "problems": [
                {
                    "subject": "somewhere",
                    "message": "is odd",
                    "hint": "It is left.",
                    "fatal": False,
                }
            ],
        }
    )
    log.close()
    done = [
        event
        for key in videos
        for event in (_predicted(key, len(models), failures.get(key), n_frames), _metrics(key))
    ]
    events = [
        {"event": "planned", "n_recordings": len(videos), "continues": continues},
        {"event": "started", "on": "2 CPU workers", "n_tasks": len(done)},
        *({"event": "task finished", **event} for event in done),
        {"event": "ended", "failures": len(failures)},
    ]
    lines = [json_text({"time": began + 2 * i, **event}) for i, event in enumerate(events)]
    text = "\n".join(lines) + "\n"
    with (log.directory / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(text)
    return log.directory


def _output(out: Path, key: str, name: str) -> dict[str, Any]:
    path = str(output_paths(out / name, key, "app").predictions)
    return {"video": key, "owner": name, "kind": "table", "paths": {"table": path}}


def _metrics(key: str) -> dict[str, Any]:
    name = {"task": f"metrics/{key}", "kind": "metrics", "subject": f"a · {key}"}
    return {**name, "n_outputs": 1, "seconds": 0.1, "worker": WORKER, "facts": {}}


def _predicted(key: str, n_models: int, failure: str | None, n_frames: int) -> dict[str, Any]:
    event: dict[str, Any] = {
        "task": f"predict/{key}",
        "kind": "predict",
        "subject": f"a · {key}",
        "videos": [key],
        "n_outputs": n_models,
        "n_made": n_models - (failure is not None),
        "seconds": 2.5,
        "worker": WORKER,
        "facts": {
            **{"n_frames": n_frames, "device": "cpu", "predict_s": 2.0},
            **{"decode_s": 0.5, "network_s": 1.2, "subpixel_s": 0.2},
        },
    }
    if failure:
        said = {"step": "predict", "message": failure, "path": f"/videos/{key}.mp4"}
        event["failures"] = [{**said, "hint": "Copy it again.", "skipped": False}]
    return event
