"""From a decoder's pixels to those that a network or an encoder takes.

`RgbConverter` and `RgbWorkers` make RGB as OpenCV does; `FrameConverter` makes frames for the
encoder and changes nothing that can stay. Neither resizes pictures.
"""

from __future__ import annotations

import collections
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.video.index import VideoIndex

FULL_RANGE = 2
_BICUBIC = 4


class RgbConverter:
    """Converts decoded frames to the RGB values that OpenCV would give, as they are shown."""

    def __init__(self, index: VideoIndex) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._size = index.coded_size
        self._turns = index.rotation // 90

    def __call__(self, frame: Any, out: NDArray[np.uint8]) -> None:
        """Write a frame into `out`, uint8, shape (H, W, 3)."""
        width, height = self._size
        # Above 8 bits swscale dithers, differently for RGB and for BGR, which OpenCV asks for.
        deep = frame.format.components[0].bits > 8
        order = "bgr24" if deep else "rgb24"
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format=order, interpolation=_BICUBIC, threads=1
        )
        plane: Any = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
        image = rows[:, : 3 * width].reshape(height, width, 3)
        if deep:
            image = image[..., ::-1]
        if self._turns:
            image = np.rot90(image, -self._turns)
        np.copyto(out, image)


class RgbWorkers:
    """Converts frames in several threads.

    Args:
        index: the video.
        n_threads: 1 to convert in the caller's thread.
    """

    def __init__(self, index: VideoIndex, n_threads: int) -> None:
        self._index = index
        self._n_threads = n_threads
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(n_threads, "raypose-rgb") if n_threads > 1 else None
        self._jobs: collections.deque[Future[None]] = collections.deque()

    def __enter__(self) -> RgbWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def convert(self, frame: Any, out: NDArray[np.uint8]) -> None:
        """Write a frame into `out`, at the latest when `wait` returns."""
        if self._pool is None:
            self._work(frame, out)
            return
        self._jobs.append(self._pool.submit(self._work, frame, out))
        # Waiting frames hold the decoder's memory.
        while len(self._jobs) > 2 * self._n_threads:
            self._jobs.popleft().result()

    def wait(self) -> None:
        """Return when every frame is converted."""
        while self._jobs:
            self._jobs.popleft().result()

    def _work(self, frame: Any, out: NDArray[np.uint8]) -> None:
        # A reformatter keeps state and serves one thread.
        converter = getattr(self._local, "converter", None)
        if converter is None:
            converter = self._local.converter = RgbConverter(self._index)
        converter(frame, out)


def output_format(index: VideoIndex) -> str:
    """Pixel format in which a video like `index` is encoded."""
    return "yuv444p" if index.width % 2 or index.height % 2 else "yuv420p"


class FrameConverter:
    """Decoded frames in the pixel format and size in which a video is encoded.

    Frames that are so already pass through; samples of limited and full range stay what they
    are, so that nothing changes where nothing has to.
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
        return self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=self._format.replace("yuv", "yuvj") if full else self._format,
            interpolation="BICUBIC",
            threads=1,
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
