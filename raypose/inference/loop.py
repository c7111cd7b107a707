"""Whole videos through one or several models, decoding once.

```
FrameSource (decode, views in lockstep) → batches → map_batches (networks of all members)
    → _Member (rows in order) → MemberResult
```
Frames are decoded ahead in a thread, and a frame without a picture keeps its row, with NaN and
likelihood 0. What fails for one member fails for it alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.errors import CancelledError, Failure, RayposeError, VideoError
from raypose.inference.batch_executor import map_batches, on_own_stream
from raypose.inference.frame_source import FrameSource
from raypose.inference.predictor import Predictor, SharedImages
from raypose.inference.preprocess import FrameBatch, sliced
from raypose.inference.windows import CONTEXT, Windows, with_edges
from raypose.video.frames import Frames, without_picture
from raypose.video.index import VideoIndex
from raypose.video.reader import ReaderThreads

_ERRORS = (RayposeError, RuntimeError, ValueError, TypeError, MemoryError)


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What one model predicts for a range of frames of a video (or of one view of a recording).

    Attributes:
        values: (n_frames, n_keypoints, 3) float32: x and y in pixels of the frame, likelihood;
            NaN, NaN, 0 where the frame is corrupt or missing.
        frames: time and status of each frame.
        seconds: `decode_s`: waiting for frames; `network_s`: resizing and network, summed over the
            cores (on a GPU, the time to submit it); `subpixel_s`: from heatmaps to keypoints.
        fallback_reason: why frames were decoded on the CPU though NVDEC was asked for; else empty.
    """

    values: NDArray[np.float32]
    frames: Frames
    seconds: dict[str, float]
    fallback_reason: str = ""


