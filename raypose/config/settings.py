"""What was asked for: `RunConfig`, `SmoothConfig`, and the settings that they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from raypose.config.eks_options import EksOptions
from raypose.config.files import read_settings
from raypose.config.options import Checked, Option, option_name, options_of
from raypose.config.panels import ADVANCED, CLUSTER, COMPUTING, EKS, INPUTS, OUTPUTS, PANELS
from raypose.config.schemas import Allowed, FieldPath
from raypose.config.types import (
    EACH_ONCE,
    EMPTY,
    NOTHING,
    ONE_OR_MANY,
    ONE_OR_MANY_SCHEMA,
    WORDS,
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
    one_or_many,
)
from raypose.errors import UsageError
from raypose.storage import AnyPath
from raypose.storage.layout import Layout

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from typing_extensions import Self

Device = Literal["auto", "cpu", "cuda"]
LabelKind = Literal["full", "snippet"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Runtime = Literal["torch", "onnx", "tensorrt"]
Colors = Literal["keypoint", "colormap"]
FormatName = Literal["parquet", "h5", "nwb", "slp", "coco"]
FormatNames = Annotated[Takes[tuple[FormatName, ...], Any], WORDS, EACH_ONCE]
_CsvToo = Literal["csv", FormatName]
_FORMAT = f"({'|'.join(get_args(_CsvToo))})"
_MoreFormats = Annotated[
    Takes[tuple[_CsvToo, ...], _CsvToo | Iterable[_CsvToo]],
    WORDS,
    EACH_ONCE,
    AfterValidator(lambda names: tuple(name for name in names if name != "csv")),  # in any case
    one_or_many({"type": "string", "pattern": rf"^{_FORMAT}( *, *{_FORMAT})*$"}),
]

_RUN_DIRS = "raypose/ in -o; ./raypose-runs/<date> without -o or if it is a URL"
_ADDRESS = Allowed("auto, local or HOST:PORT", "auto|local|HOST:PORT")
_SECTION = Allowed("a section with the options of EKS")
_AS_EKS: Any = EksOptions()


def _fraction(value: Any) -> Any:
    return tuple(value.split("/")) if isinstance(value, str) else value


class Settings(Checked):
    """The common settings; see `RunConfig` and `SmoothConfig`."""

    predicts: ClassVar[bool]
    """Whether networks run, and GPUs are wanted."""

    eks_dir: Annotated[Place, Option(EKS, metavar="DIR")] = NOTHING
    """Directory or URL for the smoothed tables."""
    run_dir: Annotated[LocalPlace, Option(OUTPUTS, default=_RUN_DIRS, metavar="DIR")] = NOTHING
    """Directory for the run's settings, log and report."""
    layout: Annotated[Layout, Option(ADVANCED)] = "app"
    """File names: app as the Lightning Pose app (video_preds), pose-app as the older Pose-app
    (video_preds_infer)."""
    report: Annotated[Flag, Option(OUTPUTS, ("--report/--no-report",))] = True
    """Write a report: report.html in the run directory."""
    overwrite: Annotated[Flag, Option(OUTPUTS)] = False
    """Redo finished outputs."""

    views: Annotated[Names, Option(INPUTS)] = EMPTY
    """Camera views, as in top,side: videos whose names differ only in this part belong to one
    recording."""
    sessions: Annotated[LocalPlace, Option(INPUTS, metavar="FILE")] = NOTHING
    """CSV that lists the recordings: a column session, and one column per view."""
    calibration: Annotated[LocalPlace, Option(EKS, metavar="FILE")] = NOTHING
    """Anipose calibration of the cameras (calibration.toml), for 3-D keypoints."""
    allow_unsafe_checkpoint: Annotated[Flag, Option(ADVANCED, networks=True)] = False
    """Load checkpoints that need full unpickling, which can run any code: only for files that you
    trust."""

    device: Annotated[Device, Option(COMPUTING, networks=True)] = "auto"
    """Where networks run; auto uses a GPU if there is one."""
    gpus: Annotated[Count | None, Option(COMPUTING, default="all", networks=True)] = None
    """Number of GPUs to use."""
    workers_per_gpu: Annotated[Count, Option(ADVANCED, networks=True)] = 1
    """Worker processes that share a GPU."""
    address: Annotated[str | None, _ADDRESS, Option(CLUSTER, default="local")] = None
    """Ray cluster to join; auto is the one on this machine, and local starts one for this run."""
    cpus: Annotated[Count | None, Option(COMPUTING, default="all")] = None
    """Number of CPU cores to use, of those available to this process."""
    inline: Annotated[Flag, Option(COMPUTING)] = False
    """Run everything in this process, without Ray: one step after another, on one GPU at most."""
    stall_timeout_s: Annotated[Seconds, Option(CLUSTER, ("--stall-timeout",))] = 600.0
    """Stop a task after this time without progress, and try it on another worker."""
    scratch_dir: Annotated[
        LocalPlace, Option(CLUSTER, default="temporary directory", metavar="DIR")
    ] = NOTHING
    """Local directory for copies of videos that come from a URL."""
    scratch_gb: Annotated[Gigabytes | None, Option(CLUSTER, default="free space")] = None
    """Most space that these copies may take on each machine."""
    shard: Annotated[
        Takes[tuple[int, int] | None, str | tuple[int, int] | None],
        BeforeValidator(_fraction),
        Allowed("I/N, with I from 0 to N − 1", "I/N"),
        WithJsonSchema({"type": ["string", "array", "null"], "items": {"type": "integer"}}),
        Option(CLUSTER),
    ] = NOTHING
    """Process only part I of N of the recordings, counted from 0."""
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

    @classmethod
    def nothing_given(cls) -> dict[str, Any]:
        """Required fields, empty: the config then says in its own words that they are missing."""
        return {name: () for name, field in cls.model_fields.items() if field.is_required()}

    @classmethod
    def from_file(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """A config from a file, as `files.read_settings` reads it; `overrides` win over the file.

        Raises:
            UsageError: the file can't be read, or a value is missing or makes no sense.
        """
        values, given = read_settings(path, cls), dict(overrides or {})
        merged = {**cls.nothing_given(), **values, **given}
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


def options_in_order(config: type[Settings]) -> list[tuple[FieldPath, FieldInfo, Option]]:
    """All options of a config's command, by their panels; the settings of the command itself come
    first, except where the common ones are better known."""
    common = set(Settings.model_fields) - set(config.__annotations__)
    used = [o for o in options_of(config) if config.predicts or not o[2].networks]
    found = sorted(used, key=lambda o: (o[0][0] in common) != (o[2].panel == COMPUTING))
    return sorted(found, key=lambda option: PANELS.index(option[2].panel))


class RunConfig(Settings):
    """What to run: models × videos, what to make of them, where, and on what."""

    predicts = True

    videos: Annotated[Texts, Option(INPUTS, ("videos",), values="videos")] = EMPTY
    """Video files, directories, globs or URLs."""
    models: Annotated[
        Texts,
        Option(INPUTS, ("--model", "-m"), repeat=True, metavar="DIR", values="models"),
    ]
    """Directory or URL of a trained model; give each member of an ensemble."""
    data_dir: Annotated[LocalPlace, Option(INPUTS, metavar="DIR")] = NOTHING
    """Directory of the training data, which PCA metrics need, if it has moved since training."""
    overrides: Annotated[
        Takes[tuple[str, ...], str | Iterable[str]],
        ONE_OR_MANY,
        Allowed("key=value, or a list of them", "KEY=VALUE"),
        ONE_OR_MANY_SCHEMA,
        Option(ADVANCED, ("--override",), repeat=True),
    ] = EMPTY
    """Change an entry of the models' configs; +KEY=VALUE adds one."""

    output_dir: Annotated[
        Place,
        Option(OUTPUTS, ("--output-dir", "-o"), "the model directories", metavar="DIR"),
    ] = NOTHING
    """Directory or URL for all outputs."""
    metrics: Annotated[Flag, Option(OUTPUTS, ("--metrics/--no-metrics",))] = True
    """Write temporal norm, PCA errors if the config asks for them, and a summary of quality."""
    label: Annotated[
        Takes[tuple[LabelKind, ...], LabelKind | Iterable[LabelKind]],
        ONE_OR_MANY,
        one_or_many({"enum": list(get_args(LabelKind))}),
        Option(OUTPUTS, repeat=True),
    ] = EMPTY
    """Labelled videos. full: the whole video with its predictions drawn; snippet: the 30 s with
    the highest motion energy."""
    worst: Annotated[Count | None, Option(OUTPUTS, default="none")] = None
    """Cut and draw clips of this many of the worst-looking moments of each video; with --eks, of
    the smoothed predictions where there are any."""
    legend: Annotated[Flag, Option(OUTPUTS, ("--legend/--no-legend",))] = True
    """Show the names of the keypoints beside the picture in labelled videos."""
    skeleton: Annotated[
        LocalPlace, Option(OUTPUTS, default="data.skeleton in the config", metavar="FILE")
    ] = NOTHING
    """Draw lines between keypoints in labelled videos: a YAML file with a list of pairs named
    skeleton, such as DeepLabCut's config.yaml."""
    trail: Annotated[Trail, Option(OUTPUTS)] = 0
    """Draw the path of each keypoint over this many past frames in labelled videos."""
    colors: Annotated[Colors, Option(OUTPUTS)] = "keypoint"
    """Colours in labelled videos. keypoint: colours that colour-blind people can tell apart, the
    same for a keypoint in every video; colormap: those of eval.colormap in the model's config."""
    eks: Annotated[Flag, Option(EKS, ("--eks/--no-eks",))] = False
    """Smooth the ensemble of all models with EKS."""
    timestamps: Annotated[Flag, Option(ADVANCED)] = False
    """Write the time and status of each frame for every video, not only for damaged ones."""
    formats: Annotated[_MoreFormats, Option(OUTPUTS, ("--format",), repeat=True)] = EMPTY
    """Write tables in this format too, beside the CSV, which is written in any case; h5 is
    DeepLabCut's, slp SLEAP's. Several with commas between, as in nwb,slp."""
    strict: Annotated[Flag, Option(ADVANCED)] = False
    """Fail a video that has suspect, corrupt or missing frames."""
    snippet_s: Seconds = 30.0
    """Length of a snippet in seconds."""
    worst_s: Seconds = 2.0
    """Length of a clip of a worst moment in seconds."""

    recursive: Annotated[Flag, Option(INPUTS)] = False
    """Look for videos in subdirectories too."""
    bbox_dir: Annotated[LocalPlace, Option(INPUTS, metavar="DIR")] = NOTHING
    """Directory with a bounding box for each frame of a video, in <video>_bbox.csv; networks see
    only that part of the frame."""

    precision: Annotated[Precision, Option(COMPUTING)] = "auto"
    """Precision of the networks; auto is fp32. bf16 and fp16 move keypoints."""
    runtime: Annotated[Runtime, Option(COMPUTING)] = "torch"
    """What runs the networks; onnx and tensorrt need models exported by litpose export, and are
    experimental on a GPU."""
    batch_size: Annotated[Count | None, Option(COMPUTING, default="chosen")] = None
    """Frames per batch."""
    decoder: Annotated[Literal["cpu", "nvdec"], Option(ADVANCED)] = "cpu"
    """What decodes videos for the networks; nvdec, a GPU's decoder, is experimental."""
    encoder: Annotated[Literal["x264", "nvenc"], Option(ADVANCED)] = "x264"
    """What encodes labelled videos; nvenc, a GPU's encoder, is experimental."""
    chunk_frames: Annotated[Count, Option(ADVANCED)] = 50_000
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


class SmoothConfig(Settings):
    """What to smooth: existing tables of predictions."""

    predicts = False
    command = "smooth"

    tables: Annotated[Texts, Option(INPUTS, ("tables",))]
    """Tables of Lightning Pose, DeepLabCut or SLEAP (CSV, HDF5), directories of them, model
    directories, or globs."""
    eks_dir: Annotated[
        Place, Option(OUTPUTS, ("--output-dir", "-o", "--eks-dir"), metavar="DIR")
    ] = NOTHING
    """Directory or URL for the smoothed tables."""
    members: Annotated[Flag, Option(INPUTS)] = False
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
