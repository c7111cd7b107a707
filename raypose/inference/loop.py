"""Whole videos through one or several models, decoding once.

```
FrameSource (decode, views in lockstep) → batches → BatchExecutor (networks of all members)
    → Member (rows in order) → MemberResult
```
Frames are decoded ahead in a thread, and a frame without a picture keeps its row, with NaN and
likelihood 0. What happens to the tables (files, metrics, smoothing) is not known here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.errors import CancelledError, Failure
from raypose.inference.batch_executor import BatchExecutor
from raypose.inference.frame_batch import FrameBatch
from raypose.inference.frame_source import FrameSource
from raypose.inference.member import BatchResult, Member, predict_batch
from raypose.inference.predictor import Predictor
from raypose.video.frames import Frames, without_picture
from raypose.video.index import VideoIndex
from raypose.video.reader import ReaderThreads


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What one model predicts for a range of frames of a video (or of one view of a recording).

    Attributes:
        values: (n_frames, n_keypoints, 3) float32: x and y in pixels of the frame, likelihood;
            NaN, NaN, 0 where the frame is corrupt or missing.
        frames: time and status of each frame.
        seconds: where the time went. `decode_s`: waiting for frames; `network_s`: resizing and
            network, summed over the cores that shared the work (on a GPU, the time to submit it);
            `subpixel_s`: from heatmaps to keypoints, likewise.
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
        indexes: of the video of each view that the models take, in their order; of equally many
            frames.
        predictors: one for each member.
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames per batch (of each view); by default the smallest that a predictor
            chose.
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
    source = FrameSource(
        indexes,
        start,
        stop,
        has_context=any(predictor.network.heads for predictor in predictors),
        bboxes=bboxes,
        decoder=decoder,
        device=predictors[0].network.device if predictors else torch.device("cpu"),
        threads=reader_threads,
    )
    members = [Member(predictor) for predictor in predictors]
    n_wanted = stop - start
    _predict_all(
        source.batches(batch_size or min((p.batch_size for p in predictors), default=1)),
        members,
        source,
        compute_threads=compute_threads,
        on_progress=lambda n_done: on_progress and on_progress(min(n_done, n_wanted)),
        should_stop=should_stop or (lambda: False),
    )
    wanted = slice(start - source.first, stop - source.first)
    return [_results(member, source, indexes, wanted, start) for member in members]


def _predict_all(
    decoded: Generator[FrameBatch],
    members: Sequence[Member],
    source: FrameSource,
    *,
    compute_threads: int | None,
    on_progress: Callable[[int], object],
    should_stop: Callable[[], bool],
) -> None:
    """Send all batches through the networks of all members."""

    def predict(batch: FrameBatch) -> tuple[int, list[Member], list[BatchResult | Failure]]:
        active = [member for member in members if member.failure is None]
        return len(batch), active, predict_batch(batch, [m.predictor for m in active])

    def batches() -> Iterator[FrameBatch]:
        for batch in decoded:
            if should_stop():
                raise CancelledError("the run was stopped")
            yield batch

    executor = BatchExecutor((m.predictor.network.device for m in members), compute_threads)
    n_done = 0
    with (
        contextlib.closing(decoded),
        contextlib.closing(executor.map(predict, batches())) as predicted,
    ):
        for n_frames, active, results in predicted:
            for member, result in zip(active, results, strict=True):
                member.add(result, source)
            n_done += n_frames
            on_progress(n_done)
    for member in members:
        member.finish(source)


def _results(
    member: Member,
    source: FrameSource,
    indexes: Sequence[VideoIndex],
    wanted: slice,
    start: int,
) -> list[MemberResult] | Failure:
    """One result per view: those of the frames read that are wanted, of which `start` is first."""
    if member.failure is not None:
        return member.failure
    rows = member.rows(wanted, indexes)
    failure = member.not_finite(rows.numpy(), start, indexes)
    if failure is not None:
        return failure
    results = []
    for v, (index, view) in enumerate(zip(indexes, rows.chunk(len(indexes), dim=1), strict=True)):
        # A copy: what comes of inference mode may share memory with rows that are not wanted.
        values = np.array(view.numpy())
        statuses = source.statuses(v)[wanted]
        values[without_picture(statuses)] = (np.nan, np.nan, 0.0)
        frames = Frames(index.times_s[start : start + len(values)], statuses)
        seconds = {
            "decode_s": source.decode_s,
            "network_s": member.network_s,
            "subpixel_s": member.subpixel_s,
        }
        results.append(MemberResult(values, frames, seconds, source.fallback_reason))
    return results
