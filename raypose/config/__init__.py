"""RunConfig: everything a run needs to know, frozen, and checked when it is built.

The command line, a YAML file and a notebook all end here. It holds what was asked for, not what
was found: directories are opened, videos indexed and GPUs counted further up the house.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from raypose.config.eks_options import EksMode, EksOptions
from raypose.config.option_names import FieldPath, fields_of, option_name
from raypose.config.schemas import Allowed, finding
from raypose.config.types import (
    ONE_IS_A_LIST,
    Count,
    Flag,
    Gigabytes,
    LocalPlace,
    Names,
    Place,
    Seconds,
    Texts,
)
from raypose.config.yaml_files import load_yaml
from raypose.errors import UsageError
from raypose.storage import AnyPath
from raypose.storage.layout import Layout

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EksMode", "EksOptions", "RunConfig", "Settings", "SmoothConfig", "read_yaml"]

LabelKind = Literal["full", "snippet"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Runtime = Literal["torch", "onnx", "tensorrt"]
Device = Literal["auto", "cpu", "cuda"]
Decoder = Literal["cpu", "nvdec"]
Encoder = Literal["x264", "nvenc"]


def _fraction(value: Any) -> Any:
    return tuple(value.split("/")) if isinstance(value, str) else value


class Settings(BaseModel):
    """What `run` and `smooth` have in common: recordings, EKS, where files go, what to run on.

    Raises:
        UsageError: a value is missing or makes no sense.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    eks_options: Annotated[EksOptions, Allowed("a section with the options of EKS")] = EksOptions()
    views: Names = Field(
        default=(),
        description="Camera views, by which the videos of one recording belong together.",
    )
    sessions: LocalPlace = Field(
        default=None, description="CSV of the recordings: `session`, and a column a view."
    )
    calibration: LocalPlace = Field(
        default=None, description="Anipose calibration of the views, for points in space."
    )
    shard: Annotated[
        tuple[int, int] | None,
        BeforeValidator(_fraction),
        Allowed("I/N, with I from 0 to N − 1"),
    ] = Field(default=None, description="I/N: the I-th of N parts of the recordings, I from 0.")

    eks_dir: Place = Field(default=None, description="Where smoothed tables go.")
    run_dir: LocalPlace = Field(default=None, description="Where ledger, log and report go.")
    layout: Layout = "app"
    overwrite: Flag = Field(default=False, description="Redo finished outputs.")

    device: Device = "auto"
    stall_timeout_s: Seconds = Field(
        default=600.0,
        description="Seconds without progress after which a task is stopped and tried elsewhere.",
    )
    gpus: Count | None = Field(default=None, description="GPUs to use; all if absent.")
    cpus: Count | None = Field(
        default=None, description="CPU cores to use; all that this process may use if absent."
    )
    workers_per_gpu: Count = Field(default=1, description="Workers that share a GPU.")
    address: Annotated[str | None, Allowed("auto, local or HOST:PORT")] = Field(
        default=None, description="Ray cluster: auto, HOST:PORT or local."
    )
    inline: Flag = Field(default=False, description="One process, without Ray.")
    scratch_dir: LocalPlace = Field(default=None, description="Local disk for copies of objects.")
    scratch_gb: Gigabytes | None = Field(default=None, description="Most to take there, in GB.")
    allow_unsafe_checkpoint: Flag = False

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

    if not TYPE_CHECKING:  # so that editors see the fields as arguments

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise self._refused(error, values) from error

    @classmethod
    def _refused(
        cls,
        error: ValidationError,
        given: Mapping[str, Any],
        name_of: Callable[[FieldPath], str] = option_name,
    ) -> UsageError:
        message, guess = finding(error, cls, given=given, name_of=name_of)
        return UsageError(message, hint=f"{guess} See raypose {cls._command} --help".lstrip())

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

    tables: Texts = Field(description="Tables, directories of tables or models, globs.")
    members: Flag = Field(
        default=False, description="All tables are members of one video, whatever their names."
    )

    @model_validator(mode="after")
    def _complete(self) -> SmoothConfig:
        if not self.tables:
            raise ValueError("tables: at least one is needed")
        if self.eks_dir is None:
            raise ValueError("smoothed tables need a place: give one with -o")
        if self.members and (self.views or self.sessions is not None or self.calibration):
            raise ValueError(
                "--members takes the tables of a single video: leave out --views, --sessions and "
                "--calibration"
            )
        return self

    @property
    def root(self) -> AnyPath:
        """Directory of the outputs."""
        assert self.eks_dir is not None, "the settings were checked when they were built"
        return self.eks_dir


