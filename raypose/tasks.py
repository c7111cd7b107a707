"""The values that travel between plan, executors and stages.

All are small, frozen and picklable, and hold facts, not behaviour. Arrays travel beside them
as results of tasks, never inside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A trained Lightning Pose model, as read from its directory.

    Attributes:
        name: the name used in output paths and displays; unique in a run.
        directory: absolute path of the model directory.
        config_path: absolute path of `config.yaml` (or `.hydra/config.yaml`).
        checkpoint: absolute path of the checkpoint in use.
        fingerprint: digest of the checkpoint's bytes and of what the config says of inference.
        model_type: `heatmap`, `regression`, `heatmap_mhcrnn` or `heatmap_multiview_transformer`.
        backbone: the network's backbone, as the config names it.
        keypoint_names: in the order of the network's outputs.
        image_height: rows of the network's input, in pixels.
        image_width: columns of the network's input, in pixels.
        view_names: camera views of a multi-view model; empty for a single view.
        confidence_threshold: likelihood above which a marker is drawn.
        colormap: matplotlib colormap of the markers.
        losses: unsupervised losses the model was trained with (they name the PCA metrics).
        config: the whole config as plain containers.
        overrides: the user's overrides of the config, `("key=value", …)`, already applied.
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
    losses: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    overrides: tuple[str, ...] = ()

    @property
    def scorer(self) -> str:
        """The scorer in the header of prediction tables, as Lightning Pose names it."""
        return f"{self.model_type}_tracker"


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """A video of a run.

    Attributes:
        path: absolute path (or URL).
        key: stem of the outputs, with the mirrored folders where stems collide (`day1/cam`).
        n_frames: frames, from the packets of the container.
        width: columns of a frame as it is shown, in pixels.
        height: rows of a frame as it is shown, in pixels.
        fps: average frame rate, in frames per second.
        duration_s: length in seconds.
        fingerprint: digest of the file's content.
        view: name of the camera view, where the session has several.
    """

    path: str
    key: str
    n_frames: int
    width: int
    height: int
    fps: float
    duration_s: float
    fingerprint: str
    view: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One recording: a video, or the views of one recording taken together."""

    key: str
    videos: tuple[VideoSpec, ...]
