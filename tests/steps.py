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
from raypose.steps.frame_files import frames_provenance
from raypose.storage.layout import frames_beside
from raypose.worker.budget import Budget
from raypose.worker.context import Context

Provenance = Mapping[str, Any]


def label_step(
    video: VideoSpec, owner: Owner, path: str, provenance: Provenance, **more: Any
) -> Label:
    return Label(
        videos=(video,), owner=owner, outputs={"labeled": path}, provenance=provenance, **more
    )


def load_step(video: VideoSpec, path: str, **more: Any) -> Load:
    return Load(videos=(video,), path=path, **more)


def metrics_step(
    video: VideoSpec, owner: Owner, outputs: Mapping[str, str], provenance: Provenance
) -> Metrics:
    return Metrics(
        videos=(video,),
        owner=owner,
        outputs=outputs,
        provenance=provenance,
        metrics=tuple(outputs),
    )


def snippet_step(
    video: VideoSpec,
    owner: Owner,
    outputs: Mapping[str, str],
    provenance: Provenance,
    duration_s: float,
) -> Snippet:
    return Snippet(
        videos=(video,), owner=owner, outputs=outputs, provenance=provenance, duration_s=duration_s
    )


def table_step(
    video: VideoSpec,
    owner: Owner,
    path: str,
    provenance: Provenance,
    ranges: tuple[tuple[int, int, str], ...],
    **more: Any,
) -> Table:
    outputs = {"table": path}
    return Table(
        videos=(video,), owner=owner, outputs=outputs, provenance=provenance, ranges=ranges, **more
    )


def timestamps_step(
    video: VideoSpec, owner: Owner, table: str, provenance: Provenance
) -> Timestamps:
    return Timestamps(
        videos=(video,),
        owner=owner,
        outputs={"frames": str(frames_beside(Path(table)))},
        provenance=frames_provenance(provenance),
        table=table,
        table_provenance=provenance,
    )


def predict_step(
    video: VideoSpec,
    models: Sequence[ModelSpec],
    start: int,
    stop: int,
    provenances: Sequence[Provenance],
    **more: Any,
) -> Predict:
    return Predict(
        videos=(video,),
        members=tuple(models),
        start=start,
        stop=stop,
        provenances=tuple(provenances),
        **more,
    )


def smooth_step(
    videos: Sequence[VideoSpec],
    root: str,
    members: Sequence[str],
    provenance: Provenance,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Smooth:
    """The tables of one video go to `<root>/<key>.csv`, those of views to `<root>/<view>.csv`."""
    tables = {Smooth.table_name(v): f"{root}/{v.view or v.key}.csv" for v in videos}
    return Smooth(
        videos=tuple(videos),
        owner=Owner("eks", root),
        outputs={**tables, "params": f"{root}/params/{videos[0].key}.json"},
        provenance=provenance,
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


def make_context(**changes: Any) -> Context:
    """A worker's context on the CPU, without a network; `changes` are fields of `Context`."""
    fields: dict[str, Any] = {
        "device": "cpu",
        "artifact": lambda model: None,
        "report": lambda progress: None,
        "should_stop": lambda: False,
        "worker": "here",
        "budget": Budget.of(2, 1 << 30),
    }
    return Context(**(fields | changes))
