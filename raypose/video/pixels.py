"""From a decoder's pixels to those that a network or an encoder takes. No picture is resized."""

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


class RgbWorkers:
    """Converts decoded frames to the RGB values that OpenCV would give, as they are shown.

    With one thread, the caller's does it.
    """

    def __init__(self, index: VideoIndex, n_threads: int) -> None:
        self._size = index.coded_size
        self._turns = index.rotation // 90
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
        """Write a frame into `out`, uint8, shape (H, W, 3), at the latest when `wait` returns."""
        if self._pool is None:
            self._convert(frame, out)
            return
        self._jobs.append(self._pool.submit(self._convert, frame, out))
        # Waiting frames hold the decoder's memory.
        self.wait(2 * self._n_threads)

    def wait(self, n_left: int = 0) -> None:
        """Return when every frame but `n_left` is converted."""
        while len(self._jobs) > n_left:
            self._jobs.popleft().result()

    def _convert(self, frame: Any, out: NDArray[np.uint8]) -> None:
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
        if deep:
            image = image[..., ::-1]
        if self._turns:
            image = np.rot90(image, -self._turns)
        np.copyto(out, image)


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
