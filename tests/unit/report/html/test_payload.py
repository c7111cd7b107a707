"""What fits into a page: detail by rank, and traces that read back."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest

from raypose.report.html.outputs import TableFacts, VideoFacts
from raypose.report.html.payload import (
    Detail,
    choose_detail,
    choose_pictures,
    packed,
    traces_of,
)
from tests.reports import NAMES, make_review, make_table


def video(n_frames: int = 2000, **values: Any) -> VideoFacts:
    review = make_review(make_table(n_frames, **values), pictures=True)
    return VideoFacts("v", tables={"m": TableFacts("m", None, review=review)})  # type: ignore[arg-type]


def test_a_few_videos_are_shown_whole() -> None:
    detail = choose_detail([video()] * 3)
    assert detail.factor == 1 and detail.n_videos == 3
    assert traces_of(video(), detail)["keypoints"] == list(NAMES)


def test_detail_shrinks_until_all_fit() -> None:
    videos = [video()] * 10
    sizes = {}
    for budget in (1_000_000, 100_000, 20_000):
        detail = choose_detail(videos, budget)
        size = sum(len(packed(traces_of(v, detail)["tables"]["m"]["traces"])) for v in videos)
        assert detail.n_videos == 10 and size < 1.2 * budget
        sizes[budget] = size
    assert sizes[1_000_000] > sizes[100_000] > sizes[20_000] > 0


def test_where_not_all_fit_the_first_have_traces() -> None:
    assert 0 < choose_detail([video()] * 10, 5_000).n_videos < 10


def test_the_least_likely_keypoint_is_kept() -> None:
    one = video(unlikely=0.0)
    review = one.tables["m"].review
    assert review is not None
    review.facts["quality"]["below_threshold"]["keypoints"]["paw"] = 0.9
    traces = traces_of(one, Detail(1, 1, 1))
    assert traces["keypoints"] == ["paw"] == [traces["worst_keypoint"]]
    assert traces["n_keypoints"] == 3


@pytest.mark.parametrize("factor", [1, 4])
def test_traces_read_back_as_the_table(factor: int) -> None:
    table = make_table(2000, jumps=3)
    one = VideoFacts("v", tables={"m": TableFacts("m", None, review=make_review(table))})  # type: ignore[arg-type]
    packed_traces = packed(traces_of(one, Detail(3, factor, 1)))
    shown = json.loads(gzip.decompress(base64.b64decode(packed_traces)))["tables"]["m"]
    row = shown["traces"]["nose"][shown["rows"].index("x_max")]
    codes = np.frombuffer(base64.b64decode(row["codes"]), "<u2")
    low, high = row["ends"]
    values = low + (codes - 1.0) / 4094 * (high - low)
    times_s = np.frombuffer(base64.b64decode(shown["times_s"]), "<f8")
    assert len(values) == len(times_s) == len(shown["statuses"]) == 512 // factor
    assert times_s[1] == pytest.approx(factor * 4 / 25, abs=0.05)
    assert values.max() == pytest.approx(table.xy[:, 0, 0].max(), abs=(high - low) / 4000)


def test_short_videos_are_not_made_coarser() -> None:
    traces = traces_of(video(n_frames=100), Detail(3, 8, 1))
    assert len(traces["tables"]["m"]["statuses"]) == 100


def test_pictures_go_to_the_first_videos_and_then_to_all() -> None:
    videos = [video(600)] * 25
    assert all(len(chosen["m"]) == 10 for chosen in choose_pictures(videos))
    (review,) = (table.review for table in videos[0].tables.values())
    assert review is not None
    size = sum(map(len, review.stills.values())) * 4 / 3
    numbers = [len(c.get("m", {})) for c in choose_pictures(videos, int(size * 20 + size))]
    assert numbers[:20] == [10] * 20 and sum(numbers[20:]) >= 5 and max(numbers[20:]) <= 3
    worst = review.facts["moments"][0]["frame"]
    assert all(worst in c["m"] for c in choose_pictures(videos, int(size * 21.5))[20:])
