"""Frames of a video, in order, decoded ahead of their use.

`FrameReader` yields batches from any frame on. What a batch holds of its frames is up to the
`pixels.Collector`: RGB arrays, or whatever inference takes of a frame while the decoder holds it.
RGB values are those of `cv2.VideoCapture`, bit for bit, rotation included, because networks were
trained on frames that OpenCV read.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from raypose.errors import VideoError
from raypose.video.decoding import check_range, iter_frames
from raypose.video.frames import FrameStatus, Statuses
from raypose.video.index import VideoIndex, index_video
from raypose.video.pixels import Collector, RgbCollector

T = TypeVar("T")

# Decoded batches that may wait.
_MAX_AHEAD, _MAX_AHEAD_BYTES = 2, 256 << 20


@dataclass(frozen=True, slots=True)
class ReaderThreads:
    """Threads that read a video."""

    decode: int = 1  # threads of the decoder
    convert: int = 1  # threads that take pixels from frames; with 1, the reading thread does it
    ahead: bool = True  # the reading thread is one of its own, which works ahead of the caller


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive frames."""

    first: int  # number of the first frame
    frames: Any  # what the collector makes of them; by default RGB, uint8, (B, H, W, 3)
    statuses: Statuses  # (B,)

    def __len__(self) -> int:
        return len(self.statuses)


@contextlib.contextmanager
def read_ahead(items: Generator[T], n_ahead: int) -> Iterator[Iterator[T]]:
    """Run an iterator in a thread of its own, up to `n_ahead` items ahead of the caller.

    Errors are raised in place of the item; leaving the context stops the thread. With `n_ahead`
    0, the caller's thread does it.
    """
    if not n_ahead:
        with contextlib.closing(items):
            yield items
        return
    pool = ThreadPoolExecutor(1, "raypose-decode")
    end = object()
    ahead = deque(pool.submit(next, items, end) for _ in range(n_ahead + 1))

    def consume() -> Iterator[T]:
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(next, items, end))
            yield cast(T, item)

    try:
        yield consume()
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()


class FrameReader:
    """Batches of frames of a range of a video, decoded in the background.

    Args:
        video: a file, or its index (which saves reading the packets again).
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames per batch; the last one may be shorter.
        threads: that it may use; by default one, ahead of the caller.
        collector: takes pixels from the decoded frames; by default all of them, as RGB. The
            reader closes it.
        hwaccel: PyAV's settings of hardware that decodes; None for the CPU.

    Raises:
        VideoError: the file can't be opened, or not one frame of the range can be decoded.
        ValueError: the range lies outside the video.
    """

    def __init__(
        self,
        video: str | os.PathLike[str] | VideoIndex,
        *,
        start: int = 0,
        stop: int | None = None,
        batch_size: int = 32,
        threads: ReaderThreads | None = None,
        collector: Collector | None = None,
        hwaccel: Any = None,
    ) -> None:
        self.index = video if isinstance(video, VideoIndex) else index_video(video)
        self.start, self.stop = check_range(self.index, start, stop)
        self.batch_size = batch_size
        self._threads = threads or ReaderThreads()
        self._collector = collector or RgbCollector(self.index, self._threads.convert)
        self._hwaccel = hwaccel
        batch_bytes = self._collector.bytes_per_frame * batch_size
        n_ahead = max(1, min(_MAX_AHEAD, _MAX_AHEAD_BYTES // batch_bytes))
        self._n_ahead = n_ahead if self._threads.ahead else 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[Batch]:
        return self._open.enter_context(read_ahead(self._batches(), self._n_ahead))

    def _batches(self) -> Generator[Batch]:
        n_decoded = 0
        for batch in self._decoded():
            n_decoded += int((batch.statuses != FrameStatus.MISSING).sum())
            yield batch
        if n_decoded == 0 and self.start == 0 and self.stop == self.index.n_frames:
            hint = "The file is damaged: copy or record it again, or leave it out."
            message = "none of its frames can be decoded"
            raise VideoError(message, path=self.index.path, hint=hint)

    def _decoded(self) -> Iterator[Batch]:
        collector, threads = self._collector, self._threads.decode
        frames = iter_frames(
            self.index, self.start, self.stop, threads=threads, hwaccel=self._hwaccel
        )
        with contextlib.closing(collector), contextlib.closing(frames):
            for first in range(self.start, self.stop, self.batch_size):
                size = min(self.batch_size, self.stop - first)
                statuses = np.zeros(size, np.int8)
                collector.begin(first, size)
                for k, (_, frame, status) in enumerate(itertools.islice(frames, size)):
                    statuses[k] = status
                    collector.add(k, frame, status)
                yield Batch(first, collector.finish(), statuses)
