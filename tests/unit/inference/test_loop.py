"""Whole videos: every frame has its right row, whatever the range, batch, and damage."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raypose.errors import CancelledError, Failure, VideoError
from raypose.inference import collectors
from raypose.inference.loop import MemberResult
from raypose.inference.predictor import Predictor
from raypose.inference.windows import frames_to_read
from raypose.inputs.models import open_model
from raypose.specs import ModelSpec
from raypose.video.frames import FrameStatus
from raypose.video.reader import FrameReader
from tests.predictions import predict_frames, predict_video
from tests.unit.inference.conftest import smooth_frames
from tests.videos import damage_packets, make_video

N = 23


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clouds = smooth_frames(N, 80, 112)
    return make_video(
        tmp_path_factory.mktemp("video") / "clouds.mp4",
        n_frames=N,
        width=112,
        height=80,
        gop=8,
        bframes=2,
        picture=lambda i, width, height: clouds[i],
    )


@pytest.fixture(scope="module")
def heatmap(make_spec: Callable[..., ModelSpec]) -> Predictor:
    return Predictor(make_spec())


@pytest.fixture(scope="module")
def context(make_spec: Callable[..., ModelSpec]) -> Predictor:
    return Predictor(make_spec(model_type="heatmap_mhcrnn"))


def frames_of(video: Path) -> NDArray[np.uint8]:
    with FrameReader(video, batch_size=64) as reader:
        return next(iter(reader)).frames


def values(results: list[MemberResult | Failure]) -> list[NDArray[np.float32]]:
    assert all(isinstance(result, MemberResult) for result in results), results
    return [result.values for result in results if isinstance(result, MemberResult)]


def test_every_frame_and_member(video: Path, heatmap: Predictor, context: Predictor) -> None:
    told: list[int] = []
    got = values(predict_video(video, [heatmap, context], batch_size=4, on_progress=told.append))
    frames = frames_of(video)
    for rows, predictor in zip(got, (heatmap, context), strict=True):
        assert rows.shape == (N, 3, 3)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, predict_frames(predictor, frames).numpy(), atol=2e-3)
    assert told == sorted(told)
    assert told[-1] == N


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 9), (1, 2), (7, 16), (11, 12), (20, N), (N - 1, N), (5, 5)]
)
def test_ranges_are_rows_of_the_whole(
    video: Path, heatmap: Predictor, context: Predictor, start: int, stop: int
) -> None:
    members = [heatmap, context]
    whole = values(predict_video(video, members))
    part = values(predict_video(video, members, start=start, stop=stop, batch_size=3))
    for all_rows, rows in zip(whole, part, strict=True):
        np.testing.assert_allclose(rows, all_rows[start:stop], atol=2e-3)


def assert_same(rows: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Within 0.001 px where the heatmap has one peak.

    Kernels round differently for another batch size. Where a random network sees two peaks that
    are all but equal, a softmax of temperature 1000 makes much of that: the mean moves between
    them. Such keypoints are seen by their likelihood, the mass of the heatmap in one place.
    """
    one_peak = np.minimum(rows[..., 2], expected[..., 2]) > 0.999
    assert one_peak.mean() > 0.5
    difference = np.abs(rows - expected)
    assert difference[one_peak].max() < 1e-3
    assert difference[..., :2].max() < 0.5


@pytest.mark.slow
@settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # to shrink takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    n=st.integers(1, 26),
    gop=st.sampled_from([1, 2, 5, 8, 250]),
    bframes=st.integers(0, 2),
    cuts=st.sets(st.integers(1, 25), max_size=5),
    batch_size=st.integers(1, 9),
)
@example(n=1, gop=250, bframes=0, cuts=set(), batch_size=4)
@example(n=4, gop=250, bframes=2, cuts={1, 2, 3}, batch_size=1)
@example(n=5, gop=1, bframes=0, cuts={4}, batch_size=2)
@example(n=23, gop=250, bframes=2, cuts={1, 2, 10, 21, 22}, batch_size=7)
def test_split_equals_unsplit_equals_frame_by_frame(
    tmp_path: Path,
    heatmap: Predictor,
    context: Predictor,
    n: int,
    gop: int,
    bframes: int,
    cuts: set[int],
    batch_size: int,
) -> None:
    clouds = smooth_frames(n, 80, 112, seed=n)
    video = make_video(
        tmp_path / "clouds.mp4",
        n_frames=n,
        width=112,
        height=80,
        gop=gop,
        bframes=bframes,
        picture=lambda i, width, height: clouds[i],
    )
    members = [heatmap, context]
    whole = values(predict_video(video, members))
    bounds = sorted({0, n} | {cut for cut in cuts if cut < n})
    parts = [
        values(predict_video(video, members, start=start, stop=stop, batch_size=batch_size))
        for start, stop in pairwise(bounds)
    ]
    frames = frames_of(video)
    alone = [
        np.concatenate([predict_frames(heatmap, frames[i : i + 1]).numpy() for i in range(n)]),
        predict_frames(context, frames).numpy(),
    ]
    for member, all_rows in enumerate(whole):
        assert all_rows.shape == (n, 3, 3)
        stitched = np.concatenate([part[member] for part in parts])
        assert_same(stitched, all_rows)
        assert_same(alone[member], all_rows)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_short_videos(tmp_path: Path, heatmap: Predictor, context: Predictor, n: int) -> None:
    video = make_video(tmp_path / "short.mp4", n_frames=n)
    got = values(predict_video(video, [heatmap, context]))
    frames = frames_of(video)
    np.testing.assert_allclose(got[0], predict_frames(heatmap, frames).numpy(), atol=2e-3)
    np.testing.assert_allclose(got[1], predict_frames(context, frames).numpy(), atol=2e-3)


