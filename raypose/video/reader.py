"""Frames of a video, in order, decoded ahead of their use.

`FrameReader` yields batches of RGB arrays for the network. It starts at any frame, decoding no
more than the group of pictures around it, and accounts for every frame: one that can't be decoded
keeps its place, and each has its status.

RGB values are those of `cv2.VideoCapture`, bit for bit, rotation included, because networks were
trained on frames that OpenCV read. Nothing is resized or normalised here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from raypose.errors import VideoError
from raypose.video.decoding import check_range, iter_frames
from raypose.video.frames import FrameStatus, Statuses, without_picture
from raypose.video.index import VideoIndex, index_video
from raypose.video.pixels import RgbWorkers

T = TypeVar("T")

_MAX_AHEAD_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ReaderThreads:
    """Threads that read a video.

    Attributes:
        decode: threads of the decoder.
        convert: threads that convert frames to RGB; with 1, the reading thread does it.
        ahead: whether the reading thread is one of its own, which works ahead of the caller.
    """

    decode: int = 1
    convert: int = 1
    ahead: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive frames.

    Attributes:
        first: number of the first frame.
        frames: RGB, uint8, shape (B, H, W, 3); zeros where a frame is missing. An array, or a
            tensor where a GPU has decoded them.
        statuses: shape (B,), the `FrameStatus` of each frame.
    """

    first: int
    frames: Any
    statuses: Statuses

    def __len__(self) -> int:
        return len(self.statuses)


@contextlib.contextmanager
def read_ahead(items: Iterator[T], n_ahead: int) -> Iterator[Iterator[T]]:
    """Run an iterator in a thread of its own, up to `n_ahead` items ahead of the caller.

    Errors are raised in place of the item; leaving the context stops the thread. With `n_ahead`
    0, the caller's thread does it.
    """
    if not n_ahead:
        yield items
        return
    ready: queue.Queue[T | _End] = queue.Queue(n_ahead)
    closing = threading.Event()

    def put(item: T | _End) -> None:
        while not closing.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def produce() -> None:
        error = None
        try:
            for item in items:
                put(item)
                if closing.is_set():
                    return
        except BaseException as caught:
            error = caught
        finally:
            put(_End(error))

    def consume() -> Iterator[T]:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    worker = threading.Thread(target=produce, name="raypose-decode", daemon=True)
    worker.start()
    try:
        yield consume()
    finally:
        closing.set()
        # The thread may be waiting for room.
        with contextlib.suppress(queue.Empty):
            ready.get_nowait()
        worker.join()


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class FrameReader:
    """Batches of RGB frames of a range of a video, decoded in the background.

    ```
    with FrameReader("video.mp4", batch_size=64) as reader:
        for batch in reader:
            predict(batch.frames)
    ```

    Args:
        video: a file, or its index (which saves reading the packets again).
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames per batch; the last one may be shorter.
        prefetch: decoded batches that may wait; fewer where they would take much memory.
        threads: that it may use; by default one, ahead of the caller.

    Attributes:
        index: the video's index.
        n_without_picture: frames yielded so far that are corrupt or missing.

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
        prefetch: int = 2,
        threads: ReaderThreads | None = None,
    ) -> None:
        self.index = video if isinstance(video, VideoIndex) else index_video(video)
        self.start, self.stop = check_range(self.index, start, stop)
        self.batch_size = batch_size
        self.n_without_picture = 0
        self._threads = threads or ReaderThreads()
        batch_bytes = 3 * self.index.width * self.index.height * batch_size
        self._n_ahead = max(1, min(prefetch, _MAX_AHEAD_BYTES // batch_bytes))
        if not self._threads.ahead:
            self._n_ahead = 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._open.enter_context(read_ahead(self._batches(), self._n_ahead)):
            self.n_without_picture += int(without_picture(batch.statuses).sum())
            yield batch

    def close(self) -> None:
        """Stop decoding and close the file."""
        self._open.close()

    def _batches(self) -> Iterator[Batch]:
        n_decoded = 0
        for batch in self._decoded():
            n_decoded += int((batch.statuses != FrameStatus.MISSING).sum())
            yield batch
        if n_decoded == 0 and self.start == 0 and self.stop == self.index.n_frames:
            raise VideoError(
                "none of its frames can be decoded",
                path=self.index.path,
                hint="The file is damaged: copy or record it again, or leave it out.",
            )

    def _decoded(self) -> Iterator[Batch]:
        """All batches; another decoder overrides this."""
        threads = self._threads
        frames = iter_frames(self.index, self.start, self.stop, threads=threads.decode)
        shape = (self.index.height, self.index.width, 3)
        with RgbWorkers(self.index, threads.convert) as workers:
            for first in range(self.start, self.stop, self.batch_size):
                size = min(self.batch_size, self.stop - first)
                pixels = np.empty((size, *shape), np.uint8)
                statuses = np.zeros(size, np.int8)
                for k, (_, frame, status) in enumerate(itertools.islice(frames, size)):
                    statuses[k] = status
                    if frame is None:
                        pixels[k] = 0
                    else:
                        workers.convert(frame, pixels[k])
                workers.wait()
                yield Batch(first, pixels, statuses)
