"""Who predicts what: what holds for any work, and the choice in the cases that matter."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypose.planning.partition import MIN_RANGE, Share, Work, arrange

patient = settings(deadline=None)  # a busy machine is no failure


def gaps(n_frames: int, done: tuple[tuple[int, int], ...]) -> set[int]:
    return set(range(n_frames)) - {i for start, stop in done for i in range(start, stop)}


@st.composite
def done_ranges(draw: st.DrawFn, n_frames: int) -> tuple[tuple[int, int], ...]:
    bounds = draw(st.lists(st.integers(0, n_frames), max_size=6, unique=True))
    bounds = sorted(bounds)
    return tuple(zip(bounds[::2], bounds[1::2], strict=False))


@st.composite
def works(draw: st.DrawFn, *, alike: bool = True) -> Work:
    n_frames = draw(st.integers(1, 3000))
    models = tuple(draw(st.lists(st.integers(0, 6), max_size=5, unique=True).map(sorted)))
    if alike:
        done = (draw(done_ranges(n_frames)),) * len(models)
    else:
        done = tuple(draw(done_ranges(n_frames)) for _ in models)
    gop = draw(st.sampled_from([0, 1, 12, 250, 5000]))
    keyframes = tuple(range(0, n_frames, gop)) if gop else ()
    return Work(n_frames, models, done if draw(st.booleans()) else (), lambda: keyframes)


@patient
@given(st.lists(works(), max_size=5), st.integers(1, 12), st.integers(1, 2000))
def test_every_frame_once_for_every_model(work: list[Work], n_gpus: int, chunk: int) -> None:
    result = arrange(work, n_gpus, chunk)
    assert len(result) == len(work)
    for w, shares in zip(work, result, strict=True):
        counts = Counter(
            (model, i) for s in shares for model in s.models for i in range(s.start, s.stop)
        )
        left = gaps(w.n_frames, w.done[0] if w.done else ())
        assert counts == Counter((model, i) for model in w.models for i in left)


@patient
@given(st.lists(works(alike=False), max_size=3), st.integers(1, 8), st.integers(1, 2000))
def test_nothing_is_left_out_where_finished_ranges_differ(
    work: list[Work], n_gpus: int, chunk: int
) -> None:
    for w, shares in zip(work, arrange(work, n_gpus, chunk), strict=True):
        for k, model in enumerate(w.models):
            covered = [i for s in shares if model in s.models for i in range(s.start, s.stop)]
            assert len(covered) == len(set(covered))
            assert set(covered) >= gaps(w.n_frames, w.done[k] if w.done else ())


@patient
@given(st.lists(works(alike=False), max_size=4), st.integers(1, 12), st.integers(1, 2000))
def test_shares_are_in_order_and_no_longer_than_a_chunk(
    work: list[Work], n_gpus: int, chunk: int
) -> None:
    for w, shares in zip(work, arrange(work, n_gpus, chunk), strict=True):
        assert shares == sorted(shares, key=lambda s: (s.start, s.models))
        assert all(0 <= s.start < s.stop <= w.n_frames for s in shares)
        assert all(s.stop - s.start <= chunk for s in shares)
        assert all(s.models and set(s.models) <= set(w.models) for s in shares)


@patient
@given(st.lists(works(alike=False), max_size=4), st.integers(1, 12), st.integers(1, 2000))
def test_is_deterministic(work: list[Work], n_gpus: int, chunk: int) -> None:
    assert arrange(work, n_gpus, chunk) == arrange(list(work), n_gpus, chunk)


@patient
@given(st.lists(works(), min_size=1, max_size=6), st.integers(1, 2000))
def test_one_gpu_shares_one_decode(work: list[Work], chunk: int) -> None:
    for w, shares in zip(work, arrange(work, 1, chunk), strict=True):
        assert {s.models for s in shares} <= {w.models}


def session(n_frames: int = 10_000, n_models: int = 1, gop: int = 250) -> Work:
    keyframes = tuple(range(0, n_frames, gop))
    return Work(n_frames, tuple(range(n_models)), (), lambda: keyframes)


def test_as_many_sessions_as_gpus_share() -> None:
    result = arrange([session(n_models=3)] * 4, 4, 50_000)
    assert result == [[Share((0, 1, 2), 0, 10_000)]] * 4


def test_fewer_sessions_than_gpus_spread_members() -> None:
    (shares,) = arrange([session(n_models=3)], 3, 50_000)
    assert [s.models for s in shares] == [(0,), (1,), (2,)]
    assert all((s.start, s.stop) == (0, 10_000) for s in shares)


def test_members_spread_evenly() -> None:
    (shares,) = arrange([session(n_models=5)], 2, 50_000)
    assert sorted(len(s.models) for s in shares) == [2, 3]


def test_fewer_pairs_than_gpus_split_the_video() -> None:
    (shares,) = arrange([session()], 8, 50_000)
    assert len(shares) == 8
    lengths = [s.stop - s.start for s in shares]
    assert max(lengths) <= 1.5 * min(lengths)


def test_cuts_fall_on_keyframes() -> None:
    (shares,) = arrange([session(100_000)], 1, 30_000)
    assert len(shares) > 1
    assert all(s.start % 250 == 0 for s in shares)


def test_without_near_keyframes_cuts_fall_anyway() -> None:
    (shares,) = arrange([Work(1000, (0,), (), lambda: (0,))], 1, 300)
    assert [s.stop - s.start for s in shares] == [250, 250, 250, 250]


@pytest.mark.parametrize("n_gpus", [1, 4, 64])
def test_short_videos_are_not_cut_to_pieces(n_gpus: int) -> None:
    (shares,) = arrange([session(MIN_RANGE)], n_gpus, 50_000)
    assert shares == [Share((0,), 0, MIN_RANGE)]


def test_what_has_nothing_to_predict_takes_no_gpu() -> None:
    result = arrange([Work(1000, ()), session(n_models=2)], 2, 50_000)
    assert result[0] == []
    assert [s.models for s in result[1]] == [(0,), (1,)]


def test_only_the_gap_is_predicted() -> None:
    done = ((0, 4000), (6000, 10_000))
    (shares,) = arrange([Work(10_000, (0, 1), (done, done))], 1, 50_000)
    assert shares == [Share((0, 1), 4000, 6000)]


def test_no_work() -> None:
    assert arrange([], 4, 1000) == []
