"""Calibrations of Anipose: the cameras of a `calibration.toml`, checked once for all users.

One number that is not finite makes 3-D keypoints empty or far away, beside likelihoods that look
fine. So `read_cameras` accepts only what locates keypoints in 3-D, and names the value that does
not. Planning and smoothing both read through it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raypose.config.schemas import only
from raypose.errors import RayposeError, SmoothingError, UsageError
from raypose.limits import MAX_CALIBRATION_BYTES
from raypose.storage import regular_files

_SHOWN = 60
# Among OpenCV's coefficients the denominator k4, k5, k6 and the tilt of the sensor, which eks
# misreads or ignores.
_UNKNOWN_TO_EKS = (5, 6, 7, 12, 13)
_SAME_PLACE = 1e-9


def _is_camera_matrix(matrix: list[list[float]]) -> bool:
    (fx, skew, _), (zero, fy, _), last = matrix
    return fx > 0 and fy > 0 and skew == zero == 0 and last == [0, 0, 1]


Finite = Annotated[float, Field(allow_inf_nan=False)]
Three = Annotated[list[Finite], Field(min_length=3, max_length=3)]
Size = Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=2)]
Matrix = Annotated[list[Three], Field(min_length=3, max_length=3), only(_is_camera_matrix)]
Distortions = Annotated[list[Finite], only(lambda values: len(values) in (4, 5, 8, 12, 14))]
Name = Annotated[str, Field(min_length=1, max_length=200), only(str.isprintable)]


class Camera(BaseModel):
    """A camera as Anipose's file has it. Descriptions are what messages say is allowed."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    name: Name = Field(description="a name in quotes")
    size: Size = Field(description="[width, height] in pixels")
    matrix: Matrix = Field(
        description="[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with finite numbers, fx and fy above 0"
    )
    distortions: Distortions = Field(description="4, 5, 8, 12 or 14 finite coefficients of OpenCV")
    # From the world to the camera: a rotation vector (Rodrigues), and the calibration's unit.
    rotation: Three = Field(description="a vector of 3 finite numbers")
    translation: Three = Field(description="a vector of 3 finite numbers")
    fisheye: bool = Field(default=False, description="true or false")

    @property
    def centre(self) -> tuple[float, ...]:
        """Its position in the world."""
        import cv2

        turn, _ = cv2.Rodrigues(np.array(self.rotation, float))
        with np.errstate(all="ignore"):  # of enormous numbers
            return tuple((-turn.T @ np.array(self.translation, float)).tolist())


def read_cameras(path: Path, *, error: type[RayposeError] = UsageError) -> tuple[Camera, ...]:
    """The cameras of a calibration, in Anipose's order.

    Raises:
        RayposeError: of the class `error`: the file can't be read, is no calibration of several
            cameras, or a value in it is not allowed.
    """
    import toml

    hint = "Give a calibration.toml as Anipose writes it."
    try:
        text = regular_files.read_file(path, MAX_CALIBRATION_BYTES).decode("utf-8-sig")
        if "[[[[" in text:  # the parser takes minutes for many
            raise ValueError("lists nested too deeply")
        content: Any = toml.loads(text)
    except OSError as problem:
        hint = "Check the path and who may read it."
        raise error(f"can't be read ({problem.strerror})", path=path, hint=hint) from None
    except Exception as problem:  # the parser can raise anything for what is no TOML
        reason = (str(problem).splitlines() or [type(problem).__name__])[0][:160]
        raise error(f"can't be read (it is no TOML: {reason})", path=path, hint=hint) from None
    entries = {key: content[key] for key in sorted(content) if key != "metadata"}
    if len(entries) < 2 or not all(isinstance(entry, dict) for entry in entries.values()):
        raise error("is no calibration of several cameras", path=path, hint=hint)
    cameras = tuple(_camera(key, entry, path, error) for key, entry in entries.items())
    twice = [name for name, n in Counter(c.name for c in cameras).items() if n > 1]
    if twice:
        hint = "Give each the name of its view."
        raise error(f"has two cameras named {twice[0]}", path=path, hint=hint)
    return cameras


def usable_cameras(path: Path, views: Sequence[str]) -> tuple[Camera, ...]:
    """The cameras of some views, checked for what smoothing in 3-D as eks does it needs."""
    known = read_cameras(path, error=SmoothingError)
    names = [camera.name for camera in known]
    missing = [view for view in views if view not in names]
    if missing:
        raise SmoothingError(
            f"the calibration has no camera {', '.join(missing)}, but {', '.join(names)}",
            path=path,
            hint="Views and cameras must have the same names.",
        )
    cameras = tuple(camera for camera in known if camera.name in views)
    linear = "Smooth without it, with --eks-mode multicam."
    for camera in cameras:
        if camera.fisheye:
            message = f"eks can't project through the fisheye camera {camera.name}"
            raise SmoothingError(message, path=path, hint=linear)
        if any(camera.distortions[i] for i in _UNKNOWN_TO_EKS if i < len(camera.distortions)):
            what = f"the distortions k4 to k6 and the tilt of camera {camera.name}"
            hint = f"Calibrate with five coefficients. {linear}"
            raise SmoothingError(f"eks does not know {what}", path=path, hint=hint)
    centres = [camera.centre for camera in cameras]
    scale = max(1.0, *(math.hypot(*centre) for centre in centres))
    apart = max(math.dist(centres[0], centre) for centre in centres)
    if not apart > _SAME_PLACE * scale:
        raise SmoothingError(
            "the cameras of this calibration all stand in the same place, from where no keypoint "
            "can be located in 3-D",
            path=path,
            hint=f"Check its rotations and translations. {linear}",
        )
    return cameras


def _camera(key: str, entry: dict[str, Any], path: Path, error: type[RayposeError]) -> Camera:
    try:
        return Camera.model_validate(entry)
    except ValidationError as problem:
        field = str(problem.errors()[0]["loc"][0])
        shown = repr(entry.get(field))
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
        name = entry.get("name")
        of = f" of camera {name!r:.40}" if isinstance(name, str) and field != "name" else ""
        value = f"is {shown}" if field in entry else "is missing"
        raise error(
            f"{key}.{field}{of} {value}, and must be {Camera.model_fields[field].description}",
            path=path,
            hint="Calibrate again with Anipose, or correct the file.",
        ) from None
