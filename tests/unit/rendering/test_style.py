"""Colours by name that everyone tells apart; skeletons, trails and legends where they belong."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from raypose.rendering.labeled_video import draw_labeled_video
from raypose.rendering.legend import draw_legend
from raypose.rendering.style import PALETTE, Look, Style
from raypose.video.index import VideoIndex, index_video
from raypose.video.reader import FrameReader
from tests.videos import make_video

WIDTH, HEIGHT = 320, 240
NAMES = ("nose", "paw", "tail")
STYLE = Style(names=NAMES)
# Machado, Oliveira and Fernandes 2009: linear RGB as people without one kind of cones see it.
SEEN = {
    "all cones": np.eye(3),
    "no long": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no middle": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no short": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear RGB, (n, 3)."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    t = np.clip(rgb, 0, 1) @ to_xyz.T / (0.9505, 1.0, 1.0888)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def least_distance(colors: NDArray[np.uint8]) -> float:
    """Between any two colours, for those who tell them apart worst."""
    share = colors / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = [lab(linear @ np.array(matrix).T) for matrix in SEEN.values()]
    return min(
        float(np.linalg.norm(points[a] - points[b]))
        for points in seen
        for a, b in combinations(range(len(colors)), 2)
    )


def test_colour_blind_people_tell_the_colours_apart() -> None:
    names = [f"k{i:02}" for i in range(len(PALETTE))]
    colors = Style(names=tuple(names)).look(names).colors
    # Two of matplotlib's default colours, red and green, are 4.7 apart for them.
    assert least_distance(colors) > 13


class TestColors:
    def test_a_name_has_its_colour_wherever_it_stands(self) -> None:
        one, other = STYLE.look(NAMES), STYLE.look(("tail", "nose"))
        assert one.colors[0].tolist() == other.colors[1].tolist()
        assert one.colors[2].tolist() == other.colors[0].tolist()
        assert one.colors[0].tolist() == [0xE6, 0x9F, 0x00]

    def test_more_keypoints_than_colours_have_rings(self) -> None:
        names = tuple(f"k{i:02}" for i in range(len(PALETTE) + 2))
        look = Style(names=names).look(names)
        assert look.hollow.tolist() == [False] * len(PALETTE) + [True] * 2
        assert look.colors[-1].tolist() == look.colors[1].tolist()

    def test_a_colormap_follows_the_columns(self) -> None:
        look = Style(colormap="cool").look(NAMES)
        assert look.colors.tolist() == [[0, 255, 255], [128, 127, 255], [255, 0, 255]]

    def test_what_decides_is_what_is_seen(self) -> None:
        names = ("nose", "paw")
        same = Style(names=NAMES, skeleton=(("nose", "paw"), ("paw", "tail")))
        assert same.provenance(names)["skeleton"] == [["nose", "paw"]]
        assert set(same.provenance(names)["colors"]) == set(names)
        for change in ({"trail": 5}, {"legend": True}, {"colormap": "cool"}, {"skeleton": ()}):
            assert replace(same, **change).provenance(names) != same.provenance(names)
        # Another model's keypoint that shifts no colour changes nothing.
        more = replace(same, names=(*NAMES, "whisker"))
        assert more.provenance(names) == same.provenance(names)


@pytest.fixture(scope="module", params=[0, 90, 180, 270])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    def grey(i: int, width: int, height: int) -> NDArray[np.uint8]:
        return np.full((height, width, 3), 110, np.uint8)

    path = tmp_path_factory.mktemp("video") / "v.mp4"
    size = {"width": WIDTH, "height": HEIGHT, "rotation": request.param}
    return index_video(make_video(path, n_frames=8, picture=grey, **size))


def drawn(index: VideoIndex, xy: NDArray[np.float32], look: Look, out: Path) -> NDArray[np.int64]:
    likelihood = np.ones(xy.shape[:2], np.float32)
    draw_labeled_video(index, xy, likelihood, out, threshold=0.5, look=look)
    with FrameReader(out) as reader:
        return np.concatenate([batch.frames for batch in reader]).astype(int)


def test_a_bone_joins_two_keypoints(index: VideoIndex, tmp_path: Path) -> None:
    xy = np.tile(np.array([[40, 100], [140, 100], [90, 200]], np.float32), (8, 1, 1))
    xy[4:, 1] = np.nan
    look = replace(STYLE, skeleton=(("nose", "paw"), ("nose", "whisker"))).look(NAMES)
    frames = drawn(index, xy, look, tmp_path / "out.mp4")
    line = frames[:, 100, 60:120].mean(axis=(1, 2))
    beside = frames[:, 110, 60:120].mean(axis=(1, 2))
    assert line[:4].min() > 160 and np.abs(line[5:] - 110).max() < 12
    assert np.abs(beside - 110).max() < 12
    edge = frames[:4, 99, 60:120].mean(axis=(1, 2))
    assert edge.max() < 90, "its edge is dark, so that it shows on any ground"


def test_a_trail_shows_where_a_keypoint_has_come_from(index: VideoIndex, tmp_path: Path) -> None:
    xy = np.full((8, 3, 2), np.nan, np.float32)
    xy[:, 0] = [(30 + 20 * n, 100) for n in range(8)]
    look = replace(STYLE, trail=3).look(NAMES)
    frames = drawn(index, xy, look, tmp_path / "out.mp4")
    orange = frames[7, 99:102, 112:120].mean(axis=(0, 1))
    assert orange[0] - orange[2] > 80, "frame 4 to 5, two frames ago"
    gone = frames[7, 99:102, 60:80].mean(axis=(0, 1))
    assert np.abs(gone - 110).max() < 15, "frame 2 and before"
    ahead = frames[3, 99:102, 110:130].mean(axis=(0, 1))
    assert np.abs(ahead - 110).max() < 15, "nothing of the frames to come"


def test_a_trail_has_a_gap_where_nothing_was_seen(index: VideoIndex, tmp_path: Path) -> None:
    xy = np.full((8, 3, 2), np.nan, np.float32)
    xy[:, 0] = [(30 + 20 * n, 100) for n in range(8)]
    xy[5, 0] = np.nan
    frames = drawn(index, xy, replace(STYLE, trail=7).look(NAMES), tmp_path / "out.mp4")
    gap = frames[7, 99:102, 120:145].mean(axis=(0, 1))
    assert np.abs(gap - 110).max() < 15
    before = frames[7, 99:102, 70:90].mean(axis=(0, 1))
    assert before[0] - before[2] > 80


def test_the_legend_is_beside_the_picture(index: VideoIndex, tmp_path: Path) -> None:
    xy = np.tile(np.array([[40, 100], [140, 100], [index.width + 30, 60]], np.float32), (8, 1, 1))
    look = replace(STYLE, legend=True).look(NAMES)
    strip = draw_legend(look, index.height)
    assert strip is not None
    frames = drawn(index, xy, look, tmp_path / "out.mp4")
    made = index_video(tmp_path / "out.mp4")
    assert (made.width, made.height) == (index.width + strip.shape[1], index.height)
    assert made.rotation == index.rotation
    assert strip.shape[1] % 2 == 0
    shown = frames[5, :, index.width :]
    assert np.abs(shown - strip).mean() < 8
    # No marker lies on the legend, and the picture is as it was.
    assert np.abs(frames[5, 150:200, 200 : index.width - 4] - 110).max() < 15
    left = shown[:, :14].reshape(-1, 3)
    for color in look.colors.astype(int):
        assert np.abs(left - color).max(axis=1).min() < 50, color


def test_a_legend_of_many_names_has_several_columns() -> None:
    names = tuple(f"keypoint_{i:02}" for i in range(40))
    look = replace(Style(names=names), legend=True).look(names)
    tall, low = draw_legend(look, 800), draw_legend(look, 100)
    assert tall is not None and low is not None
    assert low.shape[1] > 1.5 * tall.shape[1]
    assert draw_legend(look, 12) is None, "a picture this small has no room for one"


def test_rings_are_hollow(tmp_path: Path) -> None:
    def grey(i: int, width: int, height: int) -> NDArray[np.uint8]:
        return np.full((height, width, 3), 110, np.uint8)

    video = make_video(tmp_path / "v.mp4", n_frames=3, width=WIDTH, height=HEIGHT, picture=grey)
    xy = np.tile(np.array([[100, 100], [200, 100]], np.float32), (3, 1, 1))
    look = replace(STYLE.look(NAMES[:2]), hollow=np.array([False, True]))
    frames = drawn(index_video(video), xy, look, tmp_path / "out.mp4")
    disk, ring = frames[1, 100, 100], frames[1, 100, 200]
    assert np.abs(disk - look.colors[0]).max() < 40
    assert abs(ring.mean() - 110) < 25
    assert np.abs(frames[1, 100, 196] - look.colors[1].astype(int)).max() < 90
