"""How raypose opens the MP4s that it writes, and the check before one is committed.

The edit list of an MP4 says which part of a track is shown. It counts in ticks of the movie, which
are milliseconds unless the muxer is told otherwise: above 1000 frames per second, and at many
rates below, the last frames would be cut off.
"""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

from raypose.errors import OutputError, from_os_error
from raypose.video.container import demux, open_video, video_stream

_MIN_TIMESCALE = 10_000
_MAX_TIMESCALE = 2**31 - 1


def mp4_options(time_base: Fraction) -> dict[str, str]:
    """Options of the muxer for a track whose times are in `time_base`.

    The index comes first, so that the file can be played while it is downloaded.
    """
    # The muxer makes the ticks of a track finer in this way; those of the movie are the same.
    timescale = time_base.denominator
    while timescale < _MIN_TIMESCALE:
        timescale *= 2
    return {"movflags": "+faststart", "movie_timescale": str(min(timescale, _MAX_TIMESCALE))}


def open_mp4(path: str | os.PathLike[str], time_base: Fraction) -> Any:
    """An MP4 to write, exactly at `path`, for a track whose times are in `time_base`.

    Raises:
        OSError: the file can't be written.
    """
    import av

    place = "file:" + os.path.abspath(path)
    return av.open(place, "w", format="mp4", options=mp4_options(time_base))


def write_error(error: OSError, path: str | os.PathLike[str]) -> OutputError:
    """The error to raise where a video can't be written."""
    named = from_os_error(error)
    message = named.message if named else f"the video can't be written ({error.strerror})"
    return OutputError(message, path=path, hint=named.hint if named else "")


def count_shown(path: str | os.PathLike[str]) -> int:
    """Frames of a video that a player shows, edit list included, without decoding.

    Raises:
        VideoError: the file can't be read.
    """
    path = os.fspath(path)
    with open_video(path) as container:
        packets = demux(container, video_stream(container, path))
        return sum(1 for packet in packets if packet.size and not packet.is_discard)


def check_shown(path: str | os.PathLike[str], n_frames: int) -> None:
    """Make sure that a player shows each frame of a video that was written.

    Raises:
        OutputError: it shows another number of frames than `n_frames`.
    """
    n_shown = count_shown(path)
    if n_shown != n_frames:
        raise OutputError(
            f"the video that was written shows {n_shown} frames instead of {n_frames}, so they "
            "would not be those of the table",
            path=path,
            hint="Please report this with the video; the table of predictions is not affected.",
        )
