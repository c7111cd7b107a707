"""The frame index of a video: every displayed frame, read from packets.

It says how many rows a table of predictions has, where a video can be split, and when each frame
is shown. Frames are numbered in order of presentation, as OpenCV returns them; packets that no
player shows (cut off by an edit list, or empty) are not counted. Only the first frame is decoded,
unless timestamps are unreliable (see `numbering`): then frames are numbered as the decoder returns
them, counted by decoding the file once, and the video is always read from its beginning
(`seekable` is False). `index_cache` keeps indexes between runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import VideoError
from raypose.limits import MAX_PICTURE_PIXELS
from raypose.storage.digests import digest_of_blocks
from raypose.video.container import check_claims, check_file, open_video, video_stream
from raypose.video.numbering import decode_order, is_regular, why_not_by_time
from raypose.video.packets import (
    Int64,
    Packets,
    PacketTable,
    describe_track,
    packet_table,
    scan_packets,
)

INDEX_VERSION = 3
"""Raised when the index of an unchanged file differs from what it was before."""

TRUNCATED = "it is truncated"
"""What the note says on a file that ends before the frames that its header promises."""

SAMPLE_BYTES = 1 << 20
_N_SAMPLES = 16


@dataclass(frozen=True, slots=True, eq=False)
class VideoIndex:
    """The frames of a video, and how to decode them."""

    path: str
    codec: str  # FFmpeg's name (`h264`)
    pix_fmt: str  # of the coded frames (`yuv420p`)
    width: int  # columns of a displayed frame, after rotation
    height: int  # rows of a displayed frame, after rotation
    rotation: int  # degrees clockwise by which coded frames are turned: 0, 90, 180 or 270
    n_frames: int  # displayed frames
    keyframes: Int64 = field(repr=False)  # frames, 0 and on, where decoding can begin
    # When each frame is shown, ascending, in `time_base`; made up where `seekable` is False and
    # the file's own times do not ascend.
    pts: Int64 = field(repr=False)
    time_base: Fraction  # seconds per tick
    fps: float  # average frame rate, in frames per second
    duration_s: float  # from the first frame's beginning to the last frame's end
    is_vfr: bool  # the time between frames varies by more than rounding
    seekable: bool = True  # timestamps identify frames, so that reading can begin anywhere
    notes: tuple[str, ...] = ()  # oddities and what raypose does about them, one sentence each
    # Where the packets lie in the file; None where only FFmpeg can read them.
    packets: PacketTable | None = field(default=None, repr=False)
    # First byte of each keyframe's packet, to recognise it after a seek; −1 where the container
    # does not say, None where `seekable` is False.
    keyframe_positions: Int64 | None = field(default=None, repr=False)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Time of every frame in seconds after the first, shape (n_frames,)."""
        times: NDArray[np.float64] = (self.pts - self.pts[0]) * float(self.time_base)
        return times

    @property
    def coded_size(self) -> tuple[int, int]:
        """Width and height before rotation, in pixels."""
        turned = self.rotation in (90, 270)
        return (self.height, self.width) if turned else (self.width, self.height)


def index_video(path: str | os.PathLike[str]) -> VideoIndex:
    """Read the packets of a local video; a VideoError says why it can't be used."""
    path = os.fspath(path)
    file_size = check_file(path)
    check_claims(path)
    with open_video(path) as container:
        stream = video_stream(container, path)
        if stream.codec_context is None:
            message, hint = "no decoder for its codec is available", "Convert the video to H.264."
            raise VideoError(message, path=path, hint=hint)
        description = describe_track(stream)
        scanned = scan_packets(path, container, stream)
        table = packet_table(scanned, stream, description)
        header = _header(path, stream, scanned.first_frame)
        # Whether the container's own index points to data behind the end of the file.
        entries = stream.index_entries
        is_cut_short = len(entries) > 0 and entries[len(entries) - 1].pos >= file_size
        promised = int(stream.frames) if is_cut_short else 0
        average_rate = stream.average_rate or stream.guessed_rate
    if not scanned.is_shown.any():
        hint = "Leave it out, or record or export it again."
        raise VideoError("the file has a video track but no frame in it", path=path, hint=hint)
    notes = _packet_notes(scanned, promised)
    why_not = why_not_by_time(path, scanned)
    if why_not:
        pts, time_base, times = decode_order(path)
        keyframes, positions = np.zeros(1, np.int64), None
        notes.append(
            f"{why_not}: its frames are numbered as they come out of the decoder, which is slower "
            f"because the video is always read from its beginning, and {times}"
        )
    else:
        time_base = scanned.time_base
        pts, keyframes, positions = scanned.in_presentation_order()
    if len(pts) == 0:
        raise _nothing_decodes(path)
    if scanned.first_frame is None:
        notes.append("the first frames can't be decoded: their rows will be empty")
    is_vfr, gap_notes = _regularity(pts, time_base)
    fps = _frame_rate(pts, time_base, average_rate, is_vfr)
    return VideoIndex(
        path=path,
        n_frames=len(pts),
        keyframes=keyframes,
        pts=pts,
        time_base=time_base,
        fps=fps,
        duration_s=float((int(pts[-1]) - int(pts[0])) * time_base) + 1.0 / fps,
        is_vfr=is_vfr,
        seekable=not why_not,
        notes=(*notes, *gap_notes),
        packets=None if why_not else table,
        keyframe_positions=positions,
        **header,
    )


