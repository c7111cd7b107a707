"""How much a video needs a look, by the formula that docs/report.md tells users."""

from __future__ import annotations

from typing import Any

import pytest

from raypose.report.ranking import FAILED, WEIGHTS, Numbers, Spread, rank, score


def numbers(**values: Any) -> Numbers:
    """The numbers of a table; of distances the 99th percentile, whose median is half of it."""
    usual = {"damage": 0.0, "unlikely": 0.0, "temporal_norm": 4.0, "pca_singleview": 2.0}
    given = {**usual, **values}
    for name in {"temporal_norm", "pca_singleview", "disagreement"} & set(given):
        if isinstance(given[name], float):
            given[name] = Spread(given[name] / 2, given[name])
    return Numbers(n_frames=100, **given)


def scores(*videos: dict[str, Numbers]) -> list[float]:
    return [score(parts) for parts in rank(videos)]


def test_points_add_up_to_a_hundred() -> None:
    assert sum(WEIGHTS.values()) == 100


def test_what_is_usual_and_whole_has_no_points() -> None:
    assert scores(*[{"m": numbers()}] * 3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ({"damage": 0.02}, 15),
        ({"damage": 1.0}, 30 / 1.02),
        ({"unlikely": 0.2}, 12.5),
        ({"temporal_norm": 8.0}, 7.5),
        ({"temporal_norm": 400.0}, 15 * 0.99),
        ({"temporal_norm": 1.0}, 0),
        ({"pca_singleview": 4.0}, 7.5),
        ({"pca_singleview": Spread(4.0, 2.0)}, 11.25),
    ],
)
def test_points_of_each_part(values: dict[str, float], points: float) -> None:
    usual = {"m": numbers()}
    assert scores({"m": numbers(**values)}, usual, usual, usual)[0] == pytest.approx(points)


def test_disagreement_counts_relative_to_the_other_videos() -> None:
    videos = [{"eks": numbers(disagreement=d)} for d in (3.0, 3.0, 9.0)]
    assert scores(*videos) == pytest.approx([0, 0, 10])


def test_a_video_counts_as_its_worst_model_and_says_which() -> None:
    (parts,) = rank([{"a": numbers(unlikely=0.1), "b": numbers(unlikely=0.6)}])
    assert parts["likelihood"].owner == "b" and parts["likelihood"].value == 0.6


def test_models_are_compared_with_themselves() -> None:
    """A model that is always less steady than the other makes no video stand out."""
    videos = [{"a": numbers(temporal_norm=2.0), "b": numbers(temporal_norm=20.0)}] * 3
    assert scores(*videos) == [0, 0, 0]


def test_three_bad_videos_of_twelve_come_first() -> None:
    good = [
        {"m": numbers(unlikely=0.1 + i / 200, temporal_norm=4 + i / 10), "eks": numbers()}
        for i in range(9)
    ]
    bad = {
        "damaged": {"m": numbers(unlikely=0.1, damage=0.12)},
        "another animal": {"m": numbers(unlikely=0.8, pca_singleview=9.0)},
        "out of focus": {"m": numbers(unlikely=0.5, temporal_norm=15.0)},
    }
    found = scores(*good, *bad.values())
    assert min(found[9:]) > max(found[:9]) + 10


def test_a_video_without_predictions_comes_first() -> None:
    assert scores({}, {"m": numbers(unlikely=1.0, damage=1.0)})[0] == FAILED


def test_parts_that_are_not_known_are_none_and_give_nothing() -> None:
    (parts,) = rank([{"m": Numbers(n_frames=5)}])
    assert score(parts) == 0 and all(part.value is None for part in parts.values())


def test_numbers_of_a_quality_file() -> None:
    read = Numbers.of(
        {
            "n_frames": 10,
            "frames": {"ok": 6, "suspect": 2, "missing": 2},
            "below_threshold": {"share": 0.25},
            "temporal_norm": {"median": 2.0, "p99": 7.0},
            "pca_multiview_error": {"median": None, "p99": None},
            "ensemble_variance": {"median": 4.0, "p99": 16.0},
        }
    )
    assert read.damage == 0.3 and read.not_ok == {"suspect": 2, "missing": 2}
    assert (read.unlikely, read.temporal_norm, read.pca_multiview) == (0.25, (2, 7), None)
    assert read.disagreement == (2, 4)


@pytest.mark.parametrize(
    "quality",
    [
        {},
        {"frames": []},
        {"below_threshold": 3},
        {"temporal_norm": {"p99": "x"}},
        {"frames": {"ok": -1}},
    ],
)
def test_a_file_that_is_not_as_it_should_be_tells_nothing(quality: dict[str, Any]) -> None:
    assert Numbers.of(quality) == Numbers()
