"""Frames of a recording as batches, in order: all views in lockstep, with bounding boxes.

The loop uses what is public here and nothing else, so that another source can take its place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.errors import VideoError
from raypose.inference import nvdec
from raypose.inference.preprocess import Bboxes, FrameBatch, Sizes, clamp_bboxes, sliced
from raypose.inference.windows import frames_to_read
from raypose.video.frames import Statuses, without_picture
from raypose.video.index import VideoIndex
from raypose.video.reader import ReaderThreads


class FrameSource:
    """Frames `start` to `stop` of a recording, with what else is needed to predict them.

    Attributes:
        first: number of the first frame that is read.
        sizes: rows and columns of each view.
        bboxes: for each view one for each frame, clamped to the frame; None for whole frames.
        decode_s: seconds spent waiting for frames.
        fallback_reason: why frames are decoded on the CPU though NVDEC was asked for; else empty.
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
        n_frames = indexes[0].n_frames
        for index in indexes:
            if index.n_frames != n_frames:
                raise VideoError(
                    f"this view has {index.n_frames} frames, and another {n_frames}",
                    path=index.path,
                    hint="Views of one recording must have equally many frames.",
                )
        self.first, self._stop = start, stop
        if has_context and start < stop:
            self.first, self._stop = frames_to_read(start, stop, n_frames)
        self._indexes = indexes
        self._device = device
        self._threads = threads
        # A frame without a picture is in the way where other frames or views depend on it.
        self._fill_gaps = has_context or len(indexes) > 1
        self._statuses: list[list[Statuses]] = [[np.zeros(0, np.int8)] for _ in indexes]
        self.sizes: Sizes = tuple((index.height, index.width) for index in indexes)
        self.bboxes: Bboxes | None = None
        if bboxes is not None:
            frames = np.arange(self.first, self._stop)
            self.bboxes = tuple(
                clamp_bboxes(np.asarray(rows)[np.minimum(frames, len(rows) - 1)], *size)
                for rows, size in zip(bboxes, self.sizes, strict=True)
            )
        self.decode_s = 0.0
        self.fallback_reason = ""
        if decoder == "nvdec":
            reasons = (nvdec.unsupported_reason(index, device) for index in indexes)
            self.fallback_reason = next(filter(None, reasons), "")
        self._decoder = "cpu" if self.fallback_reason else decoder

    def batches(self, batch_size: int) -> Generator[FrameBatch]:
        """All frames, `batch_size` at a time; close it to stop the readers."""
        last_good: list[Any] = [None] * len(self._indexes)
        how = {"start": self.first, "stop": self._stop, "batch_size": batch_size}
        with contextlib.ExitStack() as stack:
            readers = [
                nvdec.open_reader(index, self._decoder, self._device, self._threads, **how)
                for index in self._indexes
            ]
            lockstep = zip(*map(stack.enter_context, readers), strict=True)
            while True:
                begun = time.perf_counter()
                views = next(lockstep, None)
                self.decode_s += time.perf_counter() - begun
                if views is None:
                    return
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


def fill_gaps(frames: Any, ok: NDArray[np.bool_], last_good: Any) -> Any:
    """Replace frames (B, H, W, 3) without a picture by the last good one; return the last of all.

    Their neighbours and the other views should see something like them, not a broken frame. At
    the beginning the next good frame serves.
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