def fingerprint_video(path: str | os.PathLike[str]) -> str:
    """Digest of a video's size and of samples of its bytes; quick for files of any size.

    Small files are read whole. Of larger ones the first and the last megabyte are, where
    containers keep their index, and further megabytes spread evenly between.
    `raypose.storage.digests` tells whether a file is, byte for byte, what it was.
    """
    path = os.fspath(path)
    size = check_file(path)
    with open(path, "rb", buffering=0) as file:
        samples = (os.pread(file.fileno(), SAMPLE_BYTES, place) for place in sample_places(size))
        return digest_of_blocks(chain([str(size).encode()], samples))


def sample_places(size: int) -> list[int]:
    """Where the samples of a file of `size` bytes begin."""
    if size <= SAMPLE_BYTES * _N_SAMPLES:
        return list(range(0, size, SAMPLE_BYTES))
    step = (size - SAMPLE_BYTES) / (_N_SAMPLES - 1)
    return [int(i * step) for i in range(_N_SAMPLES)]


def _nothing_decodes(path: str) -> VideoError:
    damage = f"It is damaged, or its pictures have more than {MAX_PICTURE_PIXELS:,} pixels"
    hint = f"{damage}: copy or export it again, or leave it out."
    return VideoError("none of its frames can be decoded", path=path, hint=hint)


def _header(path: str, stream: Any, first: Any) -> dict[str, Any]:
    """What the header and the first frame say, as fields of the index."""
    context = stream.codec_context
    if not context.width or not context.height:
        raise _nothing_decodes(path)
    source = context if first is None else first
    # FFmpeg counts counter-clockwise.
    rotation = 0 if first is None else -round(first.rotation / 90) * 90 % 360
    turned = rotation in (90, 270)
    return {
        "codec": context.codec.canonical_name,
        # Asked of a decoder that has not decoded anything, PyAV 17 crashes.
        "pix_fmt": "unknown" if first is None else first.format.name,
        "width": source.height if turned else source.width,
        "height": source.width if turned else source.height,
        "rotation": rotation,
    }


def _packet_notes(packets: Packets, promised: int) -> list[str]:
    notes = []
    if promised > len(packets.pts):
        notes.append(
            f"the header promises {promised} frames but the file holds {len(packets.pts)}: "
            f"{TRUNCATED}, and what is there is used"
        )
    if packets.n_cut:
        notes.append(
            f"{packets.n_cut} coded frames are cut off by the file's edit list: as in any player, "
            "they are not shown and have no row"
        )
    if packets.n_corrupt:
        notes.append(
            f"{packets.n_corrupt} packets are marked as damaged: frames that can't be decoded get "
            "an empty row"
        )
    return notes


def _regularity(pts: Int64, time_base: Fraction) -> tuple[bool, list[str]]:
    """Whether the frame rate varies, and sentences on that and on gaps."""
    if is_regular(pts):
        return False, []
    steps = np.diff(pts)
    usual = float(np.median(steps))
    gaps = steps > 1.75 * usual
    whole = np.abs(steps / usual - np.round(steps / usual)) * usual <= max(1.5, 0.05 * usual)
    if bool(whole.all()) and gaps.any():
        longest = float((steps.max() - usual) * time_base)
        return True, [
            f"{int(gaps.sum())} gaps in the timestamps, the longest of {longest:.3g} s: no rows "
            "are made up for frames that the file does not hold, and times follow the file"
        ]
    return True, [
        "the frame rate is variable: times in labelled videos and snippets follow the file's "
        "timestamps"
    ]


def _frame_rate(pts: Int64, time_base: Fraction, declared: Any, is_vfr: bool) -> float:
    span = (int(pts[-1]) - int(pts[0])) * time_base
    measured = float((len(pts) - 1) / span) if len(pts) > 1 and span > 0 else 0.0
    if declared and not is_vfr and (not measured or abs(measured / float(declared) - 1) < 0.01):
        # Timestamps are rounded to ticks; the header is exact.
        return float(declared)
    return measured or float(declared or 25)
