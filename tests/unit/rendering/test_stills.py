"""Pictures of single frames: the right frames, with markers where the keypoints are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from raypose.errors import CancelledError
from raypose.rendering.stills import read_frames, still, thumbnail
from raypose.rendering.style import colormap_colors
from raypose.video.index import index_video
from tests.videos import make_video, read_number


def decode(content: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))


def test_the_frames_are_those_that_were_asked_for(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=60, gop=10)
    frames = read_frames(index_video(video), [3, 58, 4, 31], width=640)
    assert sorted(frames) == [3, 4, 31, 58]
    assert all(read_number(picture) == n for n, picture in frames.items())


def test_wide_frames_are_made_smaller(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=5, width=640, height=480))
    assert read_frames(index, [0], width=320)[0].shape == (240, 320, 3)
    assert decode(thumbnail(index, np.ones(5, np.bool_))).shape == (90, 120, 3)


def test_the_thumbnail_is_no_damaged_frame(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=40, gop=10, width=120))
    is_ok = np.ones(40, np.bool_)
    is_ok[20:31] = False
    assert read_number(decode(thumbnail(index, is_ok))) == 10
    assert thumbnail(index, np.zeros(40, np.bool_)) == b""


def test_a_run_that_stops_reads_no_further(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=5))
    with pytest.raises(CancelledError):
        read_frames(index, [4], width=64, should_stop=lambda: True)


def test_markers_are_where_the_keypoints_are() -> None:
    picture = np.full((60, 80, 3), 128, np.uint8)
    points = np.array([[20.0, 30.0], [60.0, 30.0], [np.nan, 1.0], [1e9, -1e9]])
    drawn = still(
        picture,
        points,
        np.array([0.95, 0.2, 0.9, 0.9]),
        threshold=0.9,
        colors=colormap_colors(4, "cool"),
    )
    assert decode(drawn).shape == (60, 80, 3)
    assert picture[30, 20].tolist() == [0, 255, 255]  # filled, in the first colour of `cool`
    assert picture[30, 60].tolist() == [128, 128, 128]  # a ring around the picture
    assert picture[33, 60].tolist() != [128, 128, 128]
    assert (picture[45:, :] == 128).all()
