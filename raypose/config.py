"""RunConfig: everything a run needs to know, frozen, and checked when it is built.

The command line, a YAML file and a notebook all end here. It holds what was asked for, not what
was found: directories are opened, videos indexed and GPUs counted further up the house.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from raypose.errors import UsageError
from raypose.storage import AnyPath, as_path, is_url

if TYPE_CHECKING:
    from typing_extensions import Self

LabelKind = Literal["full", "snippet"]
Layout = Literal["app", "pose-app"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Runtime = Literal["torch", "onnx", "tensorrt"]
Device = Literal["auto", "cpu", "cuda"]
Decoder = Literal["cpu", "nvdec"]
Encoder = Literal["x264", "nvenc"]
EksMode = Literal["auto", "singlecam", "mirrored", "multicam", "calibrated", "pupil"]


def _place(value: Any) -> Any:
    return None if value is None else as_path(value)


def _local_place(value: Any) -> Any:
    if value is not None and is_url(value):
        raise ValueError("is read and written as a directory, and can't be a URL")
    return _place(value)


def _named(value: Any) -> str | None:
    return None if value is None else str(value)


# Workers may run in another directory than the one that a path was written in: all are absolute.
Place = Annotated[AnyPath | None, BeforeValidator(_place), PlainSerializer(_named)]
LocalPlace = Annotated[Path | None, BeforeValidator(_local_place), PlainSerializer(_named)]


class EksOptions(BaseModel):
    """How an ensemble is smoothed; the defaults are those of the `eks` package."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: EksMode | None = Field(
        default=None,
        description="What of a recording is smoothed together; without it one video as one "
        "camera, and several views together.",
    )
    smooth_param: float | dict[str, float] | None = Field(
        default=None,
        description="Variance of a step from frame to frame in pixels squared: a number, or one "
        "a keypoint; chosen by maximum likelihood if absent. Smaller values smooth more.",
    )
    s_frames: tuple[tuple[int | None, int | None], ...] = Field(
        default=(), description="Ranges of frames that the choice looks at; all if absent."
    )
    blocks: tuple[tuple[str, ...], ...] = Field(
        default=(), description="Groups of keypoints that share a smoothing parameter."
    )
    keypoints: tuple[str, ...] = Field(default=(), description="Keypoints to smooth; else all.")
    mirrored: tuple[str, ...] = Field(
        default=(), description="Last parts of the keypoints' names that tell mirrored views."
    )
    avg_mode: Literal["median", "mean"] = "median"
    var_mode: Literal["confidence_weighted_var", "var"] = "confidence_weighted_var"
    inflate_vars: bool = Field(
        default=False, description="Weigh less what disagrees with the other views."
    )
    quantile_keep_pca: float = Field(
        default=95.0, gt=0, le=100, description="Percentage of frames that the views' PCA takes."
    )
    n_latent: int = Field(default=3, ge=3, description="Dimensions of the views' subspace.")
    min_members: int | None = Field(
        default=None, ge=2, description="Members that are enough; all of them if absent."
    )

    @property
    def takes_calibration(self) -> bool:
        """Whether several views are smoothed through their calibration, where there is one."""
        return self.mode in (None, "auto", "calibrated")

    @field_validator("smooth_param", mode="before")
    @classmethod
    def _number_or_each(cls, value: Any) -> Any:
        """`2.5`, or `nose=2.5,paw=4` as the command line writes it."""
        if isinstance(value, str) and "=" in value:
            return dict(part.split("=", 1) for part in _parts(value) if "=" in part)
        return value

    @field_validator("smooth_param")
    @classmethod
    def _above_zero(cls, value: float | dict[str, float] | None) -> Any:
        values = value.values() if isinstance(value, dict) else () if value is None else (value,)
        if not all(v > 0 for v in values):
            raise ValueError("must be above 0")
        return value

    @field_validator("s_frames", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> Any:
        """`0:500,1000:` as the command line writes it."""
        if not isinstance(value, str):
            return value
        pairs = [part.partition(":")[::2] for part in _parts(value)]
        return tuple((start.strip() or None, stop.strip() or None) for start, stop in pairs)

    @field_validator("blocks", mode="before")
    @classmethod
    def _groups(cls, value: Any) -> Any:
        return tuple(_parts(v) if isinstance(v, str) else v for v in value)

    @field_validator("keypoints", "mirrored", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return _parts(value) if isinstance(value, str) else value


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class Settings(BaseModel):
    """What `run` and `smooth` have in common: recordings, EKS, where files go, what to run on.

    Raises:
        UsageError: from `build`, when a value is missing or makes no sense.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    eks_options: EksOptions = EksOptions()
    views: tuple[str, ...] = Field(
        default=(),
        description="Camera views, by which the videos of one recording belong together.",
    )
    sessions: LocalPlace = Field(
        default=None, description="CSV of the recordings: `session`, and a column a view."
    )
    calibration: LocalPlace = Field(
        default=None, description="Anipose calibration of the views, for points in space."
    )
    shard: tuple[int, int] | None = Field(
        default=None, description="I/N: the I-th of N parts of the recordings, I from 0."
    )

    eks_dir: Place = Field(default=None, description="Where smoothed tables go.")
    run_dir: LocalPlace = Field(default=None, description="Where ledger, log and report go.")
    layout: Layout = "app"
    overwrite: bool = Field(default=False, description="Make again what is done already.")

    device: Device = "auto"
    gpus: int | None = Field(default=None, ge=1, description="GPUs to use; all if absent.")
    workers_per_gpu: int = Field(default=1, ge=1, description="Workers that share a GPU.")
    address: str | None = Field(default=None, description="Ray cluster: auto, HOST:PORT or local.")
    inline: bool = Field(default=False, description="One process, without Ray.")
    scratch_dir: LocalPlace = Field(default=None, description="Local disk for copies of objects.")
    scratch_gb: float | None = Field(default=None, gt=0, description="Most to take there, in GB.")
    allow_unsafe_checkpoint: bool = False

    @field_validator("views", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("shard", mode="before")
    @classmethod
    def _fraction(cls, value: Any) -> Any:
        return tuple(value.split("/")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.views and self.sessions is not None:
            raise ValueError("--sessions names the views: leave out --views")
        if len(set(self.views)) < len(self.views) or len(self.views) == 1:
            raise ValueError("views: two or more are needed, each named once")
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            raise ValueError("shard: I/N is needed, with I from 0 to N − 1")
        if self.inline and self.address not in (None, "local"):
            raise ValueError("--inline runs without Ray and can't be used with --address")
        return self

    @classmethod
    def build(cls, **values: Any) -> Self:
        """From keyword arguments; what is wrong comes as one `UsageError`."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UsageError(_sentence(error), hint=f"See raypose {cls._command} --help") from None

    predicts: ClassVar[bool]
    """Whether networks run, and GPUs are wanted."""

    @property
    def gpu_encoder(self) -> bool:
        """Whether CPU workers encode on GPUs, and so must see them."""
        return False

    _command: ClassVar[str]


class SmoothConfig(Settings):
    """What to smooth: tables of predictions that are there already."""

    predicts = False
    _command = "smooth"

    tables: tuple[str, ...] = Field(description="Tables, directories of tables or models, globs.")

    @model_validator(mode="after")
    def _complete(self) -> SmoothConfig:
        if not self.tables:
            raise ValueError("tables: at least one is needed")
        if self.eks_dir is None:
            raise ValueError("smoothed tables need a place: give one with -o")
        return self

    @property
    def root(self) -> AnyPath:
        """Directory of the outputs."""
        assert self.eks_dir is not None, "the settings were checked when they were built"
        return self.eks_dir


class RunConfig(Settings):
    """What to run: models × videos, what to make of them, where, and on what.

    Raises:
        UsageError: from `build` and `from_yaml`, when a value is missing or makes no sense.
    """

    predicts = True
    _command = "run"

    videos: tuple[str, ...] = Field(description="Files, directories or globs.")
    models: tuple[str, ...] = Field(description="Model directories.")

    metrics: bool = Field(default=True, description="Temporal norm and PCA errors.")
    label: tuple[LabelKind, ...] = Field(default=(), description="Labelled videos to draw.")
    encoder: Encoder = Field(default="x264", description="What encodes labelled videos.")
    timestamps: bool = Field(
        default=False,
        description="The time and status of each frame of every video, not only of damaged ones.",
    )
    eks: bool = Field(default=False, description="Smooth the ensemble of all models.")
    bbox_dir: LocalPlace = Field(
        default=None, description="Where `<stem>_bbox.csv` say what part of a frame to look at."
    )
    snippet_s: float = Field(default=30.0, gt=0, description="Length of a snippet in seconds.")

    output_dir: Place = Field(default=None, description="Root of all outputs.")
    data_dir: LocalPlace = Field(default=None, description="Training data, for PCA metrics.")
    recursive: bool = Field(default=False, description="Search directories at all depths.")
    overrides: tuple[str, ...] = Field(default=(), description="key=value on the models' config.")

    precision: Precision = "auto"
    decoder: Decoder = Field(default="cpu", description="What decodes videos for the network.")
    runtime: Runtime = Field(
        default="torch",
        description="What runs the networks: torch, or what Lightning Pose has exported.",
    )
    batch_size: int | None = Field(default=None, ge=1, description="Frames a batch.")
    strict: bool = Field(
        default=False, description="A frame that is suspect, corrupt or missing fails its video."
    )
    chunk_frames: int = Field(
        default=50_000, ge=1, description="Longest range of frames that is one GPU task."
    )

    @property
    def gpu_encoder(self) -> bool:
        return self.encoder == "nvenc"

    @field_validator("models")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one is needed")
        return value

    @field_validator("models", "videos", "label", "overrides", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        # `label: full` in a file means the same as `--label full`.
        return (value,) if isinstance(value, str) else value

    @field_validator("label")
    @classmethod
    def _ordered(cls, value: tuple[LabelKind, ...]) -> tuple[LabelKind, ...]:
        order: tuple[LabelKind, ...] = ("full", "snippet")
        return tuple(kind for kind in order if kind in value)

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if not self.videos and self.sessions is None:
            raise ValueError("videos: at least one is needed")
        if self.videos and self.sessions is not None:
            raise ValueError("--sessions names the videos: give no others with it")
        if self.eks and self.output_dir is None and self.eks_dir is None:
            raise ValueError(
                "--eks needs a place for its tables: give --eks-dir, or -o for all outputs"
            )
        if self.runtime != "torch" and self.precision == "bf16":
            raise ValueError(
                f"--runtime {self.runtime} has no bf16: Lightning Pose exports fp32 and fp16"
            )
        if self.runtime == "tensorrt" and self.device == "cpu":
            raise ValueError("--runtime tensorrt needs a GPU and can't be used with --device cpu")
        return self

    @classmethod
    def from_yaml(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
        """A RunConfig from a YAML file of the same names; `overrides` win over the file."""
        values, given = read_yaml(path), dict(overrides or {})
        if isinstance(values.get("eks_options"), dict) and "eks_options" in given:
            given["eks_options"] = {**values["eks_options"], **given["eks_options"]}
        return cls.build(**{**values, **given})


_OPTION_NAMES = {"model": "models", "override": "overrides"}
"""Fields that the command line calls by another name."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a `run.yaml`, with the names of `RunConfig`.

    Raises:
        UsageError: the file can't be read, is no YAML, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't be read ({error.strerror})", path=path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"is not YAML ({error})", path=path) from None
    if not isinstance(content, dict):
        raise UsageError(
            "holds no settings",
            path=path,
            hint="Write one `name: value` a line, with the names of the command line's options.",
        )
    names = {key: str(key).replace("-", "_") for key in content}
    return {_OPTION_NAMES.get(name, name): content[key] for key, name in names.items()}


def _sentence(error: ValidationError) -> str:
    """Pydantic's findings in one line, in the words of the command line."""
    parts = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in item["loc"])
        parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts)
