"""From a decoder's pixels to those that a network or an encoder takes. No picture is resized."""

from __future__ import annotations

import collections
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.video.frames import FrameStatus
from raypose.video.index import VideoIndex

FULL_RANGE = 2
_BICUBIC = 4


class Workers:
    """Threads that take decoded frames from the decoder's thread; with one, that thread works."""

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads, "raypose-pixels") if n_threads > 1 else None
        self._jobs: collections.deque[Future[None]] = collections.deque()

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        """Call `work`; it is done at the latest when `wait` returns."""
        if self._pool is None:
            work(*arguments)
            return
        self._jobs.append(self._pool.submit(work, *arguments))
        # Waiting frames hold the decoder's memory.
        self.wait(2 * self._n_threads)

    def wait(self, n_left: int = 0) -> None:
        """Return when all work but the last `n_left` pieces is done; an error is raised here."""
        while len(self._jobs) > n_left:
            self._jobs.popleft().result()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


class RgbConverter:
    """Decoded frames to the RGB values that OpenCV would give, in any thread.

    All are brought to one width and height, those of the video's first frame.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._local = threading.local()

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """A frame as it is coded, not turned: (H, W, 3), a view of FFmpeg's memory."""
        from av.video.reformatter import VideoReformatter

        # A reformatter keeps state and serves one thread.
        if not hasattr(self._local, "reformatter"):
            self._local.reformatter = VideoReformatter()
        width, height = self._size
        # Above 8 bits swscale dithers, differently for RGB and for BGR, which OpenCV asks for.
        deep = frame.format.components[0].bits > 8
        order = "bgr24" if deep else "rgb24"
        rgb = self._local.reformatter.reformat(
            frame, width=width, height=height, format=order, interpolation=_BICUBIC, threads=1
        )
        plane: Any = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
        image = rows[:, : 3 * width].reshape(height, width, 3)
        return image[..., ::-1] if deep else image


class Collector(ABC):
    """What becomes of decoded frames: the pixels of a batch.

    Args:
        n_threads: that take pixels from frames; with 1, the decoder's thread does.
        fills_gaps: a frame without a picture (corrupt or missing) gets the one of the last frame
            that has one, for those who look at its neighbours too; at the beginning, that of the
            next one in its batch.
    """

    def __init__(self, n_threads: int = 1, *, fills_gaps: bool = False) -> None:
        self._workers = Workers(n_threads)
        self._fills_gaps = fills_gaps
        self._last_good: Any = None
        self._waiting: list[int] = []

    @property
    @abstractmethod
    def bytes_per_frame(self) -> int:
        """Memory that a frame of a batch takes."""

    @abstractmethod
    def begin(self, first: int, size: int) -> None:
        """Begin a batch of `size` frames, the first of which has that number."""

    @abstractmethod
    def _put(self, k: int, frame: Any) -> None:
        """Take the pixels of the decoded `frame` for frame `k` of the batch, or submit that."""

    @abstractmethod
    def _blank(self, k: int) -> None:
        """Make frame `k` of the batch black."""

    @abstractmethod
    def _finished(self) -> Any:
        """The pixels of the batch."""

    def add(self, k: int, frame: Any | None, status: FrameStatus) -> None:
        """Take frame `k` of the batch; None where there is no picture."""
        good = status < FrameStatus.CORRUPT
        if self._fills_gaps and not good and self._last_good is not None:
            self._put(k, self._last_good)
        elif frame is None:
            self._blank(k)
        else:
            self._put(k, frame)
        if not self._fills_gaps:
            return
        if good:
            if self._waiting:
                self._workers.wait()  # they may be about to get their own, corrupt pictures
            for waiting in self._waiting:
                self._put(waiting, frame)
            self._waiting.clear()
            self._last_good = frame
        elif self._last_good is None:
            self._waiting.append(k)

    def finish(self) -> Any:
        """The pixels of the batch, when all of its frames have been added."""
        self._workers.wait()
        self._waiting.clear()
        return self._finished()

    def close(self) -> None:
        """Free what is held: to be called once."""
        self._last_good = None
        self._workers.close()


class RgbCollector(Collector):
    """RGB frames as they are shown: uint8, (B, H, W, 3), zeros where a frame is missing."""

    def __init__(self, index: VideoIndex, n_threads: int = 1, *, fills_gaps: bool = False) -> None:
        super().__init__(n_threads, fills_gaps=fills_gaps)
        self._shape = index.height, index.width, 3
        self._turns = index.rotation // 90
        self._convert = RgbConverter(*index.coded_size)
        self._pixels = np.empty((0, *self._shape), np.uint8)

    @property
    def bytes_per_frame(self) -> int:
        return math.prod(self._shape)

    def begin(self, first: int, size: int) -> None:
        self._pixels = np.empty((size, *self._shape), np.uint8)

    def _put(self, k: int, frame: Any) -> None:
        self._workers.submit(self._write, frame, self._pixels[k])

    def _write(self, frame: Any, out: NDArray[np.uint8]) -> None:
        image = self._convert(frame)
        np.copyto(out, np.rot90(image, -self._turns) if self._turns else image)

    def _blank(self, k: int) -> None:
        self._pixels[k] = 0

    def _finished(self) -> NDArray[np.uint8]:
        return self._pixels


def output_format(index: VideoIndex) -> str:
    """Pixel format in which a video like `index` is encoded."""
    return "yuv444p" if index.width % 2 or index.height % 2 else "yuv420p"


class FrameConverter:
    """Decoded frames in the pixel format and size in which a video is encoded.

    Nothing changes that need not: samples of limited and full range stay what they are.
    """

    def __init__(self, index: VideoIndex) -> None:
        from av.video.reformatter import VideoReformatter

        self._size = index.coded_size
        self._format = output_format(index)
        self._reformatter = VideoReformatter()
        self._last: Any = None

    def __call__(self, frame: Any | None) -> Any:
        """`frame` itself, or a converted copy; where it is missing, the picture before it.

        A video that begins with a missing frame begins black.
        """
        if frame is not None:
            self._last = self._converted(frame)
        elif self._last is None:
            self._last = self._black()
        return self._last

    def _converted(self, frame: Any) -> Any:
        width, height = self._size
        # "yuvj" is FFmpeg's older way to say full range.
        same = frame.format.name.replace("yuvj", "yuv") == self._format
        if same and (frame.width, frame.height) == (width, height):
            return frame
        full = frame.color_range == FULL_RANGE and not frame.format.is_rgb
        name = self._format.replace("yuv", "yuvj") if full else self._format
        return self._reformatter.reformat(
            frame, width=width, height=height, format=name, interpolation=_BICUBIC, threads=1
        )

    def _black(self) -> Any:
        import av

        frame = av.VideoFrame(*self._size, self._format)
        for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
            plane_pixels(plane)[:] = value
        return frame


def plane_pixels(plane: Any) -> NDArray[np.uint8]:
    """A view of the pixels of a plane of a frame, (height, width)."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
