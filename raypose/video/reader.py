"""Frames of a video, in order, decoded ahead of whoever uses them.

`FrameReader` hands out batches of RGB arrays for the network, decoding in a thread of its own;
`iter_frames` hands out FFmpeg's own frames (YUV, as coded) for whoever draws and encodes again.
Both number frames as `raypose.video.index` does, begin at any frame without decoding more than
the group of pictures it lies in, and account for every frame: one that can't be decoded keeps
its place and is marked.

RGB values are those that `cv2.VideoCapture` gives, bit for bit, rotation included: the same
conversion (swscale, bicubic chroma, the colour matrix and range that the file declares), which
matters because networks were trained on frames that OpenCV read.

Nothing is resized or normalised here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from raypose.errors import VideoError
from raypose.video.container import decode, demux, open_video, video_stream
from raypose.video.index import VideoIndex, index_video
from raypose.video.packets import open_head, read_packets
from raypose.video.pixels import RgbWorkers

T = TypeVar("T")

_MAX_AHEAD_BYTES = 256 << 20
_MAX_THREADS = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive frames.

    Attributes:
        first: number of the first frame.
        frames: RGB, uint8, shape (B, H, W, 3); zeros where a frame can't be decoded. An array,
            or a tensor where a GPU has decoded them.
        ok: shape (B,), False where a frame can't be decoded.
    """

    first: int
    frames: Any
    ok: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ok)


