"""The arguments that `run` and `plan` share, each named once.

Every option is a field of `RunConfig`: a command made by `with_run_options` has them all in its
signature, and is called with the `RunConfig` that they make. An option that is not given says
nothing, so that a file (`--config`) and the defaults of `RunConfig` can.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypose.cli.base import command

if TYPE_CHECKING:
    from raypose.config import RunConfig, SmoothConfig

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Training data, where the config's has moved.")
]
Inline = Annotated[bool, typer.Option("--inline", help="One process, without Ray.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def _option(kind: Any, *names: str, help: str, metavar: str | None = None) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help, metavar=metavar)]


def _number(*names: str, help: str, metavar: str = "INTEGER") -> Any:
    """A number, taken as text: `RunConfig` says in its own words what is wrong with it."""
    return _option(str, *names, help=help, metavar=metavar)


EKS_OPTIONS: dict[str, Any] = {
    "eks_mode": _option(
        str,
        "--eks-mode",
        help="singlecam, mirrored, multicam, calibrated, pupil, or auto, which chooses by config, "
        "views and calibration. [dim]\\[one camera a video; several views together][/]",
    ),
    "eks_smooth_param": _option(
        str,
        "--smooth-param",
        help="Smoothing parameter: a number, or KEYPOINT=NUMBER,… [dim]\\[chosen][/]",
    ),
    "eks_s_frames": _option(
        str, "--s-frames", help="Frames that it is chosen on, as in 0:500,1000: [dim]\\[all][/]"
    ),
    "eks_blocks": _option(
        list[str],
        "--block",
        help="Keypoints that share one smoothing parameter, as in a,b,c; may be given again.",
    ),
    "eks_keypoints": _option(str, "--eks-keypoints", help="Keypoints to smooth. [dim]\\[all][/]"),
    "eks_mirrored": _option(
        str, "--mirrored", help="Last parts of keypoint names that tell mirrored views: top,bot."
    ),
    "eks_avg_mode": _option(str, "--avg-mode", help="median or mean. [dim]\\[median][/]"),
    "eks_var_mode": _option(
        str,
        "--var-mode",
        help="confidence_weighted_var or var. [dim]\\[confidence_weighted_var][/]",
    ),
    "eks_inflate_vars": _option(
        bool, "--inflate-vars/--no-inflate-vars", help="Weigh less what other views contradict."
    ),
    "eks_quantile_keep_pca": _number(
        "--quantile-keep-pca",
        metavar="NUMBER",
        help="Percentage of frames that the views' PCA takes.",
    ),
    "eks_min_members": _number(
        "--min-members", help="Members that are enough for EKS. [dim]\\[all][/]"
    ),
}
"""Field of `EksOptions`, behind `eks_` → its option."""

OPTIONS: dict[str, Any] = {
    "videos": Annotated[
        list[str] | None,
        typer.Argument(help="Video files, directories, globs or URLs.", show_default=False),
    ],
    "models": _option(
        list[str], "--model", "-m", help="Model directory or URL; give it again for each member."
    ),
    "metrics": _option(
        bool, "--metrics/--no-metrics", help="Temporal norm and PCA errors. [dim]\\[on][/]"
    ),
    "label": _option(
        list[str],
        "--label",
        help="[b]full[/]: the whole video with predictions drawn; [b]snippet[/]: the 30 s with "
        "the highest motion energy. May be given twice.",
    ),
    "timestamps": _option(
        bool, "--timestamps", help="Time and status of each frame, for every video."
    ),
    "eks": _option(
        bool, "--eks/--no-eks", help="Smooth the ensemble of all models. [dim]\\[off][/]"
    ),
    "eks_dir": _option(str, "--eks-dir", help="Where smoothed tables go; a URL too."),
    **EKS_OPTIONS,
    "views": _option(
        str,
        "--views",
        help="Views of a recording by several cameras, as in [b]top,side[/]: the videos that "
        "differ in this part of their names belong together.",
    ),
    "sessions": _option(
        Path, "--sessions", help="CSV of the recordings: a column session, and one a view."
    ),
    "calibration": _option(
        Path, "--calibration", help="Anipose calibration of the cameras, for points in space."
    ),
    "bbox_dir": _option(
        Path, "--bbox-dir", help="Where <stem>_bbox.csv say what part of a frame to look at."
    ),
    "output_dir": _option(
        str,
        "--output-dir",
        "-o",
        help="Root of all outputs, a directory or a URL; else the model directories.",
    ),
    "layout": _option(
        str, "--layout", help="File names of the Lightning Pose [b]app[/] or [b]pose-app[/]."
    ),
    "data_dir": DataDir,
    "recursive": _option(bool, "--recursive", help="Search directories at all depths."),
    "precision": _option(str, "--precision", help="auto, fp32, bf16 or fp16. [dim]\\[auto][/]"),
    "runtime": _option(
        str,
        "--runtime",
        help="torch, or what [b]litpose export[/] has made of the models: onnx or tensorrt. "
        "[dim]\\[torch][/]",
    ),
    "device": _option(str, "--device", help="auto, cpu or cuda. [dim]\\[auto][/]"),
    "decoder": _option(
        str,
        "--decoder",
        help="cpu, or nvdec to decode on the GPU; not yet run on one. [dim]\\[cpu][/]",
    ),
    "encoder": _option(
        str,
        "--encoder",
        help="x264, or nvenc for labelled videos by a GPU's encoder; not yet run on one. "
        "[dim]\\[x264][/]",
    ),
    "gpus": _number("--gpus", help="GPUs to use. [dim]\\[all][/]"),
    "cpus": _number("--cpus", help="CPU cores to use. [dim]\\[all][/]"),
    "workers_per_gpu": _number(
        "--workers-per-gpu", help="Workers that share a GPU. [dim]\\[1][/]"
    ),
    "batch_size": _number("--batch-size", help="Frames a batch."),
    "chunk_frames": _number(
        "--chunk-frames", help="Longest range of frames that is one GPU task."
    ),
    "address": _option(str, "--address", help="Ray cluster: auto, HOST:PORT or local."),
    "inline": _option(bool, "--inline", help="One process, without Ray."),
    "overwrite": _option(bool, "--overwrite", help="Redo finished outputs."),
    "strict": _option(bool, "--strict", help="A frame that is not ok fails its video."),
    "overrides": _option(
        list[str], "--override", help="key=value on the models' config; may be given again."
    ),
    "shard": _option(
        str, "--shard", help="I/N: only the I-th of N parts of the recordings, I from 0."
    ),
    "run_dir": _option(
        Path,
        "--run-dir",
        help="Where ledger and log go. [dim]\\[raypose/ below -o; ./raypose-runs/<date> without "
        "-o, or where that is a URL][/]",
    ),
    "stall_timeout_s": _number(
        "--stall-timeout",
        metavar="SECONDS",
        help="Stop a task after this time without progress, and try it on another worker. "
        "[dim]\\[600][/]",
    ),
    "scratch_dir": _option(
        Path,
        "--scratch-dir",
        help="Local disk for videos that come from a URL. [dim]\\[the temporary directory][/]",
    ),
    "scratch_gb": _number(
        "--scratch-gb",
        metavar="NUMBER",
        help="Most to take there on each machine. [dim]\\[what is free][/]",
    ),
    "allow_unsafe_checkpoint": _option(
        bool,
        "--allow-unsafe-checkpoint",
        help="Unpickle whatever a checkpoint holds. It can run code of whoever wrote the file.",
    ),
}
"""Field of `RunConfig` (or of its `EksOptions`, behind `eks_`) → its option."""

_ConfigFile = _option(
    Path, "--config", help="YAML file with these settings; the command line wins."
)


_SHARED = (
    *("views", "sessions", "calibration", "layout", "shard"),
    *("address", "inline", "cpus", "overwrite"),
)

SMOOTH_OPTIONS: dict[str, Any] = {
    "tables": Annotated[
        list[str] | None,
        typer.Argument(
            help="Tables of Lightning Pose, DeepLabCut or SLEAP (CSV, HDF5), directories of "
            "them, model directories, or globs.",
            show_default=False,
        ),
    ],
    "members": _option(
        bool,
        "--members",
        help="All tables are of one video, one per member, whatever their names.",
    ),
    "eks_dir": _option(Path, "--output-dir", "-o", "--eks-dir", help="Where smoothed tables go."),
    **EKS_OPTIONS,
    **{name: OPTIONS[name] for name in (*_SHARED, "run_dir")},
}
"""Field of `SmoothConfig` → its option."""


def with_run_options(function: Callable[[RunConfig], int]) -> Callable[..., None]:
    """A command with the options of a run, around a function of the `RunConfig` they make."""

    def call(config: Path | None = None, **values: Any) -> int:
        return function(config_of(config, values))

    return _with_options(call, {**OPTIONS, "config": _ConfigFile}, function.__doc__)


def with_smooth_options(function: Callable[[SmoothConfig], int]) -> Callable[..., None]:
    """A command with the options of EKS alone, around a function of their `SmoothConfig`."""

    def call(**values: Any) -> int:
        from raypose.config import SmoothConfig

        return function(SmoothConfig(**{"tables": (), **_given(values)}))

    return _with_options(call, SMOOTH_OPTIONS, function.__doc__)


def _with_options(
    function: Callable[..., int], options: dict[str, Any], doc: str | None
) -> Callable[..., None]:
    wrapped = command(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]
    # Typer reads a command's options from its signature.
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = options
    wrapped.__doc__ = doc
    return wrapped


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """What was given, with the options of EKS in a mapping of their own."""
    given = {name: value for name, value in values.items() if value not in (None, [], ())}
    smoothing = {name: given.pop(name) for name in EKS_OPTIONS if name in given}
    if smoothing:
        given["eks_options"] = {name.removeprefix("eks_"): v for name, v in smoothing.items()}
    return given


def config_of(config_file: Path | None, values: dict[str, Any]) -> RunConfig:
    """The run that options ask for; `values` as the command line gives them, None where not."""
    from raypose.config import RunConfig

    given = _given(values)
    if config_file is not None:
        return RunConfig.from_yaml(config_file, given)
    return RunConfig(**{"videos": (), "models": (), **given})
