"""RunConfig: everything a run needs to know, as it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ValidationError, field_validator, model_validator

from raypose.config.options import Option, fields_of, option_name
from raypose.config.schemas import Allowed, FieldPath
from raypose.config.settings import MODELS, OUTPUTS, VIEWS, Settings
from raypose.config.types import (
    EMPTY,
    NOTHING,
    ONE_OR_MANY,
    Count,
    Flag,
    LocalPlace,
    Place,
    Seconds,
    Takes,
    Texts,
)
from raypose.errors import UsageError

LabelKind = Literal["full", "snippet"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Runtime = Literal["torch", "onnx", "tensorrt"]
Decoder = Literal["cpu", "nvdec"]
Encoder = Literal["x264", "nvenc"]

_SPEED = "Speed"


class RunConfig(Settings):
    """What to run: models × videos, what to make of them, where, and on what.

    Raises:
        UsageError: a value is missing or makes no sense.
    """

    predicts = True

    videos: Annotated[Texts, Option("", ("videos",))] = EMPTY
    """Video files, directories, globs or URLs."""
    models: Annotated[Texts, Option(MODELS, ("--model", "-m"), repeat=True)]
    """Directory or URL of a trained model; of each member, for an ensemble."""
    data_dir: Annotated[LocalPlace, Option(MODELS)] = NOTHING
    """The training data, which PCA metrics need, if no longer where the model's config says."""
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
    """Directory or URL of all outputs."""
    metrics: Annotated[Flag, Option(OUTPUTS, ("--metrics/--no-metrics",))] = True
    """Compute temporal norm and PCA errors."""
    label: Annotated[
        Takes[tuple[LabelKind, ...], LabelKind | Iterable[LabelKind]],
        ONE_OR_MANY,
        Option(OUTPUTS, repeat=True),
    ] = EMPTY
    """Labelled videos. full: the whole video with its predictions drawn; snippet: the 30 s with
    the highest motion energy."""
    eks: Annotated[Flag, Option(OUTPUTS, ("--eks/--no-eks",))] = False
    """Smooth the ensemble of all models with EKS."""
    timestamps: Annotated[Flag, Option(OUTPUTS)] = False
    """Write time and status of each frame for every video, not only for damaged ones."""
    strict: Annotated[Flag, Option(OUTPUTS)] = False
    """Fail a video that has a suspect, corrupt or missing frame."""
    snippet_s: Seconds = 30.0
    """Length of a snippet in seconds."""

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
    decoder: Annotated[Decoder, Option(_SPEED)] = "cpu"
    """What decodes videos for the networks; nvdec, a GPU's decoder, is not yet tested on a GPU."""
    encoder: Annotated[Encoder, Option(_SPEED)] = "x264"
    """What encodes labelled videos; nvenc, a GPU's encoder, is not yet tested on a GPU."""
    chunk_frames: Annotated[Count, Option(_SPEED)] = 50_000
    """Longest range of frames that is one GPU task."""

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
    def from_yaml(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
        """A RunConfig from a YAML file of the same names; `overrides` win over the file.

        Raises:
            UsageError: the file can't be read, or a value is missing or makes no sense.
        """
        values, given = read_yaml(path), dict(overrides or {})
        merged = {"models": (), **values, **given}
        if isinstance(values.get("eks_options"), dict) and "eks_options" in given:
            merged["eks_options"] = {**values["eks_options"], **given["eks_options"]}

        def is_given(field: FieldPath) -> bool:
            """Whether `overrides` set this field."""
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
            refused = cls.refusal(
                error,
                merged,
                lambda field: option_name(cls, field) if is_given(field) else ".".join(field),
            )
            places = [tuple(map(str, item["loc"])) for item in error.errors(include_url=False)]
            if not all(is_given(place[:1]) and is_given(place[:2]) for place in places):
                refused.path = str(path)
            raise refused from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a `run.yaml`, with the names of `RunConfig`.

    Raises:
        UsageError: the file can't be read, is no YAML, or holds no mapping.
    """
    from raypose.config.yaml_files import load_yaml

    content = load_yaml(Path(path))
    if not isinstance(content, dict):
        hint = "Write one `name: value` per line, with the names of the command line's options."
        raise UsageError("holds no settings", path=path, hint=hint)
    return fields_of(RunConfig, content, path)
