"""Steps by their usual arguments, and a task around one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raypose.config import EksOptions
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.steps import (
    Label,
    Load,
    Metrics,
    Predict,
    Smooth,
    Snippet,
    Step,
    Table,
    Task,
    Timestamps,
)
from raypose.steps.frame_files import frames_recipe
from raypose.storage.layout import frames_beside

Recipe = Mapping[str, Any]


def label_step(video: VideoSpec, owner: Owner, path: str, recipe: Recipe, **more: Any) -> Label:
    return Label(videos=(video,), owner=owner, outputs={"labeled": path}, recipe=recipe, **more)


def load_step(video: VideoSpec, path: str, **more: Any) -> Load:
    return Load(videos=(video,), path=path, **more)


def metrics_step(
    video: VideoSpec, owner: Owner, outputs: Mapping[str, str], recipe: Recipe
) -> Metrics:
    return Metrics(videos=(video,), owner=owner, outputs=outputs, recipe=recipe)


def snippet_step(
    video: VideoSpec, owner: Owner, outputs: Mapping[str, str], recipe: Recipe, duration_s: float
) -> Snippet:
    return Snippet(
        videos=(video,), owner=owner, outputs=outputs, recipe=recipe, duration_s=duration_s
    )


def table_step(
    video: VideoSpec,
    owner: Owner,
    path: str,
    recipe: Recipe,
    ranges: tuple[tuple[int, int, str], ...],
    **more: Any,
) -> Table:
    outputs = {"table": path}
    return Table(
        videos=(video,), owner=owner, outputs=outputs, recipe=recipe, ranges=ranges, **more
    )


def timestamps_step(video: VideoSpec, owner: Owner, table: str, recipe: Recipe) -> Timestamps:
    return Timestamps(
        videos=(video,),
        owner=owner,
        outputs={"frames": str(frames_beside(Path(table)))},
        recipe=frames_recipe(recipe),
        table=table,
        table_recipe=recipe,
    )


def predict_step(
    video: VideoSpec,
    models: Sequence[ModelSpec],
    start: int,
    stop: int,
    recipes: Sequence[Recipe],
    **more: Any,
) -> Predict:
    return Predict(
        videos=(video,),
        members=tuple(models),
        start=start,
        stop=stop,
        recipes=tuple(recipes),
        **more,
    )


def smooth_step(
    videos: Sequence[VideoSpec],
    root: str,
    members: Sequence[str],
    recipe: Recipe,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Smooth:
    """The tables of one video go to `<root>/<key>.csv`, those of views to `<root>/<view>.csv`."""
    tables = {Smooth.table_name(v): f"{root}/{v.view or v.key}.csv" for v in videos}
    return Smooth(
        videos=tuple(videos),
        owner=Owner("eks", root),
        outputs={**tables, "params": f"{root}/params/{videos[0].key}.json"},
        recipe=recipe,
        members=tuple(members),
        options=EksOptions(**(options or {})),
        **more,
    )


def task_of(step: Step, *, outputs: tuple[str, ...] = ("out",), n_frames: int = 0) -> Task:
    """A task named `<step>/x`."""
    subject = f"m · {step.video.key}"
    return Task(
        f"{step.name}/x", step, step.video.key, subject, outputs=outputs, n_frames=n_frames
    )
