"""The demo's figure: a mouse seen from above, whose keypoints are known exactly.

`walk` makes the poses of a recording, `keypoints` gives the positions of the body parts, and
`draw` draws them. Everything follows from a seed. Coordinates are pixels of the frame, the
centre of the top left pixel being (0, 0), as in OpenCV and in Lightning Pose.
"""

from __future__ import annotations

from cmath import rect
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

SIZE = 256
"""Side of the square frames, in pixels."""

FPS = 25
KEYPOINTS = ("nose", "ear_left", "ear_right", "back", "tail_base", "tail_mid", "tail_tip")
SKELETON = (
    *(("nose", "ear_left"), ("nose", "ear_right"), ("ear_left", "back"), ("ear_right", "back")),
    *(("back", "tail_base"), ("tail_base", "tail_mid"), ("tail_mid", "tail_tip")),
)
"""The keypoints that a line joins in labelled videos."""

# Pictures are drawn larger and averaged, for smooth edges at subpixel positions.
_SCALE = 2
_SHIFT = 4

_FLOOR = (206, 196, 172)
_SHADOW = (168, 158, 136)
_FUR = (74, 70, 78)
_SKIN = (226, 150, 150)


class Pose(NamedTuple):
    """The mouse in one frame: the middle of its body in pixels, and angles in radians.

    `heading` is where the body points, clockwise from the right; the head turns against it, and
    the tail bends at its base and curls along its length.
    """

    x: float
    y: float
    heading: float
    turn: float
    bend: float
    curl: float


def walk(n_frames: int, seed: int) -> list[Pose]:
    """The poses of a recording: a mouse runs around an arena at varying speed."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_frames) / FPS

    def wave(frequency_hz: float) -> FloatArray:
        """A smooth irregular oscillation between -1 and 1."""
        total = np.zeros_like(t)
        for factor in (0.62, 1.0, 1.71):
            total += np.sin(2 * np.pi * frequency_hz * factor * t + rng.uniform(0, 2 * np.pi))
        return total / 3

    direction = rng.choice([-1.0, 1.0])
    pace = 1.0 + 0.75 * wave(0.25)
    angle = rng.uniform(0, 2 * np.pi) + direction * np.cumsum(pace) / FPS * 1.3
    radius = 42 + 12 * wave(0.3)
    x, y = SIZE / 2 + radius * np.cos(angle), SIZE / 2 + radius * np.sin(angle)
    heading = angle + direction * np.pi / 2 + 0.35 * wave(0.4)
    rows = np.stack([x, y, heading, 0.4 * wave(0.8), 0.45 * wave(1.1), 0.9 * wave(0.7)], axis=1)
    return [Pose(*row) for row in rows.tolist()]


def keypoints(pose: Pose) -> FloatArray:
    """Positions of the `KEYPOINTS`, shape (n_keypoints, 2), in pixels."""
    tail, head, ahead = _tail(pose), _head(pose), rect(1, pose.heading + pose.turn)
    nose_and_ears = [head + at * ahead for at in (21, -3 - 14j, -3 + 14j)]
    points = np.array([*nose_and_ears, _body(pose, -4), tail[0], tail[len(tail) // 2], tail[-1]])
    return np.stack([points.real, points.imag], axis=1)


def _body(pose: Pose, forward: float) -> complex:
    """A point on the body's axis, as x + iy."""
    return complex(pose.x, pose.y) + rect(forward, pose.heading)


def _head(pose: Pose) -> complex:
    return _body(pose, 27) + rect(7, pose.heading + pose.turn)


def _tail(pose: Pose) -> npt.NDArray[np.complex128]:
    """Points along the tail from its base to its tip."""
    along = np.linspace(0, 1, 17)[1:]
    steps = np.exp(1j * (pose.heading + np.pi + pose.bend + pose.curl * along)) * 54 / len(along)
    return np.cumsum([_body(pose, -38), *steps])


def floor(seed: int) -> Picture:
    """An empty arena with sawdust on its floor, shape (SIZE, SIZE, 3), RGB."""
    import cv2

    rng = np.random.default_rng(seed)
    texture = np.zeros((SIZE, SIZE))
    for blur, strength in ((1.0, 16.0), (3.0, 16.0), (14.0, 18.0)):
        noise = cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)), (0, 0), blur)
        texture += strength * noise / noise.std() / 2
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    distance = np.hypot(rows, columns) / (SIZE / 2)
    light = 1.04 - 0.16 * distance**2
    picture = (np.array(_FLOOR) + texture[..., None]) * light[..., None]
    # The wall of a round arena, darker than its floor.
    wall = np.clip((distance - 0.97) * 30, 0, 1)[..., None]
    return np.asarray(np.clip(picture * (1 - 0.45 * wall), 0, 255), np.uint8)


def draw(pose: Pose, ground: Picture) -> Picture:
    """The mouse on the ground, shape (SIZE, SIZE, 3), RGB."""
    import cv2

    nose, left, right, back, base, _, tip = (complex(*at) for at in keypoints(pose))
    body, head = float(np.degrees(pose.heading)), float(np.degrees(pose.heading + pose.turn))
    shade = 3 + 4j
    shadows = [
        (_body(pose, -4) + shade, 40, 24, body, _SHADOW),
        (_head(pose) + shade, 21, 14, head, _SHADOW),
    ]
    mouse = [
        (_body(pose, -6), 37, 22, body, _FUR),
        (_body(pose, 16), 20, 16, body, _FUR),
        (_body(pose, -8), 24, 12, body, (104, 99, 107)),
        (_head(pose), 21, 13, head, _FUR),
        (left, 11, 11, 0, _SKIN),
        (left, 8, 8, 0, (40, 120, 255)),
        (right, 11, 11, 0, _SKIN),
        (right, 8, 8, 0, (255, 196, 0)),
        (nose, 6, 6, 0, (255, 92, 128)),
        (back, 8, 8, 0, (60, 205, 90)),
        (base, 6, 6, 0, (245, 245, 245)),
        (tip, 6, 6, 0, (160, 60, 220)),
    ]
    large = cv2.resize(ground, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_LINEAR)

    def fill(ellipses: list[Any]) -> None:
        """Centre, half axes in pixels of the frame, angle in degrees and colour of each."""
        for centre, *half_axes, degrees, color in ellipses:
            axes = [round(half * _SCALE * 2**_SHIFT) for half in half_axes]
            at = _fixed(centre)
            cv2.ellipse(large, at, axes, degrees, 0, 360, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    fill(shadows)
    tail = np.array([_fixed(point) for point in _tail(pose)], np.int32)
    cv2.polylines(large, [tail], False, _SKIN, 5 * _SCALE, cv2.LINE_AA, _SHIFT)
    fill(mouse)
    picture: Picture = cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return picture


def _fixed(point: complex) -> tuple[int, int]:
    """A point of the frame in OpenCV's fixed-point coordinates of the enlarged picture."""
    x, y = ((at * _SCALE + (_SCALE - 1) / 2) * 2**_SHIFT for at in (point.real, point.imag))
    return round(x), round(y)
