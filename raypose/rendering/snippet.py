"""The snippet of a video: the half minute with the most motion, for a quick look.

Motion energy is defined as in the scripts of the Pose app: the mean displacement, from one frame
to the next, of the keypoints that are confident in both.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.rendering.encoding import EncodeOptions, Render, encode_frames
from raypose.video.index import VideoIndex
from raypose.video.pixels import FrameConverter
from raypose.video.writer import HIGH_QUALITY, copy_plain

if TYPE_CHECKING:
    from typing_extensions import Unpack

_CHUNK = 1 << 16


def motion_energy(
    xy: NDArray[np.floating[Any]],
    likelihood: NDArray[np.floating[Any]],
    threshold: float,
    is_ok: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Mean displacement of the confident keypoints since the frame before, in pixels, (N,).

    0 where no keypoint is confident in both frames. Arguments as in `choose_snippet`.
    """
    energy = np.zeros(len(xy))
    for first in range(1, len(xy), _CHUNK):
        rows = slice(first - 1, min(first + _CHUNK, len(xy)))
        points = xy[rows].astype(np.float64)
        seen = (likelihood[rows] >= threshold) & np.isfinite(points).all(axis=2)
        if is_ok is not None:
            seen &= is_ok[rows, None]
        both = seen[1:] & seen[:-1]
        moved = np.where(both, np.linalg.norm(np.diff(points, axis=0), axis=2), 0.0)
        energy[rows][1:] = moved.sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    return energy


def choose_snippet(
    xy: NDArray[np.floating[Any]],
    likelihood: NDArray[np.floating[Any]],
    times_s: NDArray[np.float64],
    *,
    duration_s: float = 30.0,
    threshold: float = 0.9,
    is_ok: NDArray[np.bool_] | None = None,
) -> tuple[int, int]:
    """The window of a video with the highest motion energy.

    Args:
        xy: keypoints, (N, K, 2), in pixels.
        likelihood: (N, K); keypoints below `threshold` do not count.
        times_s: time of every frame in seconds, (N,), ascending.
        is_ok: (N,), False where a frame is damaged or missing; None if none is.

    Returns:
        First frame, and the frame after the last. The whole video if it is no longer than the
        window; the first of several with the same energy. Windows with the fewest damaged frames
        come first.
    """
    n = len(xy)
    if n < 2:
        return 0, n
    step = float(np.median(np.diff(times_s)))
    # Times are rounded: a frame that begins just before the window's end is not in it.
    ends = times_s + duration_s - 0.01 * step
    n_starts = int(np.searchsorted(ends, times_s[-1] + step, side="right"))
    if n_starts == 0:
        return 0, n
    stops = np.searchsorted(times_s, ends[:n_starts])
    total = np.concatenate([[0.0], np.cumsum(motion_energy(xy, likelihood, threshold, is_ok))])
    energy = total[stops] - total[:n_starts]
    if is_ok is not None:
        damaged = np.concatenate([[0], np.cumsum(~is_ok)])
        n_damaged = damaged[stops] - damaged[:n_starts]
        energy[n_damaged > n_damaged.min()] = -np.inf
    start = int(np.argmax(energy))
    return start, int(stops[start])


def cut_snippet(
    index: VideoIndex,
    start: int,
    stop: int,
    out_path: str | os.PathLike[str],
    **options: Unpack[EncodeOptions],
) -> int:
    """Cut frames `start` to `stop` out of a video and encode them in high quality.

    A plain H.264 video that is no longer than a snippet is copied without encoding it again.
    Times begin at 0 and keep their distances. A frame that can't be decoded shows the picture
    before it, so that frame `i` of the snippet is always frame `start + i` of the video. Returns
    the number of frames written.

    Raises:
        VideoError: the video can't be read.
        OutputError: the file can't be written, or would not show each of the frames.
        CancelledError: `should_stop` said so.
    """
    if (start, stop) == (0, index.n_frames) and copy_plain(index, out_path):
        return stop

    def converter() -> Render:
        convert = FrameConverter(index)
        return lambda _, frame: convert(frame)

    return encode_frames(index, start, stop, out_path, converter, HIGH_QUALITY, **options)
