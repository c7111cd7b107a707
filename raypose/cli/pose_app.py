"""Two commands with the positional arguments and the file names of the Pose-app's scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from raypose.cli import completion
from raypose.cli.base import app, command
from raypose.cli.options import DataDir, Device, Inline, config_of
from raypose.cli.run import run_and_show
from raypose.errors import UsageError
from raypose.storage import local_path


def _true_or_false(name: str, what: str) -> Any:
    def flag(value: str) -> bool:
        word = value.strip().lower()
        if word not in ("true", "false"):
            raise UsageError(f"{name} is {value!r}, and must be true or false")
        return word == "true"

    return typer.Argument(
        parser=flag,
        metavar=name,
        help=f"true or false: {what}.",
        autocompletion=completion.choices(("true", "false")),
    )


ModelDir = Annotated[
    str,
    typer.Argument(
        metavar="MODEL_DIR", help="Directory of a trained model.", autocompletion=completion.models
    ),
]
VideoDir = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO_DIR", help="Directory of videos.", autocompletion=completion.videos
    ),
]
_METRICS = "compute temporal norm and PCA errors"
Metrics = Annotated[Any, _true_or_false("COMPUTE_METRICS", _METRICS)]
LabelFull = Annotated[Any, _true_or_false("LABEL_FULL", "draw whole labelled videos")]
_SNIPPET = "cut and draw the 30 s with the highest motion energy"
LabelSnippet = Annotated[Any, _true_or_false("LABEL_SNIPPET", _SNIPPET)]
ComputeEks = Annotated[Any, _true_or_false("COMPUTE_EKS", "smooth the ensemble with EKS")]


def _run_as_pose_app(full: bool, snippet: bool, values: dict[str, Any]) -> int:
    """A run with the Pose-app's file names; returns the exit code."""
    label = [kind for kind, wanted in (("full", full), ("snippet", snippet)) if wanted]
    return run_and_show(config_of(None, {"layout": "pose-app", "label": label, **values}))


@app.command("process-videos", epilog="raypose process-videos models/a videos true false true")
@command
def process_videos(
    model_dir: ModelDir,
    video_dir: VideoDir,
    compute_metrics: Metrics,
    label_full: LabelFull,
    label_snippet: LabelSnippet,
    data_dir: DataDir = None,
    device: Device = None,
    inline: Inline = None,
) -> int:
    """Run one model on a directory of videos, with the Pose-app's arguments and file names."""
    asked = {"videos": (video_dir,), "models": (model_dir,), "metrics": compute_metrics}
    place = {"inline": inline, "device": device, "data_dir": data_dir}
    return _run_as_pose_app(label_full, label_snippet, asked | place)


@app.command(
    "process-videos-ensemble",
    epilog="raypose process-videos-ensemble a:b videos true false true true eks",
)
@command
def process_videos_ensemble(
    model_dirs: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_DIRS", help="Directories of the members, separated by colons."
        ),
    ],
    video_dir: VideoDir,
    compute_metrics: Metrics,
    label_full: LabelFull,
    label_snippet: LabelSnippet,
    compute_eks: ComputeEks,
    eks_dir: Annotated[
        Path, typer.Argument(metavar="EKS_DIR", help="Directory for the smoothed tables.")
    ],
    data_dir: DataDir = None,
    device: Device = None,
    inline: Inline = None,
) -> int:
    """Run an ensemble on a directory of videos, with the Pose-app's arguments and file names."""
    models = split_models(model_dirs)
    asked = {"videos": (video_dir,), "models": models, "metrics": compute_metrics}
    place = {"inline": inline, "device": device, "data_dir": data_dir}
    smoothing = {"eks": compute_eks, "eks_dir": eks_dir}
    return _run_as_pose_app(label_full, label_snippet, asked | place | smoothing)


def split_models(text: str) -> list[str]:
    """Model directories from `M1:M2:…`, where a directory's own name may hold colons, as in
    `YYYY-MM-DD/HH:MM:SS`: a part that is not a directory is joined with the next ones until it is.
    """
    # The colon of a URL does not separate models.
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
