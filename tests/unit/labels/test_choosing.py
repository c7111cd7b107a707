"""Which of many bad frames are chosen."""

from __future__ import annotations

from collections import Counter

import numpy as np

from raypose.labels.choosing import Candidate, choose

NAMES = ("nose", "paw")


def candidate(video: str, frame: int, score: float, place: float) -> Candidate:
    """One whose pose lies at `place` in the picture."""
    xy = np.array([[place, 0], [place, 10]], np.float32)
    return Candidate(video, frame, score, "disagreement", NAMES, xy, 10.0)


def test_the_worst_of_each_pose_comes_first() -> None:
    near = [candidate("a", i, 0.9 - i / 100, 100 + 3 * i) for i in range(4)]
    far = [candidate("a", 10, 0.2, 500), candidate("a", 11, 0.1, 900)]
    chosen = choose([*near, *far], 3)
    assert [c.frame for c in chosen[:3]] == [0, 10, 11]
    assert len(chosen) == 6


def test_frames_of_a_video_with_the_same_pose_are_chosen_once() -> None:
    same = [candidate("a", i, 0.5 + i / 100, 100.0) for i in range(5)]
    other = candidate("b", 0, 0.1, 100.0)
    assert [(c.video, c.frame) for c in choose([*same, other], 6)] == [("a", 4), ("b", 0)]


def test_no_video_takes_all() -> None:
    bad = [candidate("bad", i, 0.9, 20.0 * i) for i in range(40)]
    good = [candidate(f"v{v}", i, 0.3, 20.0 * i) for v in range(3) for i in range(10)]
    chosen = choose([*bad, *good], 20)[:20]
    assert Counter(c.video for c in chosen)["bad"] == 10  # twice its share


def test_a_single_video_takes_all() -> None:
    assert len(choose([candidate("a", i, 0.9, 20.0 * i) for i in range(30)], 10)) == 30


def test_poses_with_gaps() -> None:
    full = [candidate("a", i, 0.5, 50.0 * i) for i in range(4)]
    empty = candidate("a", 9, 0.9, 0.0)
    empty.xy[:] = np.nan
    assert {c.frame for c in choose([*full, empty], 5)} == {0, 1, 2, 3, 9}


def test_the_order_does_not_depend_on_the_order_of_the_candidates() -> None:
    random = np.random.default_rng(0)
    given = [
        candidate(f"v{i % 3}", i, float(random.random()), float(random.uniform(0, 500)))
        for i in range(60)
    ]
    backwards = choose(given[::-1], 12)
    assert [c.frame for c in choose(given, 12)] == [c.frame for c in backwards]


def test_nothing_to_choose_from() -> None:
    assert choose([], 5) == []
