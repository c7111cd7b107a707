"""Calibrations: what locates keypoints in 3-D is taken, everything else is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.eks.calibration import Camera, read_cameras, usable_cameras
from raypose.errors import RayposeError, SmoothingError, UsageError
from raypose.limits import MAX_CALIBRATION_BYTES
from tests.calibrations import FIELDS, calibration_text

NAN_MATRIX = "[[nan, 0.0, 50.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calibration.toml"


def test_cameras_are_read(path: Path) -> None:
    path.write_text(calibration_text(("top", "side", "front")) + "[metadata]\nadjusted = false\n")
    cameras = read_cameras(path)
    assert [camera.name for camera in cameras] == ["top", "side", "front"]
    assert cameras[1].matrix == [[100, 0, 50], [0, 100, 50], [0, 0, 1]]
    assert [c.name for c in usable_cameras(path, ("front", "top"))] == ["top", "front"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("matrix", "[[1.0, 2.0], [3.0, 4.0]]", r"is \[\[1.0, 2.0\], \[3.0, 4.0\]\], and must be"),
        ("matrix", NAN_MATRIX, r"is \[\[nan, 0.0, 50.0\]"),
        ("matrix", NAN_MATRIX.replace("nan", "inf"), "fx and fy above 0"),
        ("matrix", NAN_MATRIX.replace("nan", "-100.0"), "fx and fy above 0"),
        ("matrix", NAN_MATRIX.replace("nan", "0.0"), "fx and fy above 0"),
        ("matrix", FIELDS["matrix"].replace("[[100.0, 0.0", "[[100.0, 3.0"), "with finite"),
        ("matrix", FIELDS["matrix"].replace("0.0, 1.0]]", "0.0, 2.0]]"), "with finite"),
        ("matrix", "5", "is 5, and must be"),
        ("matrix", None, "is missing, and must be"),
        ("distortions", str([0.1] * 99), "4, 5, 8, 12 or 14 finite coefficients"),
        ("distortions", "[]", r"is \[\], and must be 4, 5, 8"),
        ("distortions", "[nan, 0.0, 0.0, 0.0, 0.0]", "finite coefficients"),
        ("distortions", '"none"', "is 'none', and must be"),
        ("rotation", "[0.0, 0.0]", "a vector of 3 finite numbers"),
        ("rotation", "[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]", "a vector of 3"),
        ("translation", "[0.0, 0.0, inf]", "a vector of 3 finite numbers"),
        ("translation", None, "is missing"),
        ("size", "[396]", r"\[width, height\] in pixels"),
        ("size", "[396, -406]", r"\[width, height\] in pixels"),
        ("size", '"large"', r"\[width, height\] in pixels"),
        ("name", "5", "is 5, and must be a name"),
        ("name", None, "is missing, and must be a name"),
        ("fisheye", '"no"', "must be true or false"),
    ],
)
def test_a_value_that_is_not_allowed(path: Path, field: str, value: str | None, says: str) -> None:
    path.write_text(calibration_text(**{field: value}))
    with pytest.raises(UsageError, match=says) as caught:
        read_cameras(path)
    assert str(caught.value).startswith(f"{path}: cam_1.{field} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing = 1\n", "no calibration of several cameras"),
        ("", "no calibration of several cameras"),
        (calibration_text(("top",)), "no calibration of several cameras"),
        (calibration_text(("top", "top")), "two cameras named top"),
        ("[cam\n", "it is no TOML"),
        ("a = " + "[" * 100_000, "can't be read"),
        ("x" * (2 << 20), "larger than"),
        ("\udcff", "it is no TOML"),
    ],
)
def test_what_is_no_calibration(path: Path, text: str, says: str) -> None:
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(UsageError, match=says) as caught:
        read_cameras(path)
    assert str(caught.value).startswith(str(path))


def test_places_where_there_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, says in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "a directory, not a file"),
        (tmp_path / "pipe", "a named pipe, not a file"),
    ):
        with pytest.raises(SmoothingError, match=says):
            read_cameras(place, error=SmoothingError)


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ({"fisheye": "true"}, "fisheye camera side"),
        ({"distortions": str([0.0] * 7 + [0.1])}, "k4 to k6 and the tilt of camera side"),
        ({"distortions": str([0.0] * 13 + [0.1])}, "k4 to k6 and the tilt of camera side"),
        ({"translation": "[0.0, 0.0, 0.0]"}, "all stand in the same place"),
        ({"translation": "[0.0, 0.0, 0.0]", "rotation": "[0.0, 0.5, 0.0]"}, "the same place"),
    ],
)
def test_cameras_that_cannot_locate_a_keypoint(
    path: Path, last: dict[str, str], says: str
) -> None:
    path.write_text(calibration_text(**last))
    read_cameras(path)
    with pytest.raises(SmoothingError, match=says):
        usable_cameras(path, ("top", "side"))


def test_cameras_that_are_not_used_may_be_of_any_kind(path: Path) -> None:
    path.write_text(calibration_text(("top", "side", "eye"), fisheye="true"))
    usable_cameras(path, ("top", "side"))
    with pytest.raises(SmoothingError, match="no camera front, but top, side, eye"):
        usable_cameras(path, ("top", "front"))


def vectors(largest: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(-largest, largest), min_size=3, max_size=3)


@given(vectors(3), vectors(9))
def test_centres_are_those_of_opencv(rotation: list[float], translation: list[float]) -> None:
    import cv2

    camera = Camera.model_construct(rotation=rotation, translation=translation)
    matrix, _ = cv2.Rodrigues(np.array(rotation))
    np.testing.assert_allclose(camera.centre, -matrix.T @ np.array(translation), atol=1e-9)


_WHOLE = calibration_text().encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=40), st.integers(0, len(_WHOLE)), st.integers(0, 30))
def test_any_bytes_give_cameras_or_an_error(
    path: Path, content: bytes, at: int, n_replaced: int
) -> None:
    for data in (content, _WHOLE[:at] + content + _WHOLE[at + n_replaced :]):
        path.write_bytes(data)
        try:
            usable_cameras(path, [camera.name for camera in read_cameras(path)])
        except RayposeError as error:
            assert str(path) in str(error)


def test_the_largest_calibration(path: Path) -> None:
    text = calibration_text() + "#"
    path.write_text(text.ljust(MAX_CALIBRATION_BYTES, "."))
    assert len(read_cameras(path)) == 2
    path.write_text(text.ljust(MAX_CALIBRATION_BYTES + 1, "."))
    with pytest.raises(UsageError, match=f"larger than {MAX_CALIBRATION_BYTES} bytes"):
        read_cameras(path)
