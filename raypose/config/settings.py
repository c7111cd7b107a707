"""What was asked for: `RunConfig`, `SmoothConfig`, and the settings that they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ValidationError, field_validator, model_validator

from raypose.config.eks_options import EksOptions
from raypose.config.options import Checked, Option, fields_of, option_name
from raypose.config.schemas import Allowed, FieldPath
from raypose.config.types import (
    EMPTY,
    NOTHING,
    ONE_OR_MANY,
    Count,
    Flag,
    Gigabytes,
    LocalPlace,
    Names,
    Place,
    Seconds,
    Takes,
    Texts,
    Trail,
)
from raypose.config.yaml_files import load_yaml
from raypose.errors import UsageError
from raypose.storage import AnyPath
from raypose.storage.layout import Layout

if TYPE_CHECKING:
    from typing_extensions import Self

Device = Literal["auto", "cpu", "cuda"]
LabelKind = Literal["full", "snippet"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Runtime = Literal["torch", "onnx", "tensorrt"]
Colors = Literal["keypoint", "colormap"]
FormatName = Literal["parquet", "h5", "nwb", "slp", "coco"]

# Headings of `--help`.
MODELS = "Models"
OUTPUTS = "Outputs"
VIEWS = "Recordings and camera views"
GPUS = "GPUs"
MACHINES = "Ray and this machine"
_SPEED = "Speed"

_RUN_DIRS = "raypose/ in -o; ./raypose-runs/<date> without -o or if it is a URL"
_ADDRESS = Allowed("auto, local or HOST:PORT", "HOST:PORT")
_SECTION = Allowed("a section with the options of EKS")
_AS_EKS: Any = EksOptions()


def _fraction(value: Any) -> Any:
    return tuple(value.split("/")) if isinstance(value, str) else value


class Settings(Checked):
    """The common settings; see `RunConfig` and `SmoothConfig`."""

    predicts: ClassVar[bool]
    """Whether networks run, and GPUs are wanted."""

    eks_dir: Annotated[Place, Option(OUTPUTS)] = NOTHING
    """Directory or URL for the smoothed tables."""
    run_dir: Annotated[LocalPlace, Option(OUTPUTS, default=_RUN_DIRS)] = NOTHING
    """Directory for the run's settings, log and report."""
    layout: Annotated[Layout, Option(OUTPUTS)] = "app"
    """File names of the Lightning Pose app or of the Pose-app."""
    report: Annotated[Flag, Option(OUTPUTS, ("--report/--no-report",))] = True
    """Write a report: report.html in the run directory."""
    overwrite: Annotated[Flag, Option(OUTPUTS)] = False
    """Redo finished outputs."""

    views: Annotated[Names, Option(VIEWS)] = EMPTY
    """Camera views, as in top,side: videos whose names differ only in this part belong to one
    recording."""
    sessions: Annotated[LocalPlace, Option(VIEWS)] = NOTHING
    """CSV that lists the recordings: a column session, and one column per view."""
    calibration: Annotated[LocalPlace, Option(VIEWS)] = NOTHING
    """Anipose calibration of the cameras (calibration.toml), for 3-D keypoints."""
    shard: Annotated[
        Takes[tuple[int, int] | None, str | tuple[int, int] | None],
        BeforeValidator(_fraction),
        Allowed("I/N, with I from 0 to N − 1", "I/N"),
        Option(VIEWS),
    ] = NOTHING
    """Process only part I of N of the recordings, counted from 0."""

    allow_unsafe_checkpoint: Annotated[Flag, Option(MODELS)] = False
    """Load checkpoints that need full unpickling, which can run any code: only for files that you
    trust."""

    device: Annotated[Device, Option(GPUS)] = "auto"
    """Where networks run; auto uses a GPU if there is one."""
    gpus: Annotated[Count | None, Option(GPUS, default="all")] = None
    """Number of GPUs to use."""
    workers_per_gpu: Annotated[Count, Option(GPUS)] = 1
    """Worker processes that share a GPU."""
    address: Annotated[str | None, _ADDRESS, Option(MACHINES, default="local")] = None
    """Ray cluster to join: HOST:PORT, or auto for the one on this machine; local starts one for
    this run."""
    cpus: Annotated[Count | None, Option(MACHINES, default="all")] = None
    """Number of CPU cores to use, of those available to this process."""
    inline: Annotated[Flag, Option(MACHINES)] = False
    """Run everything in this process, without Ray."""
    stall_timeout_s: Annotated[Seconds, Option(MACHINES, ("--stall-timeout",))] = 600.0
    """Stop a task after this time without progress, and try it on another worker."""
    scratch_dir: Annotated[LocalPlace, Option(MACHINES, default="temporary directory")] = NOTHING
    """Local directory for copies of videos that come from a URL."""
    scratch_gb: Annotated[Gigabytes | None, Option(MACHINES, default="free space")] = None
    """Most space that these copies may take on each machine."""
    eks_options: Annotated[Takes[EksOptions, EksOptions | Mapping[str, Any]], _SECTION] = _AS_EKS
    """How EKS smooths."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.views and self.sessions is not None:
            raise ValueError("--sessions names the views: leave out --views")
        if len(self.views) == 1:
            raise ValueError(f"--views names a single view, {self.views[0]}: give two or more")
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            given = "/".join(map(str, self.shard))
            raise ValueError(f"--shard is {given}, and must be I/N, with I from 0 to N − 1")
        if self.inline and self.address not in (None, "local"):
            raise ValueError("--inline runs without Ray and can't be used with --address")
        return self

    @property
    def gpu_encoder(self) -> bool:
        """Whether CPU workers encode on GPUs, and so must see them."""
        return False


class RunConfig(Settings):
    """What to run: models × videos, what to make of them, where, and on what."""

    predicts = True

    videos: Annotated[Texts, Option("", ("videos",))] = EMPTY
    """Video files, directories, globs or URLs."""
    models: Annotated[Texts, Option(MODELS, ("--model", "-m"), repeat=True)]
    """Directory or URL of a trained model; give each member of an ensemble."""
    data_dir: Annotated[LocalPlace, Option(MODELS)] = NOTHING
    """Directory of the training data, which PCA metrics need, if it has moved since training."""
    overrides: Annotated[
        Takes[tuple[str, ...], str | Iterable[str]],
        ONE_OR_MANY,
        Allowed("key=value, or a list of them", "KEY=VALUE"),
        Option(MODELS, ("--override",), repeat=True),
    ] = EMPTY
    """Change an entry of the models' configs."""

    output_dir: Annotated[
        Place, Option(OUTPUTS, ("--output-dir", "-o"), default="the model directories")
    ] = NOTHING
    """Directory or URL for all outputs."""
    metrics: Annotated[Flag, Option(OUTPUTS, ("--metrics/--no-metrics",))] = True
    """Compute temporal norm and PCA errors."""
    label: Annotated[
        Takes[tuple[LabelKind, ...], LabelKind | Iterable[LabelKind]],
        ONE_OR_MANY,
        Option(OUTPUTS, repeat=True),
    ] = EMPTY
    """Labelled videos. full: the whole video with its predictions drawn; snippet: the 30 s with
    the highest motion energy."""
    worst: Annotated[Count | None, Option(OUTPUTS, default="none")] = None
    """Cut and draw clips of this many of the worst-looking moments of each video; with --eks, of
    the smoothed predictions where there are any."""
    legend: Annotated[Flag, Option(OUTPUTS, ("--legend/--no-legend",))] = True
    """Show the names of the keypoints beside the picture in labelled videos."""
    skeleton: Annotated[LocalPlace, Option(OUTPUTS, default="data.skeleton in the config")] = (
        NOTHING
    )
    """Draw lines between keypoints in labelled videos: a YAML file with a list of pairs named
    skeleton, such as DeepLabCut's config.yaml."""
    trail: Annotated[Trail, Option(OUTPUTS)] = 0
    """Draw the path of each keypoint over this many past frames in labelled videos."""
    colors: Annotated[Colors, Option(OUTPUTS)] = "keypoint"
    """Colours in labelled videos. keypoint: colours that colour-blind people can tell apart, the
    same for a keypoint in every video; colormap: those of eval.colormap in the model's config."""
    eks: Annotated[Flag, Option(OUTPUTS, ("--eks/--no-eks",))] = False
    """Smooth the ensemble of all models with EKS."""
    timestamps: Annotated[Flag, Option(OUTPUTS)] = False
    """Write the time and status of each frame for every video, not only for damaged ones."""
    formats: Annotated[
        Takes[tuple[FormatName, ...], FormatName | Iterable[FormatName]],
        ONE_OR_MANY,
        Option(OUTPUTS, ("--format",), repeat=True),
    ] = EMPTY
    """Write tables in this format too, beside the CSV: parquet, h5 (DeepLabCut), nwb, slp (SLEAP)
    or coco."""
    strict: Annotated[Flag, Option(OUTPUTS)] = False
    """Fail a video that has suspect, corrupt or missing frames."""
    snippet_s: Seconds = 30.0
    """Length of a snippet in seconds."""
    worst_s: Seconds = 2.0
    """Length of a clip of a worst moment in seconds."""

    recursive: Annotated[Flag, Option(VIEWS)] = False
    """Look for videos in subdirectories too."""
    bbox_dir: Annotated[LocalPlace, Option(VIEWS)] = NOTHING
    """Directory with a bounding box for each frame of a video, in <video>_bbox.csv; networks see
    only that part of the frame."""

    precision: Annotated[Precision, Option(_SPEED)] = "auto"
    """Precision of the networks' computations."""
    runtime: Annotated[Runtime, Option(_SPEED)] = "torch"
    """What runs the networks; onnx and tensorrt need models exported by litpose export."""
    batch_size: Annotated[Count | None, Option(_SPEED, default="chosen")] = None
    """Frames per batch."""
    decoder: Annotated[Literal["cpu", "nvdec"], Option(_SPEED)] = "cpu"
    """What decodes videos for the networks; nvdec, a GPU's decoder, is experimental."""
    encoder: Annotated[Literal["x264", "nvenc"], Option(_SPEED)] = "x264"
    """What encodes labelled videos; nvenc, a GPU's encoder, is not yet tested on a GPU."""
    chunk_frames: Annotated[Count, Option(_SPEED)] = 50_000
    """Longest range of frames in one GPU task."""

    @property
    def gpu_encoder(self) -> bool:
        return self.encoder == "nvenc"

    @field_validator("models")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one is needed")
        return value

    @field_validator("label")
    @classmethod
    def _ordered(cls, value: tuple[LabelKind, ...]) -> tuple[LabelKind, ...]:
        return tuple(sorted(set(value)))  # full, snippet

    @field_validator("formats")
    @classmethod
    def _once(cls, value: tuple[FormatName, ...]) -> tuple[FormatName, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if not self.videos and self.sessions is None:
            raise ValueError("videos: at least one is needed")
        if self.videos and self.sessions is not None:
            raise ValueError("--sessions names the videos: give no others with it")
        if self.eks and self.output_dir is None and self.eks_dir is None:
            message = "--eks needs a place for its tables: give --eks-dir, or -o for all outputs"
            raise ValueError(message)
        if self.runtime != "torch" and self.precision == "bf16":
            message = "has no bf16: Lightning Pose exports fp32 and fp16"
            raise ValueError(f"--runtime {self.runtime} {message}")
        if self.runtime == "tensorrt" and self.device == "cpu":
            raise ValueError("--runtime tensorrt needs a GPU and can't be used with --device cpu")
        return self

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
        """A RunConfig from a YAML file of the same names; `overrides` win over the file.

        Raises:
            UsageError: the file can't be read, or a value is missing or makes no sense.
        """
        values, given = read_yaml(path), dict(overrides or {})
        merged = {"models": (), **values, **given}
        if isinstance(values.get("eks_options"), dict) and "eks_options" in given:
            merged["eks_options"] = {**values["eks_options"], **given["eks_options"]}
        overridden: set[tuple[int | str, ...]] = {(name,) for name in given}
        overridden |= {("eks_options", name) for name in given.get("eks_options", ())}

        def name_of(field: FieldPath) -> str:
            return option_name(cls, field) if field in overridden else ".".join(field)

        try:
            return cls(**merged)
        except UsageError as refusal:
            error = refusal.__cause__
            if not isinstance(error, ValidationError):
                raise
            refused = cls.refusal(error, merged, name_of)
            places = {item["loc"][:2] for item in error.errors(include_url=False)}
            if not places <= {(), *overridden}:
                refused.path = str(path)
            raise refused from None


class SmoothConfig(Settings):
    """What to smooth: existing tables of predictions."""

    predicts = False
    command = "smooth"

    tables: Annotated[Texts, Option("", ("tables",))]
    """Tables of Lightning Pose, DeepLabCut or SLEAP (CSV, HDF5), directories of them, model
    directories, or globs."""
    eks_dir: Annotated[Place, Option(OUTPUTS, ("--output-dir", "-o", "--eks-dir"))] = NOTHING
    """Directory or URL for the smoothed tables."""
    members: Annotated[Flag, Option(VIEWS)] = False
    """Treat all tables as members of one ensemble on the same video, whatever their names."""

    @model_validator(mode="after")
    def _complete(self) -> SmoothConfig:
        if not self.tables:
            raise ValueError("tables: at least one is needed")
        if self.eks_dir is None:
            raise ValueError("smoothed tables need a place: give one with -o")
        if self.members and (self.views or self.sessions is not None or self.calibration):
            others = "--views, --sessions and --calibration"
            raise ValueError(f"--members takes the tables of a single video: leave out {others}")
        return self

    @property
    def root(self) -> AnyPath:
        assert self.eks_dir is not None, "checked by `_complete`"
        return self.eks_dir


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a `run.yaml`, with the names of `RunConfig`.

    Raises:
        UsageError: the file can't be read, is no YAML, or holds no mapping.
    """
    content = load_yaml(Path(path))
    if not isinstance(content, dict):
        hint = "Write one `name: value` per line, with the names of the command line's options."
        raise UsageError("holds no settings", path=path, hint=hint)
    return fields_of(RunConfig, content, path)
