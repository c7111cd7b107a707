"""How predictions are split: properties that always hold, and the cases that matter."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypose.planning.partition import MIN_RANGE, PredictDemand, Shard, partition

patient = settings(deadline=None)  # the machine may be busy


def gaps(n_frames: int, done: tuple[tuple[int, int], ...]) -> set[int]:
    return set(range(n_frames)) - {i for start, stop in done for i in range(start, stop)}


@st.composite
def done_ranges(draw: st.DrawFn, n_frames: int) -> tuple[tuple[int, int], ...]:
    bounds = draw(st.lists(st.integers(0, n_frames), max_size=6, unique=True))
    bounds = sorted(bounds)
    return tuple(zip(bounds[::2], bounds[1::2], strict=False))


@st.composite
def demands(draw: st.DrawFn, *, alike: bool = True) -> PredictDemand:
    n_frames = draw(st.integers(1, 3000))
    models = tuple(draw(st.lists(st.integers(0, 6), max_size=5, unique=True).map(sorted)))
    if alike:
        done = (draw(done_ranges(n_frames)),) * len(models)
    else:
        done = tuple(draw(done_ranges(n_frames)) for _ in models)
    gop = draw(st.sampled_from([0, 1, 12, 250, 5000]))
    keyframes = tuple(range(0, n_frames, gop)) if gop else ()
    return PredictDemand(n_frames, models, done if draw(st.booleans()) else (), lambda: keyframes)


@patient
@given(st.lists(demands(), max_size=5), st.integers(1, 12), st.integers(1, 2000))
def test_every_frame_once_for_every_model(
    demands: list[PredictDemand], n_gpus: int, chunk: int
) -> None:
    result = partition(demands, n_gpus, chunk)
    assert len(result) == len(demands)
    for demand, shards in zip(demands, result, strict=True):
        counts = Counter(
            (model, i) for s in shards for model in s.models for i in range(s.start, s.stop)
        )
        left = gaps(demand.n_frames, demand.done[0] if demand.done else ())
        assert counts == Counter((model, i) for model in demand.models for i in left)


@patient
@given(st.lists(demands(alike=False), max_size=3), st.integers(1, 8), st.integers(1, 2000))
def test_nothing_is_left_out_where_finished_ranges_differ(
    demands: list[PredictDemand], n_gpus: int, chunk: int
) -> None:
    for demand, shards in zip(demands, partition(demands, n_gpus, chunk), strict=True):
        for k, model in enumerate(demand.models):
            covered = [i for s in shards if model in s.models for i in range(s.start, s.stop)]
            assert len(covered) == len(set(covered))
            assert set(covered) >= gaps(demand.n_frames, demand.done[k] if demand.done else ())


@patient
@given(st.lists(demands(alike=False), max_size=4), st.integers(1, 12), st.integers(1, 2000))
def test_shards_are_in_order_and_no_longer_than_a_chunk(
    demands: list[PredictDemand], n_gpus: int, chunk: int
) -> None:
    for demand, shards in zip(demands, partition(demands, n_gpus, chunk), strict=True):
        assert shards == sorted(shards, key=lambda s: (s.start, s.models))
        assert all(0 <= s.start < s.stop <= demand.n_frames for s in shards)
        assert all(s.stop - s.start <= chunk for s in shards)
        assert all(s.models and set(s.models) <= set(demand.models) for s in shards)


@patient
@given(st.lists(demands(alike=False), max_size=4), st.integers(1, 12), st.integers(1, 2000))
def test_is_deterministic(demands: list[PredictDemand], n_gpus: int, chunk: int) -> None:
    assert partition(demands, n_gpus, chunk) == partition(list(demands), n_gpus, chunk)


@patient
@given(st.lists(demands(), min_size=1, max_size=6), st.integers(1, 2000))
def test_one_gpu_shards_one_decode(demands: list[PredictDemand], chunk: int) -> None:
    for demand, shards in zip(demands, partition(demands, 1, chunk), strict=True):
        assert {s.models for s in shards} <= {demand.models}


def demand(n_frames: int = 10_000, n_models: int = 1, gop: int = 250) -> PredictDemand:
    keyframes = tuple(range(0, n_frames, gop))
    return PredictDemand(n_frames, tuple(range(n_models)), (), lambda: keyframes)


def test_as_many_demands_as_gpus_share_a_decode() -> None:
    result = partition([demand(n_models=3)] * 4, 4, 50_000)
    assert result == [[Shard((0, 1, 2), 0, 10_000)]] * 4


def test_fewer_demands_than_gpus_spread_members() -> None:
    (shards,) = partition([demand(n_models=3)], 3, 50_000)
    assert [s.models for s in shards] == [(0,), (1,), (2,)]
    assert all((s.start, s.stop) == (0, 10_000) for s in shards)


def test_gpus_end_together() -> None:
    """Five members on two GPUs: two and three of them, in ranges, since 3 : 2 is not even."""
    (shards,) = partition([demand(n_models=5)], 2, 50_000)
    assert {len(s.models) for s in shards} == {2, 3}
    assert len(shards) == 4


@pytest.mark.parametrize(("n_videos", "n_gpus"), [(5, 4), (9, 8), (3, 2), (33, 32)])
def test_videos_are_cut_where_the_last_would_leave_gpus_idle(n_videos: int, n_gpus: int) -> None:
    """One video more than GPUs would take twice as long as one video less."""
    shards = [s for of_video in partition([demand()] * n_videos, n_gpus, 50_000) for s in of_video]
    ends = [0] * n_gpus
    for length in sorted((s.stop - s.start for s in shards), reverse=True):
        ends[ends.index(min(ends))] += length
    assert max(ends) <= 1.1 * n_videos * 10_000 / n_gpus
    assert min(s.stop - s.start for s in shards) >= MIN_RANGE // 2


def test_videos_that_keep_all_gpus_busy_stay_whole() -> None:
    result = partition([demand()] * 16, 8, 50_000)
    assert all(len(shards) == 1 for shards in result)


def test_many_videos_of_any_length_stay_whole() -> None:
    """The short ones fill the gaps that the long ones leave."""
    result = partition([demand(200 * i) for i in range(1, 200)], 8, 50_000)
    assert all(len(shards) == 1 for shards in result)


def test_fewer_pairs_than_gpus_split_the_video() -> None:
    (shards,) = partition([demand()], 8, 50_000)
    assert len(shards) == 8
    lengths = [s.stop - s.start for s in shards]
    assert max(lengths) <= 1.5 * min(lengths)


def test_cuts_fall_on_keyframes() -> None:
    (shards,) = partition([demand(100_000)], 1, 30_000)
    assert len(shards) > 1
    assert all(s.start % 250 == 0 for s in shards)


def test_without_near_keyframes_cuts_fall_anyway() -> None:
    (shards,) = partition([PredictDemand(1000, (0,), (), lambda: (0,))], 1, 300)
    assert [s.stop - s.start for s in shards] == [250, 250, 250, 250]


@pytest.mark.parametrize("n_gpus", [1, 4, 64])
def test_short_videos_are_not_cut_to_pieces(n_gpus: int) -> None:
    (shards,) = partition([demand(MIN_RANGE)], n_gpus, 50_000)
    assert shards == [Shard((0,), 0, MIN_RANGE)]


def test_what_has_nothing_to_predict_takes_no_gpu() -> None:
    result = partition([PredictDemand(1000, ()), demand(n_models=2)], 2, 50_000)
    assert result[0] == []
    assert [s.models for s in result[1]] == [(0,), (1,)]


def test_only_the_gap_is_predicted() -> None:
    done = ((0, 4000), (6000, 10_000))
    (shards,) = partition([PredictDemand(10_000, (0, 1), (done, done))], 1, 50_000)
    assert shards == [Shard((0, 1), 4000, 6000)]


def test_no_work() -> None:
    assert partition([], 4, 1000) == []
