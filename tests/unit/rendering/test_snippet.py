"""The snippet: the window by its definition, exact cuts, and the seed's faults mended."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from raypose.errors import CancelledError
from raypose.rendering.snippet import choose_snippet, cut_snippet, motion_energy
from raypose.video.index import index_video
from raypose.video.reader import FrameReader
from tests.videos import damage_packets, make_video, read_number


def walk(n: int, k: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    xy = np.cumsum(rng.normal(0, 1, (n, k, 2)), axis=0).astype(np.float32)
    return xy, rng.uniform(0.85, 1, (n, k)).astype(np.float32)


def by_definition(xy: np.ndarray, likelihood: np.ndarray, window: int, threshold: float) -> int:
    """First frame of the window whose mean energy is the highest, one window at a time."""
    points = np.where((likelihood >= threshold)[..., None], xy.astype(float), np.nan)
    energy = np.zeros(len(xy))
    for i in range(1, len(xy)):
        moved = np.linalg.norm(points[i] - points[i - 1], axis=1)
        if np.isfinite(moved).any():
            energy[i] = np.nanmean(moved)
    means = [energy[i : i + window].sum() for i in range(len(xy) - window + 1)]
    return int(np.argmax(means))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_window_of_the_definition(seed: int) -> None:
    xy, likelihood = walk(400, seed=seed)
    start, stop = choose_snippet(
        xy, likelihood, np.arange(len(xy)) / 10, duration_s=5.0, threshold=0.9
    )
    assert stop - start == 50
    assert start == by_definition(xy, likelihood, 50, 0.9)


def test_a_burst_is_found_to_the_frame() -> None:
    xy = np.zeros((1000, 3, 2), np.float32)
    xy[400:700:2] = 10  # moves in each of frames 400 to 700
    start, stop = choose_snippet(xy, np.ones((1000, 3)), np.arange(len(xy)) / 10, duration_s=30.0)
    assert (start, stop) == (400, 700)


@pytest.mark.parametrize("rate", [25.0, 29.97, 30000 / 1001, 250.0, 12.5])
def test_thirty_seconds_at_any_rate(rate: float) -> None:
    n = int(rate * 100)
    xy, likelihood = walk(n)
    start, stop = choose_snippet(xy, likelihood, np.arange(n) / rate)
    assert (stop - start) / rate == pytest.approx(30, abs=1 / rate)
    assert 0 <= start < stop <= n


def test_a_short_video_is_its_own_snippet() -> None:
    xy, likelihood = walk(299)
    assert choose_snippet(xy, likelihood, np.arange(len(xy)) / 10) == (0, 299)
    assert choose_snippet(xy[:1], likelihood[:1], np.zeros(1)) == (0, 1)
    assert choose_snippet(*walk(300), np.arange(300) / 10) == (0, 300)


def test_exactly_one_frame_longer() -> None:
    xy = np.zeros((301, 1, 2))
    xy[300] = 50
    assert choose_snippet(xy, np.ones((301, 1)), np.arange(len(xy)) / 10) == (1, 301)


def test_all_unknown_takes_the_first_window() -> None:
    xy = np.full((500, 3, 2), np.nan)
    assert choose_snippet(xy, np.zeros((500, 3)), np.arange(len(xy)) / 10) == (0, 300)


def test_one_frame_without_confidence_does_not_blank_its_windows() -> None:
    xy = np.zeros((1000, 3, 2), np.float32)
    xy[400:700:2] = 10
    likelihood = np.ones((1000, 3), np.float32)
    likelihood[550] = 0.1
    assert choose_snippet(xy, likelihood, np.arange(len(xy)) / 10) == (400, 700)


def test_motion_energy_leaves_out_what_is_not_confident() -> None:
    xy = np.array([[[0, 0], [0, 0]], [[3, 4], [100, 0]], [[3, 4], [0, 0]]], np.float32)
    likelihood = np.array([[1, 1], [1, 0.2], [1, np.nan]])
    np.testing.assert_allclose(motion_energy(xy, likelihood, 0.9), [0, 5, 0])
    np.testing.assert_allclose(motion_energy(xy, np.ones((3, 2)), 0.9), [0, 52.5, 50])


def test_long_tables_are_taken_in_parts() -> None:
    xy, likelihood = walk(140_000, k=2)
    whole = np.linalg.norm(np.diff(xy.astype(float), axis=0), axis=2).mean(axis=1)
    np.testing.assert_allclose(motion_energy(xy, np.ones_like(likelihood), 0.9)[1:], whole)


def test_the_window_follows_the_videos_own_time() -> None:
    # 10 frames a second, then 100: thirty seconds are 300 frames first and 3000 later.
    times_s = np.concatenate([np.arange(600) / 10, 60 + np.arange(6000) / 100])
    xy = np.zeros((6600, 1, 2))
    xy[3000:6000:2] = 5
    start, stop = choose_snippet(xy, np.ones((6600, 1)), times_s)
    assert times_s[stop - 1] - times_s[start] == pytest.approx(30, abs=0.02)
    assert start <= 3000 and stop >= 6000


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (17, 23), (29, 60), (59, 60)])
def test_cuts_are_exact_to_the_frame(start: int, stop: int, tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=60, bframes=2, open_gop=True)
    n = cut_snippet(index_video(video), start, stop, tmp_path / "cut.part")
    assert n == stop - start
    with FrameReader(tmp_path / "cut.part") as reader:
        cut = np.concatenate([batch.frames for batch in reader])
    with FrameReader(video, start=start, stop=stop) as reader:
        source = np.concatenate([batch.frames for batch in reader])
    assert [read_number(frame) for frame in cut] == list(range(start, stop))
    assert np.abs(cut.astype(int) - source).mean() < 3


def test_cuts_keep_the_distances_in_time(tmp_path: Path) -> None:
    ticks = np.cumsum(np.random.default_rng(0).integers(10, 90, 40))
    video = make_video(
        tmp_path / "v.mkv", n_frames=40, pts=ticks.tolist(), time_base=Fraction(1, 1000)
    )
    cut_snippet(index_video(video), 11, 29, tmp_path / "cut.mp4")
    cut = index_video(tmp_path / "cut.mp4")
    np.testing.assert_allclose(cut.times_s, (ticks[11:29] - ticks[11]) / 1000, atol=1e-6)


def test_a_cut_through_damage_keeps_its_length(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "v.mp4")
    bad = damage_packets(whole, tmp_path / "bad.mp4", [10, 11])
    assert cut_snippet(index_video(bad), 8, 25, tmp_path / "cut.mp4") == 17
    assert index_video(tmp_path / "cut.mp4").n_frames == 17


def test_stopping(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4")
    with pytest.raises(CancelledError):
        cut_snippet(index_video(video), 0, 29, tmp_path / "cut.mp4", should_stop=lambda: True)
