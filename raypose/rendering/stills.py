"""Small pictures of single frames, with the predictions drawn: for the report.

A filled marker is a keypoint above the confidence threshold, a ring one below it: in the worst
moments it is these that one wants to see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import CancelledError, OutputError
from raypose.video.decoding import iter_frames
from raypose.video.index import VideoIndex
from raypose.video.pixels import RgbConverter

UInt8 = NDArray[np.uint8]

STILL_WIDTH, THUMBNAIL_WIDTH = 320, 120
_STILL_QUALITY, _THUMBNAIL_QUALITY = 60, 50
_RADIUS = 3


def read_frames(
    index: VideoIndex,
    numbers: Sequence[int],
    *,
    width: int,
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[int, UInt8]:
    """Some frames of a video as RGB, (height, width, 3), made smaller where they are wider.

    Decoding begins at the keyframe before each; frames behind the same keyframe are read in one
    go. Frames that are missing are left out.

    Raises:
        VideoError: the video can't be read.
        CancelledError: `should_stop` said so.
    """
    import cv2

    convert, size = RgbConverter(*index.coded_size), _size(index, width)
    found: dict[int, UInt8] = {}

    def group(n: int) -> int:
        return int(np.searchsorted(index.keyframes, n, side="right"))

    for _, several in groupby(sorted(numbers), key=group):
        wanted = list(several)
        for n, frame, _ in iter_frames(index, wanted[0], wanted[-1] + 1, threads=threads):
            if should_stop():
                raise CancelledError("the run was stopped")
            if n in wanted and frame is not None:
                full = np.rot90(convert(frame), -(index.rotation // 90))
                shown = np.ascontiguousarray(full)
                found[n] = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA))
    return found


def thumbnail(index: VideoIndex, is_ok: NDArray[np.bool_], threads: int = 1) -> bytes:
    """A small WebP picture of the keyframe next to the middle, of those that are undamaged.

    Args:
        index: the video.
        is_ok: whether each frame is undamaged, (n_frames,).
        threads: of the decoder.

    Returns:
        The picture; empty where all keyframes are damaged.
    """
    keyframes = index.keyframes[index.keyframes < len(is_ok)]
    keyframes = keyframes[is_ok[keyframes]]
    if not len(keyframes):
        return b""
    number = int(keyframes[np.abs(keyframes - index.n_frames // 2).argmin()])
    pictures = read_frames(index, [number], width=THUMBNAIL_WIDTH, threads=threads)
    return _webp(pictures[number], _THUMBNAIL_QUALITY) if pictures else b""


def still(
    picture: UInt8,
    xy: NDArray[np.floating[Any]],
    likelihood: NDArray[np.floating[Any]],
    *,
    threshold: float,
    colors: UInt8,
) -> bytes:
    """A picture with the keypoints of its frame, as WebP.

    Args:
        picture: RGB, (height, width, 3); it is drawn on.
        xy: keypoints in pixels of the picture, (n_keypoints, 2).
        likelihood: (n_keypoints,).
        threshold: keypoints above it are filled.
        colors: RGB colours of the markers, (n_keypoints, 3).
    """
    import cv2

    height, width = picture.shape[:2]
    for point, sure, color in zip(xy, likelihood > threshold, colors.tolist(), strict=True):
        if not np.isfinite(point).all():
            continue
        # Far outside of the picture nothing shows; the limits keep integers from overflowing.
        x, y = np.clip(np.rint(point), -_RADIUS, (width + _RADIUS, height + _RADIUS)).astype(int)
        center = (int(x), int(y))
        cv2.circle(picture, center, _RADIUS + 1, (0, 0, 0), -1 if sure else 3, cv2.LINE_AA)
        cv2.circle(picture, center, _RADIUS, color, -1 if sure else 1, cv2.LINE_AA)
    return _webp(picture, _STILL_QUALITY)


def _size(index: VideoIndex, width: int) -> tuple[int, int]:
    """Width and height of the small picture; one that is narrower stays as it is."""
    scale = min(1.0, width / index.width)
    return max(1, round(index.width * scale)), max(1, round(index.height * scale))


def _webp(picture: UInt8, quality: int) -> bytes:
    import cv2

    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    made, content = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not made:
        raise OutputError("a picture of the report can't be encoded")
    return bytes(content)
