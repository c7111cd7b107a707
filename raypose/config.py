"""RunConfig: everything a run needs to know, frozen, and checked when it is built.

The command line, a YAML file and a notebook all end here. It holds what was asked for, not what
was found: directories are opened, videos indexed and GPUs counted further up the house.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from raypose.errors import UsageError

LabelKind = Literal["full", "snippet"]
Layout = Literal["app", "pose-app"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]


class EksOptions(BaseModel):
    """How an ensemble is smoothed; the defaults are those of the `eks` package."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smooth_param: float | None = Field(
        default=None,
        gt=0,
        description="Process noise; chosen for each keypoint if absent.",
    )
    avg_mode: Literal["median", "mean"] = "median"
    var_mode: Literal["confidence_weighted_var", "var"] = "confidence_weighted_var"


class RunConfig(BaseModel):
    """What to run: models × videos, what to make of them, where, and on what.

    Raises:
        UsageError: from `build` and `from_yaml`, when a value is missing or makes no sense.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: tuple[str, ...] = Field(description="Files, directories or globs.")
    models: tuple[str, ...] = Field(description="Model directories.")

    metrics: bool = Field(default=True, description="Temporal norm and PCA errors.")
    label: tuple[LabelKind, ...] = Field(default=(), description="Labelled videos to draw.")
    timestamps: bool = Field(default=False, description="A table of each frame's time.")
    eks: bool = Field(default=False, description="Smooth the ensemble of all models.")
    eks_options: EksOptions = EksOptions()
    snippet_s: float = Field(default=30.0, gt=0, description="Length of a snippet in seconds.")

    output_dir: Path | None = Field(default=None, description="Root of all outputs.")
    eks_dir: Path | None = Field(default=None, description="Where smoothed tables go.")
    run_dir: Path | None = Field(default=None, description="Where ledger, log and report go.")
    data_dir: Path | None = Field(default=None, description="Training data, for PCA metrics.")
    layout: Layout = "app"
    recursive: bool = Field(default=False, description="Search directories at all depths.")
    overwrite: bool = Field(default=False, description="Make again what is done already.")
    overrides: tuple[str, ...] = Field(default=(), description="key=value on the models' config.")

    precision: Precision = "auto"
    device: Device = "auto"
    gpus: int | None = Field(default=None, ge=1, description="GPUs to use; all if absent.")
    batch_size: int | None = Field(default=None, ge=1, description="Frames a batch.")
    address: str | None = Field(default=None, description="Ray cluster: auto, HOST:PORT or local.")
    inline: bool = Field(default=False, description="One process, without Ray.")
    strict: bool = Field(default=False, description="An undecodable frame fails its video.")
    chunk_frames: int = Field(
        default=50_000, ge=1, description="Longest range of frames that is one GPU task."
    )
    allow_unsafe_checkpoint: bool = False

    @field_validator("models", "videos")
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

    @field_validator("output_dir", "eks_dir", "run_dir", "data_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # Workers may run in another directory than the one that the path was written in.
        return None if value is None else Path(os.path.abspath(os.path.expanduser(value)))

    @field_validator("label")
    @classmethod
    def _ordered(cls, value: tuple[LabelKind, ...]) -> tuple[LabelKind, ...]:
        order: tuple[LabelKind, ...] = ("full", "snippet")
        return tuple(kind for kind in order if kind in value)

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.eks and len(self.models) < 2:
            raise ValueError("--eks smooths an ensemble: give two or more models with -m")
        if self.eks and self.output_dir is None and self.eks_dir is None:
            raise ValueError(
                "--eks needs a place for its tables: give --eks-dir, or -o for all outputs"
            )
        if self.inline and self.address not in (None, "local"):
            raise ValueError("--inline runs without Ray and can't be used with --address")
        return self

    @classmethod
    def build(cls, **values: Any) -> RunConfig:
        """A RunConfig from keyword arguments; what is wrong comes as one `UsageError`."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UsageError(_sentence(error), hint="See raypose run --help") from None

    @classmethod
    def from_yaml(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
        """A RunConfig from a YAML file of the same names; `overrides` win over the file."""
        return cls.build(**{**read_yaml(path), **(overrides or {})})


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
