"""Encoding: an H.264 MP4 that looks like the video it comes from.

`VideoWriter` takes over size, timestamps (a variable frame rate stays variable), rotation and
colour tags of the source. Pictures are 4:2:0 with 8 bits, which every player and browser shows.
Where a side has an odd number of pixels, which 4:2:0 H.264 can't express, they are 4:4:4.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from raypose.errors import OutputError
from raypose.video.index import VideoIndex
from raypose.video.mp4 import open_mp4, write_error
from raypose.video.pixels import output_format


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Settings of an encoder for H.264.

    Attributes:
        crf: constant rate factor, or NVENC's constant quality; lower is better and larger.
        preset: the encoder's preset.
        options: the encoder's own parameters on top of the preset.
        codec: FFmpeg's name of the encoder.
    """

    crf: float
    preset: str = "veryfast"
    options: Mapping[str, str] = field(default_factory=dict)
    codec: str = "libx264"


LABELED = EncoderSettings(
    crf=21.5,
    preset="superfast",
    options={
        "tune": "ssim",
        "x264-params": "bframes=2:b-adapt=0:mbtree=1:rc-lookahead=10:chroma-qp-offset=-2",
    },
)
"""For labelled videos: the size and likeness of x264's medium preset at its default quality,
which Lightning Pose uses, in a quarter of the time. B-frames and macroblock trees, which the
superfast preset leaves out, cost little time and much improve the size; finer chroma keeps the
colours of the markers."""

NVENC_LABELED = EncoderSettings(
    crf=23, preset="p4", options={"rc": "vbr", "b:v": "0"}, codec="h264_nvenc"
)
"""For labelled videos on a GPU's encoder. Not yet run on one: size and likeness are unknown."""

LABELED_BY = {"x264": LABELED, "nvenc": NVENC_LABELED}
"""Settings for labelled videos, by what the command line calls the encoder."""

HIGH_QUALITY = EncoderSettings(crf=16, preset="faster")
"""For clips that are looked at closely or predicted again: visually lossless."""


class VideoWriter:
    """Writes frames as coded (before rotation), in order, with timestamps of their own.

    Args:
        path: file to write; always an MP4, whatever its name.
        like: the video whose size, time base, rotation and colours are taken over.
        settings: of the encoder.
        threads: of x264.

    Raises:
        OutputError: the file can't be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        like: VideoIndex,
        settings: EncoderSettings = LABELED,
        threads: int = 1,
    ) -> None:
        self.path = os.fspath(path)
        self._like = like
        self._settings = settings
        self._threads = threads
        self._stream: Any = None
        self._last: int | None = None
        try:
            self._container = open_mp4(path, like.time_base)
        except OSError as error:
            raise write_error(error, path) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        except OSError as failure:
            if error is None:
                raise write_error(failure, self.path) from failure

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
            raise write_error(error, self.path) from error

    def _start(self, frame: Any) -> Any:
        settings, like = self._settings, self._like
        rate = Fraction(like.fps).limit_denominator(1_000_000)
        on_cpu = settings.codec == "libx264"
        quality = {"crf" if on_cpu else "cq": str(settings.crf)}
        options = dict(settings.options)
        if on_cpu and self._threads > 1:  # else x264 would start one more to look ahead
            given = options.get("x264-params")
            options["x264-params"] = ":".join(filter(None, (given, "sync-lookahead=0")))
        stream = self._container.add_stream(
            settings.codec,
            rate=rate,
            options={"preset": settings.preset, **quality, **options},
        )
        stream.width, stream.height = like.coded_size
        stream.pix_fmt = output_format(like)
        context = stream.codec_context
        context.time_base = like.time_base
        if on_cpu:
            context.thread_count = self._threads
        context.color_range = frame.color_range
        context.colorspace = frame.colorspace
        context.color_primaries = frame.color_primaries
        context.color_trc = frame.color_trc
        if like.rotation:
            stream.set_display_rotation(-like.rotation)
        if not on_cpu:
            self._open(context)
        return stream

    def _open(self, context: Any) -> None:
        """Open a GPU's encoder, whose errors don't concern the file."""
        try:
            context.open()
        except (OSError, ValueError) as error:
            raise OutputError(
                f"the GPU's encoder can't be used ({getattr(error, 'strerror', error)})",
                path=self.path,
                hint="Run with --encoder x264; not every GPU has an encoder (NVENC).",
            ) from error
