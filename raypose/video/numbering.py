"""How the frames of a video are numbered: by their times, or as they come out of the decoder.

The order in which a decoder returns the frames is the reference: it is what OpenCV and every
player show. Sorting packets by their presentation times gives the same order without decoding, and
lets reading begin anywhere; but card readers, stream recorders and tools that join files write
times that step back or repeat. `why_not_by_time` decides from all packets, and in doubt from the
codec's own headers (`pictures`), whether times can be relied upon; else `decode_order` serves.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from raypose.video.container import decode, demux, open_video, video_stream
from raypose.video.packets import NO_TIME, Int64, Packets
from raypose.video.pictures import coded_order

# Containers that say when a frame is shown; others say only when it is decoded.
_EXPLICIT_TIMES = {"mp4", "matroska", "webm", "mpegts", "flv"}
# Containers without decoding times of their own: FFmpeg derives them from the others.
_DERIVED_DTS = {"matroska", "webm"}
_N_COMPARED = 48
# An MPEG-4 packet as short as this may stand for a frame that isn't coded and never comes out.
_MAX_EMPTY_VOP = 19


def is_regular(pts: Int64) -> bool:
    """Whether ascending times are a constant rate, up to rounding."""
    steps = np.diff(pts)
    if len(steps) == 0 or int(steps.min()) == int(steps.max()):
        return True
    usual = float(np.median(steps))
    return not (np.abs(steps - usual) > max(1.5, 0.05 * usual)).any()


def why_not_by_time(path: str, packets: Packets) -> str:
    """Why frames can't be numbered by their times, as a clause; empty where they can."""
    shown = packets.is_shown
    pts = packets.pts[shown]
    if (pts == NO_TIME).any():
        return "some frames have no timestamp"
    if len(pts) == 0:
        return ""
    order = np.argsort(pts, kind="stable")
    in_order = pts[order]
    if not (np.diff(in_order) > 0).all():
        return f"{len(pts) - len(np.unique(pts))} timestamps repeat an earlier one"
    dts = packets.dts[packets.dts != NO_TIME]
    if _DERIVED_DTS.isdisjoint(packets.formats) and (np.diff(dts) <= 0).any():
        return "the decoding times step back or repeat"
    # A frame at place i can be shown as number i - depth at the earliest.
    too_early = np.arange(len(pts)) - np.argsort(order) > packets.depth
    if too_early.any():
        return f"timestamps step back, first at frame {int(np.argmax(too_early))}"
    if packets.codec == "mpeg4" and int(packets.size.min()) <= _MAX_EMPTY_VOP:
        return "some packets hold no frame"
    explicit = not _EXPLICIT_TIMES.isdisjoint(packets.formats)
    is_sorted = bool((order[1:] > order[:-1]).all())
    doubtful = packets.depth > 0 and (is_sorted or not is_regular(in_order))
    if packets.may_reorder and (doubtful or not explicit):
        known = coded_order(path)
        if known is None or len(known) != len(shown):
            if not explicit and packets.depth > 0:
                return "the container doesn't say when a frame is shown"
        elif not np.array_equal(np.argsort(known[shown], kind="stable"), order):
            return "the timestamps disagree with the order in which the codec shows its frames"
    if not explicit:
        with open_video(path) as container:
            times = _decoded_times(container, video_stream(container, path), _N_COMPARED)
        # Those of the first frames that decode are not what the packets announce.
        if not ((np.diff(times) > 0).all() and np.isin(times, in_order).all()):
            return "the container doesn't say when a frame is shown"
    return ""


def decode_order(path: str) -> tuple[Int64, Fraction, str]:
    """Decode a video once: the ascending times of its frames as they come out of the decoder.

    Returns them, seconds per tick, and what the times follow, as a clause (see `clock`).
    """
    with open_video(path) as container:
        stream = video_stream(container, path)
        known = _decoded_times(container, stream)
        rate, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
    return clock(known, time_base, Fraction(rate) if rate else None)


def _decoded_times(container: Any, stream: Any, enough: int | None = None) -> Int64:
    """The times of the frames that come out of the decoder; all, or `enough` of them."""
    times: list[int] = []
    for packet in demux(container, stream):
        frames = decode(packet) or ()
        times += [NO_TIME if frame.pts is None else frame.pts for frame in frames]
        if enough and len(times) >= enough:
            break
    return np.array(times, np.int64)


def clock(
    known: Int64, time_base: Fraction, declared: Fraction | None
) -> tuple[Int64, Fraction, str]:
    """Strictly ascending times for frames in the order in which they are shown.

    `known` are those that they have, with `NO_TIME` where there is none; `declared` is the frame
    rate in the header. Times are the file's own where they ascend. Where some repeat because the
    container counts too coarsely, they are spread evenly over the time that the repeated one
    stands for. Where they step back or are missing, frames are counted at a constant rate.
    """
    steps = np.diff(known)
    if len(known) and (known != NO_TIME).all() and (steps >= 0).all():
        if (steps > 0).all():
            return known, time_base, "times follow the file"
        if known[-1] > known[0]:
            return _spread(known, time_base, declared)
    in_order = np.sort(known)
    if (known != NO_TIME).all() and (np.diff(in_order) > 0).all() and is_regular(in_order):
        # Containers without times of their own hand out those of other frames.
        return in_order, time_base, "times follow the file"
    rate = _rate(known[known != NO_TIME], time_base, declared)
    return _constant(len(known), rate)


def _rate(times: Int64, time_base: Fraction, declared: Fraction | None) -> Fraction:
    """The frame rate of times that step back or are missing."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return declared or Fraction(25)
    middle = np.median(steps)
    # Mean of the steps forward that are like most others.
    usual = float(steps[np.abs(steps - middle) <= max(1, middle / 2)].mean())
    usual_s = usual * float(time_base)
    # The header is exact; but some say no more than a default.
    if declared and abs(usual_s * float(declared) - 1) < 0.05:
        return declared
    return Fraction(1 / usual_s).limit_denominator(1001)


def _constant(n: int, rate: Fraction) -> tuple[Int64, Fraction, str]:
    """Times of `n` frames at a constant rate, exact."""
    said = f"times are counted at {float(rate):.6g} frames per second"
    return np.arange(n, dtype=np.int64) * rate.denominator, Fraction(1, rate.numerator), said


def _spread(
    known: Int64, time_base: Fraction, declared: Fraction | None
) -> tuple[Int64, Fraction, str]:
    """Times that never step back but repeat, made strictly ascending."""
    n = len(known)
    ticks = (known - known[0]).astype(np.float64)
    measured = Fraction(n - 1) / (int(known[-1] - known[0]) * time_base)
    for rate in (declared, measured):
        # Every time is within its rounding of a constant rate.
        if rate and np.abs(np.arange(n) / float(rate * time_base) - ticks).max() <= 1:
            return _constant(n, rate if rate == declared else measured.limit_denominator(1001))
    firsts = np.flatnonzero(np.diff(known, prepend=known[0] - 1) > 0)
    longest = int(np.diff(firsts, append=n).max())
    finer = min(longest, 1000)
    last = ticks[firsts[-1]] + (n - firsts[-1]) / longest
    even_ticks = np.interp(np.arange(n), [*firsts, n], [*ticks[firsts], last])
    fine = np.round(even_ticks * finer).astype(np.int64)
    # Rounding may have joined two that were apart.
    fine = np.maximum.accumulate(fine - np.arange(n)) + np.arange(n)
    return fine, time_base / finer, "times that repeat are spread evenly"
