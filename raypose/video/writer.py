"""MP4s that look like the video they come from: encoded anew (`VideoWriter`), or copied.

`VideoWriter` takes over size, timestamps (a variable frame rate stays variable), rotation and
colour tags of the source. Pictures are 4:2:0 with 8 bits, which every player and browser shows;
4:4:4 where a side has an odd number of pixels. `copy_plain` and `join_parts` copy packets.

The edit list of an MP4 says which part of a track is shown. It counts in ticks of the movie, which
are milliseconds unless the muxer is told otherwise: above 1000 frames per second, and at many
rates below, the last frames would be cut off.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from raypose.errors import OutputError, from_os_error
from raypose.video.container import demux, open_video, video_stream
from raypose.video.index import VideoIndex
from raypose.video.pixels import output_format

AnyName = str | os.PathLike[str]

_MIN_TIMESCALE = 10_000
_MAX_TIMESCALE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Settings of an encoder for H.264."""

    crf: float  # constant rate factor, or NVENC's constant quality; lower is better and larger
    preset: str = "veryfast"
    options: Mapping[str, str] = field(default_factory=dict)  # on top of the preset
    codec: str = "libx264"  # FFmpeg's name of the encoder


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

    Always an MP4, whatever its name, with size, time base, rotation and colours of `like`.
    `threads` are those of x264. All methods raise an OutputError if the file can't be written.
    """

    def __init__(
        self,
        path: AnyName,
        like: VideoIndex,
        settings: EncoderSettings = LABELED,
        threads: int = 1,
    ) -> None:
        self.path = os.fspath(path)
        self._like, self._settings, self._threads = like, settings, threads
        self._stream: Any = None
        with _writing(path):
            self._container = open_mp4(path, like.time_base)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        with _writing(self.path) if error is None else contextlib.suppress(OSError):
            if error is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()

    def write(self, frame: Any, pts: int) -> None:
        """Encode a frame (`av.VideoFrame` in `output_format`) shown at `pts`.

        The picture is copied: the frame may be drawn on again as soon as this returns.
        """
        frame.pts, frame.time_base = pts, self._like.time_base
        # Else x264 would make every frame the kind (I, P, B) that it was in the source.
        frame.pict_type = 0
        with _writing(self.path):
            if self._stream is None:
                self._stream = self._start(frame)
            self._container.mux(self._stream.encode(frame))

    def _start(self, frame: Any) -> Any:
        settings, like = self._settings, self._like
        on_cpu = settings.codec == "libx264"
        options = {"preset": settings.preset, "crf" if on_cpu else "cq": str(settings.crf)}
        options |= settings.options
        if on_cpu and self._threads > 1:  # else x264 would start one more to look ahead
            given = options.get("x264-params")
            options["x264-params"] = ":".join(filter(None, (given, "sync-lookahead=0")))
        rate = Fraction(like.fps).limit_denominator(1_000_000)
        stream = self._container.add_stream(settings.codec, rate=rate, options=options)
        stream.width, stream.height = like.coded_size
        stream.pix_fmt = output_format(like)
        context = stream.codec_context
        context.time_base = like.time_base
        copy_colors(frame, context)
        if like.rotation:
            stream.set_display_rotation(-like.rotation)
        if on_cpu:
            context.thread_count = self._threads
            return stream
        try:
            context.open()
        except (OSError, ValueError) as error:  # of the GPU's encoder, not of the file
            raise OutputError(
                f"the GPU's encoder can't be used ({getattr(error, 'strerror', error)})",
                path=self.path,
                hint="Run with --encoder x264; not every GPU has an encoder (NVENC).",
            ) from error
        return stream


def copy_colors(source: Any, target: Any) -> None:
    """Take over the colour tags of a frame."""
    for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(target, name, getattr(source, name))


def open_mp4(path: AnyName, time_base: Fraction) -> Any:
    """An MP4 to write, exactly at `path`, for a track whose times are in `time_base`."""
    import av

    place = "file:" + os.path.abspath(path)
    return av.open(place, "w", format="mp4", options=mp4_options(time_base))


def mp4_options(time_base: Fraction) -> dict[str, str]:
    """Options of the muxer. The index comes first, so that a download can be played meanwhile."""
    # The muxer makes the ticks of a track finer in this way; those of the movie are the same.
    timescale = time_base.denominator
    while timescale < _MIN_TIMESCALE:
        timescale *= 2
    return {"movflags": "+faststart", "movie_timescale": str(min(timescale, _MAX_TIMESCALE))}


@contextlib.contextmanager
def _writing(path: AnyName) -> Iterator[None]:
    """What the system and FFmpeg raise becomes an `OutputError`."""
    try:
        yield
    except OSError as error:
        named = from_os_error(error)
        message = named.message if named else f"the video can't be written ({error.strerror})"
        raise OutputError(message, path=path, hint=named.hint if named else "") from error


def count_shown(path: AnyName) -> int:
    """Frames of a video that a player shows, edit list included, without decoding."""
    path = os.fspath(path)
    with open_video(path) as container:
        packets = demux(container, video_stream(container, path))
        return sum(1 for packet in packets if packet.size and not packet.is_discard)


def check_shown(path: AnyName, n_frames: int) -> None:
    """Raise an OutputError where a player shows more or fewer frames than were written."""
    n_shown = count_shown(path)
    if n_shown != n_frames:
        raise OutputError(
            f"the video that was written shows {n_shown} frames instead of {n_frames}, so they "
            "would not be those of the table",
            path=path,
            hint="Please report this with the video; the table of predictions is not affected.",
        )


def copy_plain(index: VideoIndex, out_path: AnyName) -> bool:
    """Copy the packets of a plain H.264 video into an MP4.

    Plain is what every player shows alike: 4:2:0, not rotated, from time 0 on, all packets shown.
    Returns False where the video is not; what was written by then must be overwritten.
    """
    plain = index.codec == "h264" and index.pix_fmt == "yuv420p" and index.rotation == 0
    if not plain or index.notes or not index.seekable or int(index.pts[0]) != 0:
        return False
    with open_video(index.path) as source:
        stream = video_stream(source, index.path)
        with open_mp4(out_path, stream.time_base) as target:
            _copy(source, stream, target.add_stream_from_template(stream), target)
    return count_shown(out_path) == index.n_frames


def join_parts(
    parts: Sequence[str], begins: Sequence[int], out_path: AnyName, like: VideoIndex
) -> None:
    """Write the packets of all parts, one after the other, into an MP4.

    Args:
        parts: MP4 files by `VideoWriter` with the same settings, so that one header serves all;
            each begins at time 0 with a keyframe.
        begins: when each begins in the whole, ascending, in `like.time_base`.
        like: the video whose rotation is taken over.

    Raises:
        OutputError: the file can't be written.
        ValueError: the parts were not encoded alike.
    """
    with _writing(out_path), open_mp4(out_path, like.time_base) as target:
        joined: Any = None
        header = b""
        for part, begin in zip(parts, begins, strict=True):
            with open_video(part) as source:
                stream = video_stream(source, part)
                if joined is None:
                    header = stream.codec_context.extradata
                    joined = target.add_stream_from_template(stream)
                    if like.rotation:
                        joined.set_display_rotation(-like.rotation)
                elif stream.codec_context.extradata != header:
                    raise ValueError(f"{part} is encoded otherwise than the parts before it")
                ticks = round(begin * like.time_base / stream.time_base)
                _copy(source, stream, joined, target, ticks)


def _copy(source: Any, stream: Any, copy: Any, target: Any, ticks: int = 0) -> None:
    """Copy the packets of a stream, later by `ticks`."""
    for packet in demux(source, stream):
        if packet.dts is None:  # the empty packet at the end
            continue
        if ticks:
            packet.pts += ticks
            packet.dts += ticks
        packet.stream = copy
        target.mux(packet)