@contextlib.contextmanager
def read_ahead(items: Iterator[T], n_ahead: int) -> Iterator[Iterator[T]]:
    """Run an iterator in a thread of its own, up to `n_ahead` items ahead of its user.

    Errors come out where the item would have; leaving the context stops the thread.
    """
    ready: queue.Queue[T | _End] = queue.Queue(max(1, n_ahead))
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
        batch_size: frames a batch; the last one may be shorter.
        prefetch: batches that may wait decoded; fewer do where they would take much memory.
        threads: of the decoder; 0 for one a core.

    Attributes:
        index: the video's index.
        n_undecodable: frames handed out so far that can't be decoded.

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
        threads: int = 0,
    ) -> None:
        self.index = video if isinstance(video, VideoIndex) else index_video(video)
        self.start, self.stop = _check_range(self.index, start, stop)
        self.batch_size = batch_size
        self.n_undecodable = 0
        self._threads = threads
        batch_bytes = 3 * self.index.width * self.index.height * batch_size
        self._prefetch = max(1, min(prefetch, _MAX_AHEAD_BYTES // batch_bytes))
        self._open = contextlib.ExitStack()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._open.enter_context(read_ahead(self._batches(), self._prefetch)):
            self.n_undecodable += len(batch) - int(batch.ok.sum())
            yield batch

    def close(self) -> None:
        """Stop decoding and let go of the file."""
        self._open.close()

    def _batches(self) -> Iterator[Batch]:
        n_decoded = 0
        for batch in self._decoded():
            n_decoded += int(batch.ok.sum())
            yield batch
        if n_decoded == 0 and self.start == 0 and self.stop == self.index.n_frames:
            raise VideoError(
                "none of its frames can be decoded",
                path=self.index.path,
                hint="The file is damaged: copy or record it again, or leave it out.",
            )

    def _decoded(self) -> Iterator[Batch]:
        """All batches; what another decoder does otherwise."""
        frames = iter_frames(self.index, self.start, self.stop, threads=self._threads)
        shape = (self.index.height, self.index.width, 3)
        with RgbWorkers(self.index, _conversion_threads()) as workers:
            for first in range(self.start, self.stop, self.batch_size):
                size = min(self.batch_size, self.stop - first)
                pixels = np.empty((size, *shape), np.uint8)
                ok = np.zeros(size, np.bool_)
                for k, (_, frame) in enumerate(itertools.islice(frames, size)):
                    if frame is None:
                        pixels[k] = 0
                    else:
                        workers.convert(frame, pixels[k])
                        ok[k] = True
                workers.wait()
                yield Batch(first, pixels, ok)


def iter_frames(
    index: VideoIndex,
    start: int = 0,
    stop: int | None = None,
    *,
    threads: int = 0,
    hwaccel: Any = None,
) -> Generator[tuple[int, Any | None], None, None]:
    """Decoded frames (`av.VideoFrame`, as coded) with their numbers, each number once, in order.

    Args:
        index: the video.
        start: first frame.
        stop: frame after the last; None for the end.
        threads: of the decoder; 0 for one a core.
        hwaccel: PyAV's settings of hardware that decodes; None for the CPU.

    Yields:
        The number of a frame, and the frame, or None where it can't be decoded.

    Raises:
        VideoError: the file can't be opened.
    """
    start, stop = _check_range(index, start, stop)
    if not index.seekable:
        yield from _in_decoding_order(index, start, stop, threads, hwaccel)
        return
    n = start
    careful = False
    back = 0
    while n < stop:
        first = n
        frames = _decode_from(index, n, stop, threads, careful, back, hwaccel)
        for number, frame in frames:
            # Something is damaged. Decoding several frames at once loses intact frames around
            # it, and which ones depends on timing: do it again, one at a time. Where nothing
            # comes right after a seek, it may need what lies before: go back further, once.
            if number > n and (not careful or (n == first and not back)):
                break
            for missing in range(n, number):
                yield missing, None
            if frame is not None:
                yield number, frame
            n = number + (frame is not None)
        frames.close()
        back = int(careful and n == first)
        careful = True


def _decode_from(
    index: VideoIndex, n: int, stop: int, threads: int, careful: bool, back: int, hwaccel: Any
) -> Generator[tuple[int, Any | None], None, None]:
    """Frames from `n` on that decode, with their numbers; ends with (`stop`, None).

    Frames that can't be decoded are left out: their numbers are missing.
    """
    pts = index.pts
    k = int(np.searchsorted(index.keyframes, n, side="right")) - 1 - back
    with _open_at(index, k, hwaccel) as (stream, packets):
        _set_threads(stream, threads, careful)
        for packet in packets:
            frames = decode(packet)
            if frames is None and not careful:
                break
            for frame in frames or ():
                if frame.pts is None or frame.pts < pts[n]:
                    continue
                number = n if frame.pts == pts[n] else int(np.searchsorted(pts, frame.pts))
                if number >= stop:
                    yield stop, None
                    return
                if pts[number] != frame.pts:
                    continue
                yield number, frame
                n = number + 1
                if n == stop:
                    return
    yield stop, None


@contextlib.contextmanager
def _open_at(index: VideoIndex, k: int, hwaccel: Any) -> Iterator[tuple[Any, Iterator[Any]]]:
    """A track with its packets from keyframe number `k` on, or from one before it."""
    if index.packets is not None:
        with open_head(index.packets, hwaccel) as head:
            stream = head.streams.video[0]
            first = int(index.pts[index.keyframes[k]]) if k > 0 else None
            packets = read_packets(index.path, index.packets, stream, index.time_base, first)
            with contextlib.closing(packets):
                yield stream, packets
        return
    with open_video(index.path, hwaccel) as container:
        stream = video_stream(container, index.path)
        yield stream, _packets_from(index, k, container, stream)


def _packets_from(index: VideoIndex, k: int, container: Any, stream: Any) -> Iterator[Any]:
    """Packets from keyframe number `k` or, where no seek leads there, from one before it."""
    import av

    if k <= 0:
        yield from demux(container, stream)
        return
    latest = int(index.pts[index.keyframes[k]])
    step = 1
    while k > 0:
        with contextlib.suppress(av.FFmpegError):
            container.seek(int(index.pts[index.keyframes[k]]), stream=stream)
            packets = itertools.dropwhile(_is_no_keyframe, demux(container, stream))
            first = next(packets, None)
            if first is not None and first.pts is not None and first.pts <= latest:
                yield first
                yield from packets
                return
        # Some demuxers search by decoding time, and some have no index to search in.
        k -= step
        step *= 2
    with open_video(index.path) as fresh:
        for packet in demux(fresh, video_stream(fresh, index.path)):
            packet.stream = stream
            yield packet


def _is_no_keyframe(packet: Any) -> bool:
    return not packet.is_keyframe


def _in_decoding_order(
    index: VideoIndex, start: int, stop: int, threads: int, hwaccel: Any
) -> Iterator[tuple[int, Any | None]]:
    """Frames numbered as they come out of the decoder, from the beginning."""
    with open_video(index.path, hwaccel) as container:
        stream = video_stream(container, index.path)
        _set_threads(stream, threads, careful=True)
        number = 0
        for packet in demux(container, stream):
            for frame in decode(packet) or ():
                if start <= number < stop:
                    yield number, frame
                number += 1
            if number >= stop:
                return
    for missing in range(max(number, start), stop):
        yield missing, None


def _conversion_threads() -> int:
    # On few cores the decoder and the network have use for all of them.
    return min(4, (os.cpu_count() or 1) // 4)


def _set_threads(stream: Any, threads: int, careful: bool) -> None:
    stream.thread_type = "SLICE" if careful else "AUTO"
    stream.thread_count = threads or min(os.cpu_count() or 1, _MAX_THREADS)


def _check_range(index: VideoIndex, start: int, stop: int | None) -> tuple[int, int]:
    stop = index.n_frames if stop is None else stop
    if not 0 <= start <= stop <= index.n_frames:
        raise ValueError(f"frames {start} to {stop} of a video of {index.n_frames} frames")
    return start, stop
