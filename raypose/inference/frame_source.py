"""Frames of a recording as batches, in order: the first station of the loop.

Opens a reader per view (CPU or NVDEC), reads all views in lockstep, and attaches bounding boxes.
The loop uses what is public here and nothing else, so another source (one that decodes several
keyframe ranges at once, say) can take its place, if it yields batches in the order of the frames.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.errors import VideoError
from raypose.inference import nvdec
from raypose.inference.frame_batch import Bboxes, FrameBatch, Sizes, sliced
from raypose.inference.preprocess import clamp_bboxes
from raypose.inference.windows import frames_to_read
from raypose.video.frames import Statuses, without_picture
from raypose.video.index import VideoIndex
from raypose.video.reader import Batch, ReaderThreads


class FrameSource:
    """Frames `start` to `stop` of a recording.

    Args:
        indexes, bboxes, decoder: as of `loop.predict_views`.
        start, stop: of the rows that are wanted.
        has_context: whether a frame is predicted from its neighbours too; they are read with it.
        device: where the network runs.
        threads: that read each view; by default one, ahead of the network.

    Attributes:
        first: number of the first frame that is read.
        sizes: rows and columns of each view.
        bboxes: for each view one for each frame, clamped to the frame; None for whole frames.
        decode_s: seconds spent waiting for frames.
        fallback_reason: why frames are decoded on the CPU though NVDEC was asked for; else empty.

    Raises:
        VideoError: the views differ in length.
    """

    def __init__(
        self,
        indexes: Sequence[VideoIndex],
        start: int,
        stop: int,
        *,
        has_context: bool,
        bboxes: Sequence[NDArray[np.float64]] | None,
        decoder: str,
        device: torch.device,
        threads: ReaderThreads | None = None,
    ) -> None:
        _check_lengths(indexes)
        self.first, self._stop = start, stop
        if has_context and start < stop:
            self.first, self._stop = frames_to_read(start, stop, indexes[0].n_frames)
        self._indexes = indexes
        self._device = device
        self._threads = threads
        # A frame without a picture is in the way where other frames or views depend on it.
        self._fill_gaps = has_context or len(indexes) > 1
        self._statuses: list[list[Statuses]] = [[np.zeros(0, np.int8)] for _ in indexes]
        self.sizes: Sizes = tuple((index.height, index.width) for index in indexes)
        self.bboxes = None if bboxes is None else self._clamped(bboxes)
        self.decode_s = 0.0
        self.fallback_reason = ""
        if decoder == "nvdec":
            reasons = (nvdec.unsupported_reason(index, device) for index in indexes)
            self.fallback_reason = next(filter(None, reasons), "")
        self._decoder = "cpu" if self.fallback_reason else decoder

    def batches(self, batch_size: int) -> Generator[FrameBatch]:
        """All frames, `batch_size` at a time; close it to stop the readers.

        Raises:
            VideoError: a video can't be read.
        """
        last_good: list[Any] = [None] * len(self._indexes)
        with contextlib.ExitStack() as stack:
            readers = [
                stack.enter_context(
                    nvdec.open_reader(
                        index,
                        self._decoder,
                        self._device,
                        start=self.first,
                        stop=self._stop,
                        batch_size=batch_size,
                        threads=self._threads,
                    )
                )
                for index in self._indexes
            ]
            lockstep = zip(*readers, strict=True)
            while (views := self._next(lockstep)) is not None:
                for v, view in enumerate(views):
                    self._statuses[v].append(view.statuses)
                    if self._fill_gaps:
                        ok = ~without_picture(view.statuses)
                        last_good[v] = fill_gaps(view.frames, ok, last_good[v])
                at = views[0].first - self.first
                bboxes = sliced(self.bboxes, at, at + len(views[0]))
                yield FrameBatch(tuple(torch.as_tensor(view.frames) for view in views), bboxes)

    def statuses(self, view: int) -> Statuses:
        """The status of every frame of a view that has been read."""
        return np.concatenate(self._statuses[view])

    def _next(self, lockstep: Iterator[tuple[Batch, ...]]) -> tuple[Batch, ...] | None:
        begun = time.perf_counter()
        views = next(lockstep, None)
        self.decode_s += time.perf_counter() - begun
        return views

    def _clamped(self, bboxes: Sequence[NDArray[np.float64]]) -> Bboxes:
        frames = np.arange(self.first, self._stop)
        return tuple(
            clamp_bboxes(np.asarray(rows)[np.minimum(frames, len(rows) - 1)], *size)
            for rows, size in zip(bboxes, self.sizes, strict=True)
        )


def _check_lengths(indexes: Sequence[VideoIndex]) -> None:
    for index in indexes[1:]:
        if index.n_frames != indexes[0].n_frames:
            raise VideoError(
                f"this view has {index.n_frames} frames, and another {indexes[0].n_frames}",
                path=index.path,
                hint="Views of one recording must have equally many frames.",
            )


def fill_gaps(frames: Any, ok: NDArray[np.bool_], last_good: Any) -> Any:
    """Replace each frame without a picture by the last good one before it; return the last of all.

    The frame's own row says that it is missing, but its neighbours and the other views should see
    something like it, not a black or a broken frame. At the beginning the next good frame serves.
    Frames are (B, H, W, 3), an array or a tensor, and changed in place.
    """
    good = np.flatnonzero(ok)
    for i in np.flatnonzero(~ok):
        before = good[good < i]
        if len(before):
            frames[i] = frames[before[-1]]
        elif last_good is not None:
            frames[i] = last_good
        elif len(good):
            frames[i] = frames[good[0]]
    return frames[good[-1:]][0] if len(good) else last_good  # a copy: the index is an array
