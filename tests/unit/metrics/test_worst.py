"""How bad frames look, and which moments are the worst."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raypose.metrics.worst import (
    DISAGREEMENT,
    LOW_LIKELIHOOD,
    animal_size,
    score_frames,
    worst_moments,
)
from raypose.tables.keypoints import COORDS, EKS_COORDS, KeypointTable
from tests.frames import make_frames

NAMES = ("nose", "paw", "tail", "ear")
# The corners of a square: each is sqrt(2) × 10 px from the middle.
SQUARE = np.array([[0, 0], [20, 0], [0, 20], [20, 20]], np.float32)


def make_table(n: int = 6, coords: tuple[str, ...] = COORDS, **more: Any) -> KeypointTable:
    """A square that does not move, with likelihoods of 1."""
    values = np.zeros((n, 4, len(coords)), np.float32)
    values[..., :2] = SQUARE
    values[..., 2] = 1
    return KeypointTable("m_tracker", NAMES, coords, values, **more)


def test_a_good_table_has_scores_of_zero() -> None:
    scores = score_frames(make_table(), {"temporal_norm": np.zeros((6, 4))}, 0.9)
    assert set(scores.parts) == {LOW_LIKELIHOOD, "temporal_norm"}
    assert np.array_equal(scores.total, np.zeros(6))
    assert scores.main_part(3) == ""


def test_the_size_of_the_animal_is_the_distance_from_its_middle() -> None:
    table = make_table()
    assert animal_size(table, 0.9) == pytest.approx(np.sqrt(200))
    table.values[2, 0] = (5000, 5000, 0.1)  # not confident
    assert animal_size(table, 0.9) == pytest.approx(np.sqrt(200), rel=0.1)


def test_the_size_where_there_is_one_keypoint_or_none() -> None:
    values = np.zeros((5, 1, 3), np.float32)
    values[:, 0, 0] = (0, 10, 20, 30, 40)
    values[..., 2] = 1
    assert animal_size(KeypointTable("m", ("paw",), COORDS, values), 0.9) == 10
    values[..., :2] = np.nan
    assert animal_size(KeypointTable("m", ("paw",), COORDS, values), 0.9) == 1


def test_half_of_the_most_at_a_quarter_of_the_size() -> None:
    norm = np.zeros((6, 4), np.float32)
    norm[2] = 10
    scores = score_frames(make_table(), {"temporal_norm": norm}, 0.9, size_px=40)
    assert scores.parts["temporal_norm"][2] == pytest.approx(0.5)
    assert scores.total[2] == pytest.approx(0.25)  # the likelihoods are fine
    assert scores.main_part(2) == "temporal_norm"


def test_the_main_part_is_the_one_that_is_unusual() -> None:
    error, norm = np.full((6, 4), 30.0), np.zeros((6, 4))
    norm[2] = 10
    metrics = {"pca_singleview_error": error, "temporal_norm": norm}
    scores = score_frames(make_table(), metrics, 0.9, size_px=40)
    assert scores.parts["pca_singleview_error"][2] > scores.parts["temporal_norm"][2]
    assert scores.main_part(2) == "temporal_norm"
    assert scores.main_part(3) == ""


def test_likelihoods_count_from_the_threshold_down() -> None:
    table = make_table()
    table.values[1, :, 2] = 0.45
    table.values[2, :, 2] = 0.9
    table.values[3, :2, 2] = 0
    table.values[4, :, 2] = np.nan
    part = score_frames(table, {}, 0.9).parts[LOW_LIKELIHOOD]
    assert part == pytest.approx([0, 0.5, 0, 0.5, 1, 0])


def test_the_members_disagree() -> None:
    table = make_table(coords=EKS_COORDS)
    table.values[4, :, EKS_COORDS.index("x_ens_var")] = 36
    table.values[4, :, EKS_COORDS.index("y_ens_var")] = 64  # a deviation of 10 px
    scores = score_frames(table, {}, 0.9, size_px=40)
    assert scores.parts[DISAGREEMENT] == pytest.approx([0, 0, 0, 0, 0.5, 0])
    assert DISAGREEMENT not in score_frames(make_table(), {}, 0.9).parts


def test_a_keypoint_without_a_value_does_not_count() -> None:
    error = np.full((6, 4), np.nan, np.float32)
    error[:, 1] = 10
    error[0] = np.nan  # as the temporal norm of the first frame
    scores = score_frames(make_table(), {"pca_singleview_error": error}, 0.9, size_px=40)
    assert scores.parts["pca_singleview_error"][1:] == pytest.approx([0.5] * 5)
    assert scores.total == pytest.approx([0, *[0.25] * 5])


def test_one_keypoint_far_away_is_less_than_a_pose_that_is_all_wrong() -> None:
    norm = np.zeros((6, 4), np.float32)
    norm[1, 0] = 1e6
    norm[3] = 40
    total = score_frames(make_table(), {"temporal_norm": norm}, 0.9, size_px=40).total
    assert 0 < total[1] < total[3]
    norm[1, 0] = np.inf
    assert score_frames(make_table(), {"temporal_norm": norm}, 0.9).total[1] > 0


def test_frames_that_are_not_ok_have_no_score() -> None:
    table = make_table(frames=make_frames(6, suspect=[1], corrupt=[2], missing=[4]))
    scores = score_frames(table, {}, 0.9)
    assert np.isnan(scores.total).tolist() == [False, True, True, False, True, False]


def test_metrics_of_other_keypoints_are_refused() -> None:
    with pytest.raises(ValueError, match=r"temporal_norm is not of shape \(6, 4\)"):
        score_frames(make_table(), {"temporal_norm": np.zeros((6, 3))}, 0.9)


def test_scores_of_videos_of_different_resolutions_are_the_same() -> None:
    norm = np.full((6, 4), 5.0)
    small, large = make_table(), make_table()
    large.values[..., :2] *= 3
    expected = score_frames(small, {"temporal_norm": norm}, 0.9).total
    assert score_frames(large, {"temporal_norm": 3 * norm}, 0.9).total == pytest.approx(expected)


def test_worst_moments_are_apart_and_in_order() -> None:
    score = np.array([0.1, 0.9, 0.8, 0.2, 0.5, 0.3, 0.7])
    assert worst_moments(score, 3, 2).tolist() == [1, 6, 4]
    assert worst_moments(score, 2, 1).tolist() == [1, 2]
    assert worst_moments(score, 9, 3).tolist() == [1, 6]


def test_equal_scores_and_frames_without_one() -> None:
    score = np.array([0.5, np.nan, 0.5, 0, 0.5])
    assert worst_moments(score, 9, 1).tolist() == [0, 2, 4]
    assert worst_moments(np.array([np.nan, 0.0]), 3, 1).tolist() == []
    assert worst_moments(np.array([]), 3, 1).tolist() == []