class RunConfig(Settings):
    """What to run: models × videos, what to make of them, where, and on what.

    Raises:
        UsageError: a value is missing or makes no sense.
    """

    predicts = True
    _command = "run"

    videos: Texts = Field(description="Files, directories or globs.")
    models: Texts = Field(description="Model directories.")

    metrics: Flag = Field(default=True, description="Temporal norm and PCA errors.")
    label: Annotated[tuple[LabelKind, ...], ONE_IS_A_LIST] = Field(
        default=(), description="Labelled videos to draw."
    )
    encoder: Encoder = Field(default="x264", description="What encodes labelled videos.")
    timestamps: Flag = Field(
        default=False,
        description="The time and status of each frame of every video, not only of damaged ones.",
    )
    eks: Flag = Field(default=False, description="Smooth the ensemble of all models.")
    bbox_dir: LocalPlace = Field(
        default=None, description="Where `<stem>_bbox.csv` say what part of a frame to look at."
    )
    snippet_s: Seconds = Field(default=30.0, description="Length of a snippet in seconds.")

    output_dir: Place = Field(default=None, description="Root of all outputs.")
    data_dir: LocalPlace = Field(default=None, description="Training data, for PCA metrics.")
    recursive: Flag = Field(default=False, description="Search directories at all depths.")
    overrides: Annotated[
        tuple[str, ...], ONE_IS_A_LIST, Allowed("key=value, or a list of them")
    ] = Field(default=(), description="key=value on the models' config.")

    precision: Precision = "auto"
    decoder: Decoder = Field(default="cpu", description="What decodes videos for the network.")
    runtime: Runtime = Field(
        default="torch",
        description="What runs the networks: torch, or what Lightning Pose has exported.",
    )
    batch_size: Count | None = Field(default=None, description="Frames per batch.")
    strict: Flag = Field(
        default=False, description="A frame that is suspect, corrupt or missing fails its video."
    )
    chunk_frames: Count = Field(
        default=50_000, description="Longest range of frames that is one GPU task."
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
        """A RunConfig from a YAML file of the same names; `overrides` win over the file.

        Raises:
            UsageError: the file can't be read, or a value is missing or makes no sense.
        """
        values, given = read_yaml(path), dict(overrides or {})
        merged = {"videos": (), "models": (), **values, **given}
        if isinstance(values.get("eks_options"), dict) and "eks_options" in given:
            merged["eks_options"] = {**values["eks_options"], **given["eks_options"]}

        def is_given(field: FieldPath) -> bool:
            """Whether the command line has set this field."""
            inside: Any = given
            for name in field:
                if not isinstance(inside, Mapping) or name not in inside:
                    return False
                inside = inside[name]
            return True

        try:
            return cls(**merged)
        except UsageError as refusal:
            error = refusal.__cause__
            if not isinstance(error, ValidationError):
                raise
            refused = cls._refused(
                error,
                merged,
                lambda field: option_name(field) if is_given(field) else ".".join(field),
            )
            places = [tuple(map(str, item["loc"])) for item in error.errors(include_url=False)]
            if not all(is_given(place[:1]) and is_given(place[:2]) for place in places):
                refused.path = str(path)
            raise refused from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a `run.yaml`, with the names of `RunConfig`.

    Raises:
        UsageError: the file can't be read, is no YAML, or holds no mapping.
    """
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(
            "holds no settings",
            path=path,
            hint="Write one `name: value` per line, with the names of the command line's options.",
        )
    return fields_of(content, path)