def test_boxes_follow_their_frames(video: Path, heatmap: Predictor, context: Predictor) -> None:
    from raypose.inference.preprocess import clamp_bboxes

    boxes = np.stack(
        [np.arange(N) % 30, np.arange(N) % 20, 40 + np.arange(N), 50 + np.arange(N)], axis=1
    ).astype(float)
    got = values(predict_video(video, [heatmap, context], bboxes=boxes[:-3], batch_size=4))
    used = clamp_bboxes(boxes[np.minimum(np.arange(N), N - 4)], 80, 112)
    frames = frames_of(video)
    for rows, predictor in zip(got, (heatmap, context), strict=True):
        np.testing.assert_allclose(
            rows, predict_frames(predictor, frames, used).numpy(), atol=2e-3
        )


def test_large_frames_give_the_same_sampled_and_whole(
    tmp_path: Path, heatmap: Predictor, context: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds = smooth_frames(N, 320, 400)
    whole = make_video(
        tmp_path / "v.mp4",
        n_frames=N,
        width=400,
        height=320,
        gop=1,
        picture=lambda i, *_: clouds[i],
    )
    video = damage_packets(whole, tmp_path / "damaged.mp4", [4, 5, N - 1])
    boxes = np.stack([7 * np.arange(N), 5 * np.arange(N), 90 + np.arange(N), 99 - np.arange(N)], 1)
    for bboxes in (None, boxes.astype(float)):
        found = []
        for pays in (0, np.inf):
            monkeypatch.setattr(collectors, "_PAYS", pays)
            found.append(values(predict_video(video, [heatmap, context], bboxes=bboxes)))
        for sampled, rows in zip(*found, strict=True):
            np.testing.assert_array_equal(sampled, rows)


def test_one_member_fails_alone(
    video: Path, heatmap: Predictor, make_spec: Callable[..., ModelSpec]
) -> None:
    broken = Predictor(make_spec(height=128, width=128))

    def fail(images: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    object.__setattr__(broken.network, "forward", fail)
    good, bad = predict_video(video, [heatmap, broken])
    assert isinstance(good, MemberResult)
    assert len(good.values) == N
    assert isinstance(bad, Failure)
    assert "mat1 and mat2" in bad.message
    assert bad.step == "predict"


def test_a_broken_video_fails_for_all(tmp_path: Path, heatmap: Predictor) -> None:
    path = tmp_path / "not-a-video.mp4"
    path.write_bytes(b"\0" * 1000)
    with pytest.raises(VideoError):
        predict_video(path, [heatmap])


def test_stops_when_asked(video: Path, heatmap: Predictor) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(CancelledError):
        predict_video(video, [heatmap], batch_size=4, should_stop=stop)
    assert len(asked) == 3


def test_undecodable_frames_keep_their_rows(
    tmp_path: Path, heatmap: Predictor, context: Predictor
) -> None:
    video = make_video(tmp_path / "video.mp4", n_frames=30, gop=10)
    whole = values(predict_video(video, [heatmap]))[0]
    damaged = damage_packets(video, tmp_path / "damaged.mp4", [13, 22])
    with FrameReader(damaged, batch_size=30) as reader:
        statuses = next(iter(reader)).statuses
    assert set(statuses[13:20]) | set(statuses[22:]) == {FrameStatus.MISSING, FrameStatus.SUSPECT}
    ok = statuses != FrameStatus.MISSING
    for result in predict_video(damaged, [heatmap, context], batch_size=4):
        assert isinstance(result, MemberResult)
        np.testing.assert_array_equal(result.frames.statuses, statuses)
        assert np.isnan(result.values[~ok, :, :2]).all()
        assert (result.values[~ok, :, 2] == 0).all()
        assert not np.isnan(result.values[ok]).any()
    rows = values(predict_video(damaged, [heatmap]))[0]
    np.testing.assert_allclose(rows[:9], whole[:9], atol=2e-3)


def test_frames_that_windows_need() -> None:
    assert frames_to_read(10, 20, 100) == (8, 22)
    assert frames_to_read(0, 1, 100) == (0, 5)
    assert frames_to_read(1, 2, 100) == (0, 5)
    assert frames_to_read(99, 100, 100) == (95, 100)
    assert frames_to_read(0, 3, 3) == (0, 3)


@pytest.mark.slow
def test_shared_video_agrees_with_lightning_pose(shared_data: Path) -> None:
    import pandas as pd

    folder = shared_data / "models" / "2026-11-01"
    names = ("10-00-00-effb0-seed0", "10-00-01-effb0-seed1")
    members = [Predictor(open_model(folder / name)) for name in names]
    got = values(predict_video(shared_data / "mirror-mouse-example/videos/test_vid.mp4", members))
    for i, rows in enumerate(got):
        path = shared_data / "expected" / f"seed{i}" / "test_vid.csv"
        table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
        expected = table.to_numpy().reshape(len(table), -1, 3)
        assert rows.shape == expected.shape
        confident = expected[..., 2] > 0.9
        assert np.abs(rows - expected)[..., :2][confident].max() < 0.005
        assert np.abs(rows - expected)[..., 2].max() < 1e-3
