"""The demo's figure: a mouse seen from above, whose keypoints are known exactly.

`walk` makes the poses of a recording, `keypoints` gives the positions of the body parts, and
`draw` draws them. Everything follows from a seed. Coordinates are pixels of the frame, the
centre of the top left pixel being (0, 0), as in OpenCV and in Lightning Pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

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
_FUR_LIGHT = (104, 99, 107)
_SKIN = (226, 150, 150)
_NOSE = (255, 92, 128)
_TAG_LEFT = (40, 120, 255)
_TAG_RIGHT = (255, 196, 0)
_PAINT_BACK = (60, 205, 90)
_PAINT_BASE = (245, 245, 245)
_PAINT_TIP = (160, 60, 220)


@dataclass(frozen=True, slots=True)
class Pose:
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
    direction = rng.choice([-1.0, 1.0])
    pace = 1.0 + 0.75 * _wave(t, rng, 0.25)
    angle = rng.uniform(0, 2 * np.pi) + direction * np.cumsum(pace) / FPS * 1.3
    radius = 42 + 12 * _wave(t, rng, 0.3)
    x, y = SIZE / 2 + radius * np.cos(angle), SIZE / 2 + radius * np.sin(angle)
    heading = angle + direction * np.pi / 2 + 0.35 * _wave(t, rng, 0.4)
    turn = 0.4 * _wave(t, rng, 0.8)
    bend = 0.45 * _wave(t, rng, 1.1)
    curl = 0.9 * _wave(t, rng, 0.7)
    rows = np.stack([x, y, heading, turn, bend, curl], axis=1)
    return [Pose(*map(float, row)) for row in rows]


def _wave(t: FloatArray, rng: np.random.Generator, frequency_hz: float) -> FloatArray:
    """A smooth irregular oscillation between -1 and 1."""
    total = np.zeros_like(t)
    for factor in (0.62, 1.0, 1.71):
        total += np.sin(2 * np.pi * frequency_hz * factor * t + rng.uniform(0, 2 * np.pi))
    return total / 3


def keypoints(pose: Pose) -> FloatArray:
    """Positions of the `KEYPOINTS`, shape (n_keypoints, 2), in pixels."""
    tail, head, angle = _tail(pose), _head(pose), pose.heading + pose.turn
    nose_and_ears = [head + _rotated(*at, angle) for at in ((21, 0), (-3, -14), (-3, 14))]
    return np.stack([*nose_and_ears, _at(pose, -4, 0), tail[0], tail[len(tail) // 2], tail[-1]])


def _rotated(forward: float, sideways: float, angle: float) -> FloatArray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([forward * cos - sideways * sin, forward * sin + sideways * cos])


def _at(pose: Pose, forward: float, sideways: float) -> FloatArray:
    return np.array([pose.x, pose.y]) + _rotated(forward, sideways, pose.heading)


def _head(pose: Pose) -> FloatArray:
    return _at(pose, 27, 0) + _rotated(7, 0, pose.heading + pose.turn)


def _tail(pose: Pose, n_points: int = 17) -> FloatArray:
    """Points along the tail from its base to its tip, shape (n_points, 2)."""
    length = 54.0
    along = np.linspace(0, 1, n_points)
    angles = pose.heading + np.pi + pose.bend + pose.curl * along
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1)[1:] * length / (n_points - 1)
    return np.vstack([np.zeros(2), np.cumsum(steps, axis=0)]) + _at(pose, -38, 0)


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

    large = cv2.resize(ground, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_LINEAR)

    def ellipse(centre: FloatArray, a: float, b: float, degrees: float, color: Color) -> None:
        """Filled, with half axes `a` and `b` in pixels of the frame."""
        axes = (round(a * _SCALE * 2**_SHIFT), round(b * _SCALE * 2**_SHIFT))
        at = _fixed(centre)
        cv2.ellipse(large, at, axes, degrees, 0, 360, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    nose, left, right, back, base, _, tip = keypoints(pose)
    degrees = float(np.degrees(pose.heading))
    head_degrees = float(np.degrees(pose.heading + pose.turn))
    head = _head(pose)
    shade = np.array([3.0, 4.0])
    ellipse(_at(pose, -4, 0) + shade, 40, 24, degrees, _SHADOW)
    ellipse(head + shade, 21, 14, head_degrees, _SHADOW)
    tail = np.array([_fixed(point) for point in _tail(pose)], np.int32)
    cv2.polylines(large, [tail], False, _SKIN, 5 * _SCALE, cv2.LINE_AA, _SHIFT)
    ellipse(_at(pose, -6, 0), 37, 22, degrees, _FUR)
    ellipse(_at(pose, 16, 0), 20, 16, degrees, _FUR)
    ellipse(_at(pose, -8, 0), 24, 12, degrees, _FUR_LIGHT)
    ellipse(head, 21, 13, head_degrees, _FUR)
    for ear, tag in ((left, _TAG_LEFT), (right, _TAG_RIGHT)):
        ellipse(ear, 9, 9, 0, _SKIN)
        ellipse(ear, 6, 6, 0, tag)
    ellipse(nose, 5, 5, 0, _NOSE)
    ellipse(back, 6, 6, 0, _PAINT_BACK)
    ellipse(base, 5, 5, 0, _PAINT_BASE)
    ellipse(tip, 5, 5, 0, _PAINT_TIP)
    result: Picture = cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return result


def _fixed(point: FloatArray) -> tuple[int, int]:
    """A point of the frame in OpenCV's fixed-point coordinates of the enlarged picture."""
    x, y = (point * _SCALE + (_SCALE - 1) / 2) * 2**_SHIFT
    return round(float(x)), round(float(y))
