"""Encoding: an H.264 MP4 that looks like the video it comes from.

`VideoWriter` takes over size, timestamps (so a variable frame rate stays what it is), rotation
and colour tags of the source, and writes to exactly the path it is given. The MP4 can be played
while it is downloaded (its index comes first).

Pictures are 4:2:0 with 8 bits, which every player and browser shows; only where a side has an
odd number of pixels, which 4:2:0 H.264 can't express, they are 4:4:4, so that the size stays.
This module does not draw.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import OutputError, from_os_error
from raypose.video.index import VideoIndex

FULL_RANGE = 2


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Settings of x264.

    Attributes:
        crf: constant rate factor; lower is better and larger.
        preset: x264's preset.
        options: x264's own parameters on top of the preset.
        threads: 0 for as many as x264 finds fit for the cores.
    """

    crf: float
    preset: str = "veryfast"
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0


LABELED = EncoderSettings(
    crf=21.5,
    preset="superfast",
    options={
        "tune": "ssim",
        "x264-params": "bframes=2:b-adapt=0:mbtree=1:rc-lookahead=10",
    },
)
"""For labelled videos: the size and likeness of x264's medium preset at its default quality,
which Lightning Pose uses, in a quarter of the time. B-frames and macroblock trees, which the
superfast preset leaves out, cost little time and much improve the size; a high-motion search,
which it leaves out too, does neither."""

HIGH_QUALITY = EncoderSettings(crf=16, preset="faster")
"""For clips that are looked at closely or predicted again: visually lossless."""


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

    def __call__(self, frame: Any) -> Any:
        """`frame` itself, or a converted copy."""
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

    def black(self) -> Any:
        """A black frame, for where none can be decoded."""
        import av

        frame = av.VideoFrame(*self._size, self._format)
        for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
            plane_pixels(plane)[:] = value
        return frame


def plane_pixels(plane: Any) -> NDArray[np.uint8]:
    """A view of the pixels of a plane of a frame, (height, width)."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


class VideoWriter:
    """Writes frames as coded (before rotation), in order, with timestamps of their own.

    Args:
        path: file to write; always an MP4, whatever its name.
        like: the video whose size, time base, rotation and colours are taken over.
        settings: of the encoder.

    Raises:
        OutputError: the file can't be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        like: VideoIndex,
        settings: EncoderSettings = LABELED,
    ) -> None:
        import av

        self.path = os.fspath(path)
        self._like = like
        self._settings = settings
        self._stream: Any = None
        self._last: int | None = None
        try:
            self._container = av.open(
                "file:" + os.path.abspath(self.path),
                "w",
                format="mp4",
                options={"movflags": "+faststart"},
            )
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        except OSError as failure:
            if error is None:
                raise self._failed(failure) from failure

    def write(self, frame: Any, pts: int) -> None:
        """Encode a frame (`av.VideoFrame` in `output_format`) shown at `pts`.

        The picture is copied: the frame may be drawn on again as soon as this returns.

        Raises:
            OutputError: the file can't be written.
        """
        frame.pts, frame.time_base = pts, self._like.time_base
        # Else x264 would make every frame the kind (I, P, B) that it was in the source.
        frame.pict_type = 0
        try:
            if self._stream is None:
                self._stream = self._start(frame)
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise self._failed(error) from error

    def _start(self, frame: Any) -> Any:
        settings, like = self._settings, self._like
        rate = Fraction(like.fps).limit_denominator(1_000_000)
        stream = self._container.add_stream(
            "libx264",
            rate=rate,
            options={"preset": settings.preset, "crf": str(settings.crf), **settings.options},
        )
        stream.width, stream.height = like.coded_size
        stream.pix_fmt = output_format(like)
        context = stream.codec_context
        context.time_base = like.time_base
        context.thread_count = settings.threads
        context.color_range = frame.color_range
        context.colorspace = frame.colorspace
        context.color_primaries = frame.color_primaries
        context.color_trc = frame.color_trc
        if like.rotation:
            stream.set_display_rotation(-like.rotation)
        return stream

    def _failed(self, error: OSError) -> OutputError:
        named = from_os_error(error)
        message = named.message if named else f"the video can't be written ({error.strerror})"
        return OutputError(message, path=self.path, hint=named.hint if named else "")
