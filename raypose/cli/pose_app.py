"""The two commands that are called and name their files as the Pose-app's scripts do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from raypose.cli.base import app, command
from raypose.cli.options import DataDir, Device, Inline
from raypose.cli.run import run_and_show
from raypose.storage import local_path


def _flag(value: str) -> bool:
    word = value.strip().lower()
    if word not in ("true", "false"):
        raise typer.BadParameter(f"{value!r} is neither true nor false")
    return word == "true"


Flag = Annotated[Any, typer.Argument(parser=_flag, metavar="true|false")]


def _labels(full: bool, snippet: bool) -> tuple[str, ...]:
    return (*(["full"] if full else []), *(["snippet"] if snippet else []))


def _run_as_pose_app(**values: Any) -> int:
    """A run with the Pose-app's file names; returns the exit code."""
    from raypose.config import RunConfig

    return run_and_show(RunConfig(layout="pose-app", **values)).exit_code


@app.command("process-videos")
@command
def process_videos(
    model_dir: Annotated[str, typer.Argument(help="Model directory.")],
    video_dir: Annotated[str, typer.Argument(help="Directory of videos.")],
    compute_metrics: Flag,
    label_full: Flag,
    label_snippet: Flag,
    inline: Inline = False,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> int:
    """One model over a directory of videos, with the files of the Pose-app."""
    return _run_as_pose_app(
        videos=(video_dir,),
        models=(model_dir,),
        metrics=compute_metrics,
        label=_labels(label_full, label_snippet),
        inline=inline,
        device=device,
        data_dir=data_dir,
    )


@app.command("process-videos-ensemble")
@command
def process_videos_ensemble(
    model_dirs: Annotated[str, typer.Argument(help="Model directories, separated by colons.")],
    video_dir: Annotated[str, typer.Argument(help="Directory of videos.")],
    compute_metrics: Flag,
    label_full: Flag,
    label_snippet: Flag,
    compute_eks: Flag,
    eks_dir: Annotated[Path, typer.Argument(help="Directory of the smoothed outputs.")],
    inline: Inline = False,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> int:
    """An ensemble over a directory of videos, smoothed by EKS, with the files of the Pose-app."""
    return _run_as_pose_app(
        videos=(video_dir,),
        models=tuple(split_models(model_dirs)),
        metrics=compute_metrics,
        label=_labels(label_full, label_snippet),
        eks=compute_eks,
        eks_dir=eks_dir,
        inline=inline,
        device=device,
        data_dir=data_dir,
    )


def split_models(text: str) -> list[str]:
    """Model directories from `M1:M2:…`, where a directory's own name may hold colons.

    Old models are called `YYYY-MM-DD/HH:MM:SS`. A part that is no directory by itself is joined
    to those after it until it is one.
    """
    # The colon of a URL is not one between models.
    parts = [part for part in re.split(r":(?!//)", text) if part]
    models: list[str] = []
    while parts:
        sizes = (n for n in range(1, len(parts) + 1) if _is_model(":".join(parts[:n])))
        size = next(sizes, 1)
        models.append(":".join(parts[:size]))
        parts = parts[size:]
    return models


def _is_model(text: str) -> bool:
    folder = local_path(text)
    return folder is None or folder.is_dir()
