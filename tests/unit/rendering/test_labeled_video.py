"""Labelled videos: markers where they belong, nothing changed elsewhere, likeness to upstream."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from raypose.errors import CancelledError, TableError, VideoError
from raypose.rendering import encoding
from raypose.rendering.encoding import part_bounds
from raypose.rendering.labeled_video import FrameRenderer, draw_labeled_video
from raypose.rendering.style import colormap_colors
from raypose.video.index import VideoIndex, index_video
from raypose.video.reader import FrameReader
from tests.videos import damage_packets, make_video

WIDTH, HEIGHT = 320, 240
# Clear of the text, of the picture's number and of its moving square; (x, y) as shown, inside
# both an upright and a turned frame.
PLACES = np.array([[40.7, 90.2], [150.0, 101.0], [201.9, 220.4]], np.float32)


def read(path: Path) -> np.ndarray:
    with FrameReader(path) as reader:
        return np.concatenate([batch.frames for batch in reader])


def constant(index: VideoIndex) -> tuple[np.ndarray, np.ndarray]:
    xy = np.tile(PLACES, (index.n_frames, 1, 1))
    return xy, np.ones(xy.shape[:2], np.float32)


def drawn_mask(height: int, width: int, centers: np.ndarray) -> np.ndarray:
    """Where something is drawn, with a margin that the encoder may smear."""
    mask = np.zeros((height, width), np.uint8)
    for x, y in centers.astype(int):
        cv2.circle(mask, (int(x), int(y)), 12, 1, -1)
    mask[:40, :220] = 1
    return mask.astype(bool)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 40])
@pytest.mark.parametrize("name", ["cool", "viridis", "tab10"])
def test_colours_are_upstreams(n: int, name: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    table = matplotlib.colormaps[name](np.linspace(0, 1, n))
    np.testing.assert_array_equal(colormap_colors(n, name), (table[:, :3] * 255).astype(np.uint8))


def test_an_unknown_colormap() -> None:
    with pytest.raises(TableError, match="no colormap named nope"):
        colormap_colors(3, "nope")


KINDS = {
    "plain.mp4": {},
    "bt709.mp4": {"color_range": 1, "colorspace": 1},
    "full.mp4": {"color_range": 2, "colorspace": 6},
    "10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "444.mp4": {"pix_fmt": "yuv444p"},
    "odd.mp4": {"pix_fmt": "yuv444p", "width": 321, "height": 241},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj422p"},
    "turned90.mp4": {"rotation": 90},
    "turned180.mp4": {"rotation": 180},
    "turned270.mp4": {"rotation": 270},
}


@pytest.mark.parametrize("name", KINDS)
def test_markers_are_where_they_belong_and_nothing_else_changes(name: str, tmp_path: Path) -> None:
    kind = {"width": WIDTH, "height": HEIGHT, **KINDS[name]}
    source = make_video(tmp_path / name, n_frames=8, quality=12, **kind)
    index = index_video(source)
    xy, likelihood = constant(index)
    assert draw_labeled_video(index, xy, likelihood, tmp_path / "out.mp4", threshold=0.9) == 8
    made = index_video(tmp_path / "out.mp4")
    assert (made.n_frames, made.width, made.height) == (8, index.width, index.height)
    assert made.rotation == index.rotation
    assert made.fps == pytest.approx(index.fps)
    before, after = read(source).astype(int), read(tmp_path / "out.mp4").astype(int)
    for (x, y), color in zip(PLACES.astype(int), colormap_colors(3, "cool"), strict=True):
        center = after[:, y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1, 2))
        assert np.abs(center - color).max() < 30, (center, color)
    elsewhere = ~drawn_mask(index.height, index.width, PLACES)
    change = np.abs(before - after)[:, elsewhere]
    assert change.mean() < 6
    assert np.abs((before - after)[:, elsewhere].mean(axis=(0, 1))).max() < 2.5
    text = after[:, 3:20, 3:120].mean(axis=-1)
    assert (text < 60).mean() > 0.6 and (text > 150).mean() > 0.03


def test_nothing_is_drawn_below_the_threshold_or_where_values_are_missing(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", n_frames=6, width=WIDTH, height=HEIGHT)
    index = index_video(source)
    xy, likelihood = constant(index)
    likelihood[0] = 0.9  # not above
    likelihood[1] = np.nan
    xy[2] = np.nan
    xy[3, :, 0] = np.inf
    xy[4] = (-500, 1e30)
    xy[5] = (1e9, -1e9)
    draw_labeled_video(index, xy, likelihood, tmp_path / "a.mp4", threshold=0.9)
    draw_labeled_video(
        index, np.full_like(xy, np.nan), likelihood, tmp_path / "b.mp4", threshold=0.9
    )
    a, b = read(tmp_path / "a.mp4"), read(tmp_path / "b.mp4")
    # The encoder looks ahead, and what it makes of a frame may depend on those after it.
    assert np.abs(a[:4].astype(int) - b[:4]).mean() < 1
    lower_left = (slice(None, -12), slice(12, -12))
    for n in (4, 5):
        assert np.abs(a[n][lower_left].astype(int) - b[n][lower_left]).mean() < 1


def test_markers_on_the_border_are_cut_off(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", n_frames=3, width=WIDTH, height=HEIGHT)
    index = index_video(source)
    corners = np.array([[0, HEIGHT - 1], [WIDTH - 1, HEIGHT - 1], [WIDTH + 40, 120]], np.float32)
    xy = np.tile(corners, (3, 1, 1))
    draw_labeled_video(index, xy, np.ones((3, 3)), tmp_path / "out.mp4", threshold=0.5)
    colors = colormap_colors(3, "cool").astype(int)
    frame = read(tmp_path / "out.mp4")[1].astype(int)
    assert np.abs(frame[-2, 1] - colors[0]).max() < 40
    assert np.abs(frame[-2, -2] - colors[1]).max() < 40
    # As upstream: what lies beyond the right or lower border is drawn on it.
    assert np.abs(frame[120, -2] - colors[2]).max() < 40


def test_a_part_of_the_video(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", n_frames=40, width=WIDTH, height=HEIGHT, bframes=2)
    index = index_video(source)
    xy, likelihood = constant(index)
    xy[:25] = np.nan
    draw_labeled_video(
        index, xy, likelihood, tmp_path / "out.mp4", threshold=0.5, start=23, stop=31
    )
    frames = read(tmp_path / "out.mp4").astype(int)
    assert len(frames) == 8
    color = colormap_colors(3, "cool")[1]
    near = [np.abs(frame[100:103, 149:152].mean(axis=(0, 1)) - color).max() for frame in frames]
    assert min(near[:2]) > 40 > max(near[2:])


def test_times_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    ticks = np.cumsum(np.random.default_rng(0).integers(5, 90, 20))
    source = make_video(
        tmp_path / "vfr.mkv", n_frames=20, pts=ticks.tolist(), time_base=Fraction(1, 1000)
    )
    index = index_video(source)
    draw_labeled_video(index, *constant(index), tmp_path / "out.mp4", threshold=0.5)
    made = index_video(tmp_path / "out.mp4")
    np.testing.assert_allclose(made.times_s, index.times_s, atol=1e-6)


def test_undecodable_frames_keep_their_place(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "v.mp4", n_frames=30)
    bad = damage_packets(whole, tmp_path / "bad.mp4", [0, 13])
    index = index_video(bad)
    xy = np.full((30, 2, 2), np.nan)
    likelihood = np.zeros((30, 2))
    assert draw_labeled_video(index, xy, likelihood, tmp_path / "out.mp4", threshold=0.5) == 30
    assert index_video(tmp_path / "out.mp4").n_frames == 30


def test_a_table_of_another_length_is_refused(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=5))
    with pytest.raises(TableError, match="4 rows but the video has 5 frames"):
        draw_labeled_video(
            index, np.zeros((4, 1, 2)), np.ones((4, 1)), tmp_path / "out.mp4", threshold=0.5
        )


def test_progress_and_stopping(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=50))
    xy, likelihood = constant(index)
    seen: list[int] = []
    draw_labeled_video(
        index, xy, likelihood, tmp_path / "a.mp4", threshold=0.5, on_progress=seen.append
    )
    assert seen == sorted(seen) and seen[-1] == 50
    with pytest.raises(CancelledError):
        draw_labeled_video(
            index, xy, likelihood, tmp_path / "b.mp4", threshold=0.5, should_stop=lambda: True
        )


class TestParts:
    """Longer videos are drawn in parts side by side, which nobody sees."""

    @pytest.fixture(autouse=True)
    def short_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoding, "_MIN_PART_FRAMES", 12)

    @pytest.mark.parametrize("rotation", [0, 90])
    def test_joined_is_as_drawn_in_one(self, rotation: int, tmp_path: Path) -> None:
        source = make_video(
            tmp_path / "v.mp4",
            n_frames=70,
            width=WIDTH,
            height=HEIGHT,
            gop=10,
            bframes=2,
            rotation=rotation,
        )
        index = index_video(source)
        assert part_bounds(index, 0, 70, 3) == [0, 20, 50, 70]
        seen: list[int] = []
        n_frames = draw_labeled_video(
            index,
            *constant(index),
            tmp_path / "parts.mp4",
            threshold=0.5,
            threads=3,
            on_progress=seen.append,
        )
        assert n_frames == 70
        assert seen == sorted(seen) and seen[-1] == 70
        joined = index_video(tmp_path / "parts.mp4")
        draw_labeled_video(index, *constant(index), tmp_path / "one.mp4", threshold=0.5)
        whole = index_video(tmp_path / "one.mp4")
        assert joined.keyframes.tolist() == [0, 20, 50]
        assert whole.keyframes.tolist() == [0]
        np.testing.assert_array_equal(joined.times_s, whole.times_s)
        for name in ("rotation", "width", "height", "fps", "pix_fmt"):
            assert getattr(joined, name) == getattr(whole, name)
        with av.open(joined.path) as one, av.open(whole.path) as other:
            contexts = [video.streams.video[0].codec_context for video in (one, other)]
            for name in ("color_range", "colorspace"):
                assert getattr(contexts[0], name) == getattr(contexts[1], name)
        assert joined.duration_s == pytest.approx(whole.duration_s)
        difference = read(tmp_path / "parts.mp4").astype(int) - read(tmp_path / "one.mp4")
        assert np.abs(difference).mean(axis=(1, 2, 3)).max() < 4
        assert {path.name for path in tmp_path.iterdir()} == {"v.mp4", "parts.mp4", "one.mp4"}

    def test_a_part_that_begins_with_damage_shows_the_picture_before(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = make_video(tmp_path / "v.mp4", n_frames=40, width=WIDTH, height=HEIGHT, gop=10)
        index = index_video(damage_packets(whole, tmp_path / "bad.mp4", [20]))
        assert part_bounds(index, 0, 40, 3) == [0, 10, 30, 40]
        with monkeypatch.context() as patch:
            patch.setattr(encoding, "part_bounds", lambda *_: [0, 20, 40])
            draw_labeled_video(
                index, *constant(index), tmp_path / "parts.mp4", threshold=0.5, threads=2
            )
        draw_labeled_video(index, *constant(index), tmp_path / "one.mp4", threshold=0.5)
        difference = read(tmp_path / "parts.mp4").astype(int) - read(tmp_path / "one.mp4")
        assert np.abs(difference).mean(axis=(1, 2, 3)).max() < 4

    def test_where_nothing_can_be_cut(self, tmp_path: Path) -> None:
        one_gop = index_video(make_video(tmp_path / "v.mp4", n_frames=60, gop=1000))
        assert part_bounds(one_gop, 0, 60, 3) == [0, 60]
        ticks = np.cumsum(np.random.default_rng(0).integers(5, 90, 60)).tolist()
        varies = make_video(
            tmp_path / "v.mkv", n_frames=60, gop=5, pts=ticks, time_base=Fraction(1, 1000)
        )
        assert part_bounds(index_video(varies), 0, 60, 3) == [0, 60]
        short = index_video(make_video(tmp_path / "s.mp4", n_frames=20, gop=5))
        assert part_bounds(short, 0, 20, 3) == [0, 20]

    def test_nothing_stays_of_a_drawing_that_was_stopped(self, tmp_path: Path) -> None:
        index = index_video(make_video(tmp_path / "v.mp4", n_frames=90, gop=10))
        asked: list[int] = []

        def should_stop() -> bool:
            asked.append(1)
            return len(asked) > 3

        with pytest.raises(CancelledError):
            draw_labeled_video(
                index,
                *constant(index),
                tmp_path / "out.mp4",
                threshold=0.5,
                threads=3,
                should_stop=should_stop,
            )
        assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]

    def test_a_part_that_fails_is_told_of_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = index_video(make_video(tmp_path / "v.mp4", n_frames=90, gop=10))
        render = FrameRenderer.render

        def fails(self: FrameRenderer, n: int, frame: object) -> object:
            if n == 70:
                raise VideoError("of frame 70")
            return render(self, n, frame)

        monkeypatch.setattr(FrameRenderer, "render", fails)
        out = tmp_path / "out.mp4"
        with pytest.raises(VideoError, match="of frame 70"):
            draw_labeled_video(index, *constant(index), out, threshold=0.5, threads=3)
        assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]

    def test_parts_that_would_take_too_much_memory_are_not_drawn_side_by_side(
        self, tmp_path: Path
    ) -> None:
        index = index_video(make_video(tmp_path / "v.mp4", n_frames=60, gop=10))
        out = tmp_path / "out.mp4"
        for megabytes, keyframes in ((1, [0]), (1000, [0, 20, 40])):
            draw_labeled_video(
                index,
                *constant(index),
                out,
                threshold=0.5,
                threads=3,
                memory_bytes=megabytes << 20,
            )
            assert index_video(out).keyframes.tolist() == keyframes


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
@pytest.mark.parametrize("gop", [10, 1000])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_no_more_threads_than_allowed_are_started(
    gop: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, and as a video of one part, which has all threads to itself."""
    monkeypatch.setattr(encoding, "_MIN_PART_FRAMES", 12)
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=70, gop=gop))
    # Other tests may have left threads behind, which do nothing.
    before = len(os.listdir("/proc/self/task"))
    seen: list[int] = []
    draw_labeled_video(
        index,
        *constant(index),
        tmp_path / "out.mp4",
        threshold=0.5,
        threads=threads,
        on_progress=lambda _: seen.append(len(os.listdir("/proc/self/task")) - before),
    )
    # Where there are others, the caller's thread waits for them.
    assert max(seen) <= (1.5 * threads if threads > 1 else 0)


