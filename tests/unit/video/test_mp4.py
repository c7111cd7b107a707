"""Written MP4s show every frame at any rate, and one that would not is never committed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypose.errors import OutputError
from raypose.rendering import encoding
from raypose.rendering.labeled_video import draw_labeled_video
from raypose.rendering.snippet import cut_snippet
from raypose.video import writer
from raypose.video.index import VideoIndex, index_video
from raypose.video.writer import check_shown, count_shown
from tests.conftest import SHARED_CASES
from tests.videos import make_video, read_number, read_with_opencv

TICKS = np.cumsum(np.random.default_rng(0).integers(1, 9, 41))
# Transport streams have no edit list: they show all frames whoever writes them.
KINDS: dict[str, dict[str, Any]] = {
    "2000": {"fps": 2000, "bframes": 2},
    "10000": {"fps": 10_000, "bframes": 2},
    "ntsc": {"fps": Fraction(30_000, 1001), "bframes": 2},
    "odd": {"fps": Fraction(1234, 7)},
    "slow": {"fps": Fraction(1, 3), "bframes": 2},
    "uneven": {"pts": TICKS.tolist(), "time_base": Fraction(1, 20_000), "bframes": 2},
}


def draw(index: VideoIndex, out: Path, threads: int = 1) -> None:
    xy, likelihood = np.zeros((index.n_frames, 1, 2)), np.ones((index.n_frames, 1))
    draw_labeled_video(index, xy, likelihood, out, threshold=0.5, threads=threads)


def check(made: Path, numbers: list[int], times_s: np.ndarray) -> None:
    """Both OpenCV and our own index find these frames at these times."""
    assert [read_number(frame) for frame in read_with_opencv(made)] == numbers
    index = index_video(made)
    assert index.n_frames == count_shown(made) == len(numbers)
    np.testing.assert_allclose(index.times_s, times_s - times_s[0], atol=2e-6)


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_are_shown(name: str, tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "video.ts", n_frames=41, quality=12, **KINDS[name]))
    assert index.n_frames == 41
    for start, stop in ((0, 41), (0, 40), (5, 38)):
        made = tmp_path / f"snippet{start}-{stop}.mp4"
        assert cut_snippet(index, start, stop, made) == stop - start
        check(made, list(range(start, stop)), index.times_s[start:stop])
    draw(index, tmp_path / "labeled.mp4")
    assert len(read_with_opencv(tmp_path / "labeled.mp4")) == 41
    made = index_video(tmp_path / "labeled.mp4")
    np.testing.assert_allclose(made.times_s, index.times_s, atol=2e-6)


@pytest.mark.parametrize("fps", [25, 2000, Fraction(30_000, 1001)])
def test_all_frames_of_joined_parts_are_shown(
    fps: Fraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_MIN_PART_FRAMES", 12)
    index = index_video(make_video(tmp_path / "video.ts", n_frames=71, fps=fps, bframes=2))
    assert len(encoding.part_bounds(index, 0, 71, 3)) == 4
    draw(index, tmp_path / "labeled.mp4", threads=3)
    assert len(read_with_opencv(tmp_path / "labeled.mp4")) == 71 == index.n_frames
    made = index_video(tmp_path / "labeled.mp4")
    np.testing.assert_allclose(made.times_s, index.times_s, atol=2e-6)


def test_a_copied_snippet_shows_all_frames(tmp_path: Path) -> None:
    source = index_video(make_video(tmp_path / "source.ts", n_frames=41, fps=2000, bframes=2))
    cut_snippet(source, 0, 41, tmp_path / "video.mp4")
    index = index_video(tmp_path / "video.mp4")
    cut_snippet(index, 0, 41, tmp_path / "copy.mp4")
    packets = [
        [bytes(packet) for packet in av.open(str(path)).demux(video=0)]
        for path in (tmp_path / "video.mp4", tmp_path / "copy.mp4")
    ]
    assert packets[0] == packets[1]
    check(tmp_path / "copy.mp4", list(range(41)), index.times_s)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_video_that_hides_frames_is_an_error(
    parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_MIN_PART_FRAMES", 12)
    index = index_video(make_video(tmp_path / "video.ts", n_frames=71, fps=2000, bframes=2))
    monkeypatch.setattr(writer, "mp4_options", lambda _: {"movie_timescale": "1000"})
    with pytest.raises(OutputError, match=r"shows 70 frames instead of 71") as caught:
        draw(index, tmp_path / "labeled.mp4", threads=parts)
    assert caught.value.path == str(tmp_path / "labeled.mp4")
    with pytest.raises(OutputError, match="shows 32 frames instead of 33"):
        cut_snippet(index, 5, 38, tmp_path / "snippet.mp4")


def test_the_count_takes_edit_lists_into_account(tmp_path: Path) -> None:
    made = make_video(tmp_path / "video.mp4", n_frames=41, fps=2000, bframes=2)
    assert count_shown(made) == len(read_with_opencv(made)) == 40
    check_shown(made, 40)
    with pytest.raises(OutputError, match="shows 40 frames instead of 41"):
        check_shown(made, 41)


def test_a_fast_recording(tmp_path: Path) -> None:
    path = SHARED_CASES / "high-rate" / "fast2000.mkv"
    if not path.exists():
        pytest.skip("the shared cases are not on this machine")
    index = index_video(path)
    draw(index, tmp_path / "labeled.mp4")
    cut_snippet(index, 9, 33, tmp_path / "snippet.mp4")
    counts = [len(read_with_opencv(tmp_path / f"{n}.mp4")) for n in ("labeled", "snippet")]
    assert counts == [41, 24]
    np.testing.assert_allclose(index.times_s, np.arange(41) / 2000, atol=1e-9)
