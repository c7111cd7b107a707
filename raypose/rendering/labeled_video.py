"""Labelled videos: a video with its predicted keypoints drawn on it.

Takes predictions in memory and the video they were made from, and writes an MP4 of the same size,
rate, rotation and colours. Markers and text are those of Lightning Pose's own labelled videos:
a filled circle in the keypoint's colour wherever the likelihood is above the threshold; time and
frame number in white on black in the upper left.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import TableError
from raypose.rendering.encoding import encode_frames
from raypose.rendering.frame_renderer import FrameRenderer
from raypose.video.index import VideoIndex
from raypose.video.writer import LABELED, EncoderSettings


def draw_labeled_video(
    index: VideoIndex,
    xy: NDArray[np.floating[Any]],
    likelihood: NDArray[np.floating[Any]],
    out_path: str | os.PathLike[str],
    *,
    threshold: float,
    colormap: str = "cool",
    start: int = 0,
    stop: int | None = None,
    threads: int = 1,
    memory_bytes: int | None = None,
    settings: EncoderSettings = LABELED,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> int:
    """Draw the keypoints of a video, or of a part of it, and encode it.

    A frame that is missing shows the picture before it.

    Args:
        index: the video.
        xy: keypoints of the whole video in pixels of the frame as it is shown, (N, K, 2).
        likelihood: (N, K).
        out_path: the MP4 to write.
        threshold: markers are drawn where the likelihood is above it.
        colormap: matplotlib's name of the colours of the markers.
        start: first frame to write; time and frame number shown are those of the whole video.
        stop: frame after the last; None for the end.
        threads: that it may use.
        memory_bytes: that it may take; None for no limit.
        settings: of the encoder.
        on_progress: called with the number of frames written so far.
        should_stop: asked now and then whether to give up.

    Returns:
        Number of frames written.

    Raises:
        TableError: the number of rows is not the number of frames.
        VideoError, OutputError, CancelledError: as `cut_snippet`.
    """
    if len(xy) != index.n_frames or len(likelihood) != index.n_frames:
        raise TableError(
            f"the predictions have {len(xy)} rows but the video has {index.n_frames} frames",
            path=index.path,
            hint="Predict this video again.",
        )
    return encode_frames(
        index,
        start,
        index.n_frames if stop is None else stop,
        out_path,
        lambda: FrameRenderer(index, xy, likelihood, threshold, colormap).render,
        settings,
        threads=threads,
        memory_bytes=memory_bytes,
        on_progress=on_progress,
        should_stop=should_stop,
    )