def test_small_frames_have_small_markers_and_text(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=3, width=96, height=96))
    xy = np.tile(np.array([[70.0, 30.0]]), (3, 1, 1))
    draw_labeled_video(index, xy, np.ones((3, 1)), tmp_path / "out.mp4", threshold=0.5)
    frame = read(tmp_path / "out.mp4")[2].astype(int)
    color = colormap_colors(1, "cool")[0]
    assert np.abs(frame[30, 70] - color).max() < 60
    assert np.abs(frame[36, 70] - color).max() > 60


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_frames_look_like_upstreams(tmp_path: Path) -> None:
    import pandas as pd
    from lightning_pose.utils.predictions import generate_labeled_video

    source = make_video(tmp_path / "v.mp4", n_frames=40, width=WIDTH, height=HEIGHT, quality=12)
    index = index_video(source)
    rng = np.random.default_rng(3)
    xy = rng.uniform((0, 45), (WIDTH, HEIGHT), (40, 6, 2)).astype(np.float32)
    likelihood = rng.uniform(0.8, 1, (40, 6)).astype(np.float32)
    table = pd.DataFrame(np.concatenate([xy, likelihood[..., None]], axis=2).reshape(40, 18))
    generate_labeled_video(str(source), table, str(tmp_path / "up" / "up.mp4"), 0.9, "cool")
    draw_labeled_video(index, xy, likelihood, tmp_path / "out.mp4", threshold=0.9)
    theirs, ours = read(tmp_path / "up" / "up.mp4").astype(int), read(tmp_path / "out.mp4")
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).mean() < 6
    # The text, and the markers, differ by what the encoders make of them.
    assert np.abs(theirs - ours)[:, 3:20, 3:150].mean() < 12
    drawn = likelihood > 0.9
    for n, k in zip(*np.nonzero(drawn), strict=True):
        x, y = np.minimum(xy[n, k].astype(int), (WIDTH - 1, HEIGHT - 1))
        patch = (n, slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))
        assert np.abs(theirs[patch].mean(axis=(0, 1)) - ours[patch].mean(axis=(0, 1))).max() < 60


@pytest.mark.parametrize(
    ("width", "height"), [(3, 1), (1, 3), (1, 1), (2, 2), (4, 2), (1, 90), (90, 1), (7, 9)]
)
def test_a_frame_of_a_few_pixels_has_no_room_for_text(
    tmp_path: Path, width: int, height: int
) -> None:
    def grey(i: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), 100, np.uint8)

    path = make_video(
        tmp_path / "v.mp4", n_frames=4, width=width, height=height, pix_fmt="yuv444p", picture=grey
    )
    likelihood = np.ones((4, 1), np.float32)
    likelihood[1] = 0
    xy = np.zeros((4, 1, 2), np.float32)
    out = tmp_path / "out.mp4"
    n_frames = draw_labeled_video(index_video(path), xy, likelihood, out, threshold=0.5)
    assert n_frames == 4
    frames = read(tmp_path / "out.mp4").astype(int)
    assert frames.shape == (4, height, width, 3)
    # The marker is drawn, and where there is none the picture is as it was.
    assert np.abs(frames[0, 0, 0] - frames[1, 0, 0]).max() > 50
    if min(width, height) < 3:
        assert np.abs(frames[1] - 100).max() < 20
