"""One model of the ensemble on its way through a range of frames.

`predict_batch` sends a batch through the networks of all members; a `Member` collects what its
network gave, in the order of the frames, until `rows` has them all. What fails for one member
fails for it alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.errors import Failure, RayposeError, VideoError
from raypose.inference.frame_batch import FrameBatch, sliced
from raypose.inference.frame_source import FrameSource
from raypose.inference.predictor import Predictor, SharedImages
from raypose.inference.windows import CONTEXT, Windows, with_edges
from raypose.video.index import VideoIndex

_ERRORS = (RayposeError, RuntimeError, ValueError, TypeError, MemoryError)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """(B, V·K, 3) keypoints of a batch, or features if they need those of their neighbours."""

    outputs: torch.Tensor
    network_s: float
    subpixel_s: float


def predict_batch(
    batch: FrameBatch, predictors: Sequence[Predictor]
) -> list[BatchResult | Failure]:
    """What each predictor gives for a batch; images are made once for all that take the same."""
    images = SharedImages(batch)
    results: list[BatchResult | Failure] = []
    for predictor in predictors:
        try:
            results.append(_predict(batch, predictor, images))
        except _ERRORS as error:
            results.append(Failure.of("predict", error))
    return results


def _predict(batch: FrameBatch, predictor: Predictor, images: SharedImages) -> BatchResult:
    begun = time.perf_counter()
    outputs = predictor.forward(batch, images)
    forwarded = time.perf_counter()
    if predictor.network.heads is None:
        outputs = predictor.decode_heatmaps(outputs, batch.sizes, batch.bboxes)
    return BatchResult(outputs, forwarded - begun, time.perf_counter() - forwarded)


@dataclass(slots=True)
class Member:
    """A predictor, with its rows and seconds so far, or the failure that stopped it."""

    predictor: Predictor
    network_s: float = 0.0
    subpixel_s: float = 0.0
    failure: Failure | None = None
    _windows: Windows | None = None
    _rows: list[torch.Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._windows = Windows() if self.predictor.network.heads else None

    def add(self, result: BatchResult | Failure, source: FrameSource) -> None:
        """Take the result of the next batch."""
        if self.failure is not None:
            return  # the batch was on its way already
        if isinstance(result, Failure):
            self._fail(result)
            return
        self.network_s += result.network_s
        self.subpixel_s += result.subpixel_s
        if self._windows is None:
            self._rows.append(result.outputs)
        else:
            self._predict_windows(self._windows.push(result.outputs), source, CONTEXT)

    def finish(self, source: FrameSource) -> None:
        """To be called after the last batch: videos shorter than a window are predicted now."""
        if self._windows is not None and self.failure is None:
            self._predict_windows(self._windows.padded(), source, 0)

    def rows(self, wanted: slice, indexes: Sequence[VideoIndex]) -> torch.Tensor:
        """(n, V·K, 3) keypoints on the CPU, of those of the frames read that are wanted."""
        n_keypoints = len(indexes) * len(self.predictor.spec.keypoint_names)
        rows = torch.cat(self._rows) if self._rows else torch.empty(0, n_keypoints, 3)
        if self._windows is not None and len(rows):
            rows = with_edges(rows, indexes[0].n_frames)
        return rows[wanted].to("cpu", torch.float32)

    def not_finite(
        self, rows: NDArray[np.float32], start: int, indexes: Sequence[VideoIndex]
    ) -> Failure | None:
        """The failure of rows that are not finite: a table would show them as empty."""
        broken = ~np.isfinite(rows).all(axis=2)
        if not broken.any():
            return None
        n_frames = len(np.unique(np.nonzero(broken)[0]))
        frame, column = (int(i) for i in np.argwhere(broken)[0])
        names = self.predictor.spec.keypoint_names
        precision = str(self.predictor.network.dtype).removeprefix("torch.")
        error = VideoError(
            f"the model {self.predictor.spec.name} gives values that are not finite for "
            f"{n_frames} frames, first for {names[column % len(names)]} in frame "
            f"{start + frame} (computed in {precision})",
            path=indexes[column // len(names)].path,
            hint="Run it with --precision fp32."
            if precision != "float32"
            else "Use another checkpoint of this model: its numbers overflow on this video.",
        )
        return Failure.of("predict", error)

    def _predict_windows(
        self, features: torch.Tensor | None, source: FrameSource, context: int
    ) -> None:
        """Add the rows of the inner frames of (T + 4, …) features; None is not enough yet.

        `context` frames were read before the first that is predicted.
        """
        if features is None:
            return
        begun = time.perf_counter()
        at = context + sum(len(rows) for rows in self._rows)
        bboxes = sliced(source.bboxes, at, at + len(features) - 2 * CONTEXT)
        try:
            self._rows.append(self.predictor.predict_windows(features, source.sizes, bboxes))
        except _ERRORS as error:
            self._fail(Failure.of("predict", error))
            return
        self.subpixel_s += time.perf_counter() - begun

    def _fail(self, failure: Failure) -> None:
        self.failure = failure
        self._rows.clear()
