"""The small values that travel through the house: model, video, owner of outputs, progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raypose.storage.identity import Identity

EKS = "eks"
"""Name of the smoothed ensemble among the owners of outputs."""

Skeleton = tuple[tuple[str, str], ...]
"""Pairs of keypoints that a line joins."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A network that Lightning Pose exported, which runs in place of the checkpoint's.

    Attributes:
        runtime: `onnx` or `tensorrt`.
        precision: `fp32` or `fp16`, as it was exported.
        files: paths of all its files, the `.onnx` file first.
        digest: of the files' bytes.
    """

    runtime: str
    precision: str
    files: tuple[str, ...]
    digest: str

    @property
    def path(self) -> str:
        """The `.onnx` file, which messages name."""
        return self.files[0]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A trained Lightning Pose model, as read from its directory.

    Attributes:
        name: the name used in output paths and displays; unique in a run.
        directory, checkpoint: absolute paths of the model and of the checkpoint in use.
        config_path: absolute path of `config.yaml` (or `.hydra/config.yaml`).
        fingerprint: digest of the checkpoint, the config's part on inference, and the export.
        model_type: `heatmap`, `regression`, `heatmap_mhcrnn` or `heatmap_multiview_transformer`.
        keypoint_names: in the order of the network's outputs.
        image_height, image_width: of the network's input, in pixels.
        view_names: camera views of a multi-view model; empty for a single view.
        confidence_threshold: likelihood above which a marker is drawn.
        colormap: matplotlib colormap that the config names for the markers.
        skeleton: pairs of keypoints that a line joins, as the config names them.
        losses: unsupervised losses the model was trained with (they name the PCA metrics).
        config: the whole config as plain containers.
        overrides: the user's overrides of the config, `("key=value", …)`, already applied.
        exported: the exported network that predicts; None if torch does.
        checkpoint_digest: of its bytes as the plan saw them; empty where any will do.
    """

    name: str
    directory: str
    config_path: str
    checkpoint: str
    fingerprint: str
    model_type: str
    backbone: str
    keypoint_names: tuple[str, ...]
    image_height: int
    image_width: int
    view_names: tuple[str, ...] = ()
    confidence_threshold: float = 0.9
    colormap: str = "cool"
    skeleton: tuple[tuple[str, str], ...] = ()
    losses: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    overrides: tuple[str, ...] = ()
    exported: ExportedModel | None = None
    checkpoint_digest: str = ""

    @property
    def takes_views(self) -> bool:
        """Whether the network looks at all views of a recording at once."""
        return self.model_type == "heatmap_multiview_transformer"

    @property
    def scorer(self) -> str:
        """The scorer in the header of prediction tables, as Lightning Pose names it."""
        return f"{self.model_type}_tracker"


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """A video of a run, as the plan saw it. Its frames are described by a `VideoIndex`.

    Of the video of existing tables nothing but its name is known.

    Attributes:
        path: absolute path (or URL).
        key: stem of the outputs, with the mirrored folders where stems collide (`day1/cam`).
        width, height: of a displayed frame, in pixels.
        fps: average frame rate, in frames per second.
        fingerprint: digest of samples of the file's content.
        view: the camera's name, where a recording has several; else empty.
        identity: of the file that the plan saw; None where any will do.
        content: digest of all bytes of that file, where the plan knows it; else empty.
        codec, pix_fmt: FFmpeg's names of the codec and pixel format (`h264`, `yuv420p`).
        rotation: degrees clockwise by which coded frames are turned: 0, 90, 180 or 270.
        is_vfr: whether the time between frames varies.
        notes: oddities of the file, and what raypose does about them.
    """

    path: str
    key: str
    n_frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    duration_s: float = 0.0
    fingerprint: str = ""
    view: str = ""
    identity: Identity | None = None
    content: str = ""
    codec: str = ""
    pix_fmt: str = ""
    rotation: int = 0
    is_vfr: bool = False
    notes: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """How the frames are coded and timed, in words."""
        turned = f", turned {self.rotation}°" if self.rotation else ""
        return f"{self.codec} {self.pix_fmt}{turned}{', variable rate' if self.is_vfr else ''}"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose outputs these are: a model's, or the smoothed ensemble's.

    Attributes:
        name: the model's output name, or `eks`.
        model: whose config sets threshold, colours and metrics: the first member's for an
            ensemble; None where only tables are given.
    """

    name: str
    root: str
    model: ModelSpec | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running task is, by its id: frames processed so far, and to process."""

    task: str
    n_done: int
    n_total: int
    worker: str = ""
