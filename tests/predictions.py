"""Predictions of one video, or of frames in memory, for tests and benchmarks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.errors import Failure
from raypose.inference.loop import MemberResult, predict_views
from raypose.inference.predictor import Predictor
from raypose.inference.preprocess import FrameBatch, RgbFrames, sliced
from raypose.inference.windows import CONTEXT, Windows, with_edges
from raypose.video.index import VideoIndex, index_video


def predict_video(
    video: str | os.PathLike[str] | VideoIndex,
    predictors: Sequence[Predictor],
    *,
    bboxes: NDArray[np.float64] | None = None,
    **options: Any,
) -> list[MemberResult | Failure]:
    """`predict_views` for one view: one result per predictor."""
    index = video if isinstance(video, VideoIndex) else index_video(video)
    boxes = None if bboxes is None else [bboxes]
    results = predict_views([index], predictors, bboxes=boxes, **options)
    return [result if isinstance(result, Failure) else result[0] for result in results]


def predict_frames(
    predictor: Predictor,
    frames: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    bboxes: NDArray[np.int64] | Sequence[NDArray[np.int64]] | None = None,
    *,
    batch_size: int | None = None,
) -> torch.Tensor:
    """(B, V·K, 3) keypoints of frames in memory, without the loop.

    Args:
        predictor: of the model.
        frames: (B, H, W, 3) RGB; for a model that takes several views, of each of them.
        bboxes: (B, 4) within the frame, or of each view.
        batch_size: frames at a time; by default the predictor's.
    """
    views = [frames] if isinstance(frames, np.ndarray) else frames
    boxes = (bboxes,) if isinstance(bboxes, np.ndarray) else bboxes and tuple(bboxes)
    whole = tuple(RgbFrames(torch.from_numpy(np.ascontiguousarray(view))) for view in views)
    batch = FrameBatch(whole, boxes)
    step = batch_size or predictor.batch_size
    outputs = torch.cat(
        [predictor.forward(batch.part(i, i + step)) for i in range(0, len(batch), step)]
    )
    if predictor.network.heads is None:
        return predictor.decode_heatmaps(outputs, batch.sizes, batch.bboxes)
    windows = Windows()
    features, inner = windows.push(outputs), sliced(batch.bboxes, CONTEXT, len(batch) - CONTEXT)
    if features is None:
        features, inner = windows.padded(), batch.bboxes
    assert features is not None
    return with_edges(predictor.predict_windows(features, batch.sizes, inner), len(batch))
