"""Frames of a recording as batches, in order: all views in lockstep, with bounding boxes.

The loop uses what is public here and nothing else, so that another source can take its place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.errors import VideoError
from raypose.inference import nvdec
from raypose.inference.collectors import Image, host_collector
from raypose.inference.preprocess import Bboxes, FrameBatch, Sizes, clamp_bboxes, sliced
from raypose.inference.uploads import UploadCollector
from raypose.inference.windows import frames_to_read
from raypose.video.frames import Statuses
from raypose.video.index import VideoIndex
from raypose.video.pixels import Collector
from raypose.video.reader import FrameReader, ReaderThreads


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
        images: Sequence[Image],
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
        self._images = images
        self._threads = threads or ReaderThreads()
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
        with contextlib.ExitStack() as stack:
            readers = [self._reader(v, batch_size) for v in range(len(self._indexes))]
            lockstep = zip(*map(stack.enter_context, readers), strict=True)
            while True:
                begun = time.perf_counter()
                views = next(lockstep, None)
                self.decode_s += time.perf_counter() - begun
                if views is None:
                    return
                for v, view in enumerate(views):
                    self._statuses[v].append(view.statuses)
                at = views[0].first - self.first
                bboxes = sliced(self.bboxes, at, at + len(views[0]))
                yield FrameBatch(tuple(view.frames for view in views), bboxes)

    def _reader(self, view: int, batch_size: int) -> FrameReader:
        index, device, threads = self._indexes[view], self._device, self._threads
        options: dict[str, Any] = {
            "first": self.first,
            "bboxes": None if self.bboxes is None else self.bboxes[view],
            "n_threads": threads.convert,
            "fills_gaps": self._fill_gaps,
        }
        hwaccel = None
        collector: Collector
        if self._decoder == "nvdec":
            hwaccel, threads = nvdec.nvdec(device), replace(threads, decode=1)
            collector = nvdec.SurfaceCollector(index, self._images, device, **options)
        elif device.type == "cuda":
            collector = UploadCollector(index, self._images, device, **options)
        else:
            collector = host_collector(index, self._images, **options)
        return FrameReader(
            index,
            start=self.first,
            stop=self._stop,
            batch_size=batch_size,
            threads=threads,
            collector=collector,
            hwaccel=hwaccel,
        )

    def statuses(self, view: int) -> Statuses:
        """The status of every frame of a view that has been read."""
        return np.concatenate(self._statuses[view])