def predict_views(
    indexes: Sequence[VideoIndex],
    predictors: Sequence[Predictor],
    *,
    start: int = 0,
    stop: int | None = None,
    batch_size: int | None = None,
    reader_threads: ReaderThreads | None = None,
    compute_threads: int | None = None,
    bboxes: Sequence[NDArray[np.float64]] | None = None,
    decoder: str = "cpu",
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[list[MemberResult] | Failure]:
    """Predict the views of a recording in lockstep with every predictor, decoding them once.

    Args:
        indexes: of the video of each view that the models take, in their order.
        predictors: one for each member.
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames per batch; by default the smallest that a predictor chose.
        reader_threads: threads that read each view; by default one, ahead of the network.
        compute_threads: threads that run networks on the CPU; by default as many as torch's.
        bboxes: for each view (frames of the video, 4) x, y, height, width of what the networks
            see, in pixels; keypoints are in pixels of the whole frame all the same. The last row
            stands for frames that have none.
        decoder: `cpu`, or `nvdec` to decode on the GPU of the first predictor.
        on_progress: called with the number of frames done.
        should_stop: asked at every batch.

    Returns:
        For each predictor, in order, one result per view, or a `Failure` if it could not go on
        while others could. A frame that one view lacks is missing in that view alone: the network
        sees the view's last frame in its place.

    Raises:
        VideoError: a video can't be read, or views differ in length; no member has a result then.
        CancelledError: `should_stop` returned True.
    """
    stop = indexes[0].n_frames if stop is None else stop
    device = predictors[0].network.device if predictors else torch.device("cpu")
    source = FrameSource(
        indexes,
        start,
        stop,
        images=sorted({(p.spec.image_height, p.spec.image_width) for p in predictors}),
        has_context=any(predictor.network.heads for predictor in predictors),
        bboxes=bboxes,
        decoder=decoder,
        device=device,
        threads=reader_threads,
    )
    size = batch_size or min((p.batch_size for p in predictors), default=1)
    batches = _until_stopped(source.batches(size), should_stop)
    members = [_Member(predictor) for predictor in predictors]
    report = on_progress and (lambda n_done: on_progress(min(n_done, stop - start)))
    with on_own_stream(device):
        _predict_all(batches, members, source, compute_threads, report)
        return [_results(member, source, indexes, start, stop) for member in members]


def _until_stopped(
    batches: Generator[FrameBatch], should_stop: Callable[[], bool] | None
) -> Generator[FrameBatch]:
    with contextlib.closing(batches):
        for batch in batches:
            if should_stop is not None and should_stop():
                raise CancelledError("the run was stopped")
            yield batch


def _predict_all(
    batches: Generator[FrameBatch],
    members: Sequence[_Member],
    source: FrameSource,
    n_threads: int | None,
    on_progress: Callable[[int], None] | None,
) -> None:
    """Send all batches through the networks of all members."""

    def predict(batch: FrameBatch) -> tuple[int, list[_Member], list[_BatchResult | Failure]]:
        active = [member for member in members if member.failure is None]
        return len(batch), active, _predict_batch(batch, [m.predictor for m in active])

    devices = [member.predictor.network.device for member in members]
    n_done = 0
    with (
        contextlib.closing(batches),
        contextlib.closing(map_batches(predict, batches, devices, n_threads)) as predicted,
    ):
        for n_frames, active, results in predicted:
            for member, result in zip(active, results, strict=True):
                member.add(result, source)
            n_done += n_frames
            if on_progress is not None:
                on_progress(n_done)
    for member in members:
        member.finish(source)


def _results(
    member: _Member, source: FrameSource, indexes: Sequence[VideoIndex], start: int, stop: int
) -> list[MemberResult] | Failure:
    """One result per view, of the frames `start` to `stop` among those that were read."""
    if member.failure is not None:
        return member.failure
    wanted = slice(start - source.first, stop - source.first)
    rows = member.rows(wanted, indexes)
    failure = member.not_finite(rows.numpy(), start, indexes)
    if failure is not None:
        return failure
    times = {"network_s": member.network_s, "subpixel_s": member.subpixel_s}
    seconds = {"decode_s": source.decode_s, **times}
    results = []
    for v, (index, view) in enumerate(zip(indexes, rows.chunk(len(indexes), dim=1), strict=True)):
        # A copy: what comes of inference mode may share memory with rows that are not wanted.
        values = np.array(view.numpy())
        statuses = source.statuses(v)[wanted]
        values[without_picture(statuses)] = (np.nan, np.nan, 0.0)
        frames = Frames(index.times_s[start : start + len(values)], statuses)
        results.append(MemberResult(values, frames, dict(seconds), source.fallback_reason))
    return results


@dataclass(frozen=True, slots=True)
class _BatchResult:
    """(B, V·K, 3) keypoints of a batch, or features if they need those of their neighbours."""

    outputs: torch.Tensor
    network_s: float
    subpixel_s: float


def _predict_batch(
    batch: FrameBatch, predictors: Sequence[Predictor]
) -> list[_BatchResult | Failure]:
    """What each predictor gives for a batch; images are made once for all that take the same."""
    images = SharedImages(batch)
    results: list[_BatchResult | Failure] = []
    for predictor in predictors:
        begun = time.perf_counter()
        try:
            outputs = predictor.forward(batch, images)
            forwarded = time.perf_counter()
            if predictor.network.heads is None:
                outputs = predictor.decode_heatmaps(outputs, batch.sizes, batch.bboxes)
        except _ERRORS as error:
            results.append(Failure.of("predict", error))
        else:
            took = forwarded - begun, time.perf_counter() - forwarded
            results.append(_BatchResult(outputs, *took))
    return results


@dataclass(slots=True)
class _Member:
    """A predictor, with its rows and seconds so far, or the failure that stopped it."""

    predictor: Predictor
    network_s: float = 0.0
    subpixel_s: float = 0.0
    failure: Failure | None = None
    _windows: Windows = field(default_factory=Windows)
    _rows: list[torch.Tensor] = field(default_factory=list)

    @property
    def _has_context(self) -> bool:
        return self.predictor.network.heads is not None

    def add(self, result: _BatchResult | Failure, source: FrameSource) -> None:
        """Take the result of the next batch."""
        if self.failure is not None:
            return  # the batch was on its way already
        if isinstance(result, Failure):
            self._fail(result)
            return
        self.network_s += result.network_s
        self.subpixel_s += result.subpixel_s
        if self._has_context:
            self._predict_windows(self._windows.push(result.outputs), source, CONTEXT)
        else:
            self._rows.append(result.outputs)

    def finish(self, source: FrameSource) -> None:
        """To be called after the last batch: videos shorter than a window are predicted now."""
        if self._has_context and self.failure is None:
            self._predict_windows(self._windows.padded(), source, 0)

    def rows(self, wanted: slice, indexes: Sequence[VideoIndex]) -> torch.Tensor:
        """(n, V·K, 3) keypoints on the CPU, of those of the frames read that are wanted."""
        n_keypoints = len(indexes) * len(self.predictor.spec.keypoint_names)
        rows = torch.cat(self._rows) if self._rows else torch.empty(0, n_keypoints, 3)
        if self._has_context and len(rows):
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
        spec, names = self.predictor.spec, self.predictor.spec.keypoint_names
        precision = str(self.predictor.network.dtype).removeprefix("torch.")
        hint = "Use another checkpoint of this model: its numbers overflow on this video."
        error = VideoError(
            f"the model {spec.name} gives values that are not finite for {n_frames} frames, "
            f"first for {names[column % len(names)]} in frame {start + frame} "
            f"(computed in {precision})",
            path=indexes[column // len(names)].path,
            hint=hint if precision == "float32" else "Run it with --precision fp32.",
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
