"""Lines in a labelled video, drawn on the planes of a frame: the skeleton, and trails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.rendering.style import Look, UInt8

Int64 = NDArray[np.int64]
_EDGE, _BONE, _NEUTRAL = 40, 225, 128
"""Luma of a bone's dark edge and bright middle, on any ground; chroma of both."""


class Lines:
    """Draws bones and trails of a frame.

    Args:
        look: which, and in which colours.
        planes: luma and chroma of the picture, to draw on.
        shift: 1 where chroma has half the resolution, else 0.
        to_coded: pixels of the frame as shown (n, 2) → of the planes.
        scale: of the markers.
    """

    def __init__(
        self,
        look: Look,
        planes: Sequence[UInt8],
        shift: int,
        to_coded: Callable[[Int64], Int64],
        scale: float,
    ) -> None:
        self._look, self._planes, self._shift = look, planes, shift
        self._to_coded = to_coded
        self._thickness = max(1, round(2 * scale) // 2)

    def draw(
        self,
        n: int,
        xy: NDArray[np.floating[Any]],
        shown: Callable[[slice], NDArray[np.bool_]],
        yuv: UInt8,
    ) -> None:
        """Draw the lines of frame `n`.

        Args:
            n: number of the frame.
            xy: keypoints of the whole video, (N, K, 2).
            shown: whether the keypoints of some frames are drawn, (n, K).
            yuv: colours of the keypoints, (K, 3).
        """
        rows = slice(max(0, n - self._look.trail), n + 1)
        drawn = shown(rows)
        points = np.where(drawn[..., None], xy[rows], 0)
        # Far outside of the frame nothing shows; the limits keep integers from overflowing.
        places = np.clip(points, -1e4, 1e5).astype(np.int64)
        coded = self._to_coded(places.reshape(-1, 2)).reshape(places.shape).astype(np.int32)
        if self._look.trail:
            for k in range(drawn.shape[1]):
                self._polyline(coded[:, k], drawn[:, k], yuv[k])
        if len(self._look.bones):
            both = drawn[-1][self._look.bones].all(axis=1)
            bones = list(coded[-1][self._look.bones[both]])
            if bones:
                neutral = (_NEUTRAL, _NEUTRAL)
                self._lines(bones, (_EDGE, *neutral), self._thickness + 2)
                self._lines(bones, (_BONE, *neutral), self._thickness)

    def _polyline(self, places: NDArray[np.int32], drawn: NDArray[np.bool_], yuv: Any) -> None:
        """A trail, in pieces where some of its frames show no keypoint."""
        if drawn.all():
            pieces = [places]
        else:
            ends = np.flatnonzero(np.diff(np.concatenate([[0], drawn.astype(np.int8), [0]])))
            pieces = [places[a:b] for a, b in ends.reshape(-1, 2) if b - a > 1]
        if pieces:
            self._lines(pieces, yuv.tolist(), self._thickness)

    def _lines(
        self, lines: Sequence[NDArray[np.int32]], yuv: Sequence[int], thickness: int
    ) -> None:
        import cv2

        lines = [np.ascontiguousarray(line) for line in lines]  # as OpenCV wants them
        cv2.polylines(self._planes[0], lines, False, yuv[0], thickness)
        if self._shift:
            lines, thickness = [line >> 1 for line in lines], (thickness + 1) // 2
        for plane, value in zip(self._planes[1:], yuv[1:], strict=True):
            cv2.polylines(plane, lines, False, value, thickness)
