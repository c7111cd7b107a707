"""Copying a plain video: the same frames at the same times, and refusal of all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raypose.video.index import index_video
from raypose.video.reader import FrameReader
from raypose.video.writer import copy_plain
from tests.videos import make_video


def pixels(path: Path) -> np.ndarray:
    with FrameReader(path) as reader:
        return np.concatenate([batch.frames for batch in reader])


@pytest.mark.parametrize("bframes", [0, 2])
def test_frames_and_times_are_the_same(tmp_path: Path, bframes: int) -> None:
    video = Path(make_video(tmp_path / "a.mp4", n_frames=37, bframes=bframes))
    index, copy = index_video(video), tmp_path / "copy.mp4"
    if not copy_plain(index, copy):
        pytest.skip("FFmpeg's MP4 of this video begins after time 0")
    copied = index_video(copy)
    np.testing.assert_array_equal(pixels(copy), pixels(video))
    np.testing.assert_allclose(copied.times_s, index.times_s, atol=1e-6)
    assert copied.fps == pytest.approx(index.fps)


@pytest.mark.parametrize("options", [{"codec": "mpeg4"}, {"pix_fmt": "yuv444p"}, {"rotation": 90}])
def test_others_are_left_to_be_encoded(tmp_path: Path, options: dict[str, object]) -> None:
    video = Path(make_video(tmp_path / "a.mp4", n_frames=12, **options))  # type: ignore[arg-type]
    assert copy_plain(index_video(video), tmp_path / "copy.mp4") is False
