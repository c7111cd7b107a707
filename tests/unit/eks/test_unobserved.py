"""Frames without a picture are unobserved in every mode: they change no other frame's result.

A corrupt or missing frame has no position and likelihood 0 in the members' tables.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raypose.config import EksOptions
from raypose.tables.keypoints import KeypointTable
from tests.unit.eks.ensembles import (
    NAMES,
    make_members,
    make_views,
    mirrored_members,
    pupil_members,
    smooth_session,
    smooth_views,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

GAP = slice(60, 70)


def without(table: KeypointTable, rows: slice = GAP) -> KeypointTable:
    """The table as it is where frames have no picture."""
    values = table.values.copy()
    values[rows] = (np.nan, np.nan, 0.0)
    return replace(table, values=values)


def with_garbage(table: KeypointTable, rows: slice = GAP) -> KeypointTable:
    """What would be predicted from broken pictures: anything, and with confidence."""
    values = table.values.copy()
    values[rows, :, :2] = 9_000.0
    values[rows, :, 2] = 0.99
    return replace(table, values=values)


def away_from_gap(n_frames: int) -> np.ndarray:
    away = np.ones(n_frames, bool)
    away[GAP.start - 3 : GAP.stop + 3] = False
    return away


OPTIONS = {"smooth_param": 2.0}


class TestOneVideo:
    def test_of_all_members(self) -> None:
        members = make_members(150)
        whole = smooth_session(members, EksOptions(mode="singlecam", **OPTIONS)).tables[""]
        smoothed = smooth_session(
            [without(member) for member in members], EksOptions(mode="singlecam", **OPTIONS)
        ).tables[""]
        assert np.isfinite(smoothed.xy).all()
        assert (smoothed.likelihood[GAP] == 0).all()
        away = away_from_gap(150)
        assert np.abs(smoothed.xy[away] - whole.xy[away]).max() < 5
        # From frame to frame the keypoints go as far as a walk does, and no further.
        assert np.abs(smoothed.xy[GAP] - whole.xy[GAP]).max() < 60
        posterior = smoothed.values[..., 7:9]
        assert (posterior[65] > 2 * np.median(posterior, axis=0)).all(), "it is less sure there"

    def test_of_one_member_the_others_are_taken(self) -> None:
        members = make_members(150)
        options = EksOptions(mode="singlecam", avg_mode="mean", var_mode="var", **OPTIONS)
        two = smooth_session(members[1:], options).tables[""]
        gapped = smooth_session([without(members[0]), *members[1:]], options).tables[""]
        np.testing.assert_allclose(gapped.values[65, :, 3:5], two.values[65, :, 3:5], atol=1e-3)
        assert np.isfinite(gapped.xy).all()

    def test_the_parameter_is_chosen_from_what_is_seen(self) -> None:
        members = make_members(150)
        chosen = smooth_session(members, EksOptions(mode="singlecam")).smooth_params
        gapped = smooth_session([without(m) for m in members], EksOptions(mode="singlecam"))
        garbage = smooth_session([with_garbage(m) for m in members], EksOptions(mode="singlecam"))
        for name, param in chosen.items():
            assert 0.3 < gapped.smooth_params[name] / param < 3
            assert garbage.smooth_params[name] / param > 10, "garbage would have shown"


@pytest.mark.parametrize("mode", ["multicam", "calibrated"])
@pytest.mark.parametrize("views", [("left",), ("left", "right", "top")])
def test_of_one_view_or_all(mode: str, views: tuple[str, ...], tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.toml"
    members = make_views(calibration, n_frames=150)
    options = EksOptions(mode=mode, **OPTIONS)
    path = calibration if mode == "calibrated" else None
    whole = smooth_views(members, options, calibration=path).tables
    gapped = {
        view: [without(table) for table in tables] if view in views else tables
        for view, tables in members.items()
    }
    smoothed = smooth_views(gapped, options, calibration=path).tables
    away = away_from_gap(150)
    for view, table in smoothed.items():
        assert np.isfinite(table.xy).all(), view
        assert np.abs(table.xy[away] - whole[view].xy[away]).max() < 5, view
        assert np.abs(table.xy[GAP] - whole[view].xy[GAP]).max() < 60, view
    for view in views:
        assert (smoothed[view].likelihood[GAP] == 0).all()


def check(whole: KeypointTable, smoothed: KeypointTable) -> None:
    away = away_from_gap(whole.n_frames)
    assert np.isfinite(smoothed.xy).all()
    assert np.abs(smoothed.xy[away] - whole.xy[away]).max() < 5
    assert np.abs(smoothed.xy[GAP] - whole.xy[GAP]).max() < 60
    assert (smoothed.likelihood[GAP] == 0).all()


def test_mirrored_views(tmp_path: Path) -> None:
    views = ("left", "right")
    members = mirrored_members(make_views(tmp_path / "calibration.toml", views))
    mirrored = [[f"{name}_{view}" for name in NAMES] for view in views]
    options = EksOptions(mode="mirrored", **OPTIONS)
    whole = smooth_session(members, options, mirrored=mirrored).tables[""]
    gapped = [without(member) for member in members]
    check(whole, smooth_session(gapped, options, mirrored=mirrored).tables[""])


def test_pupil() -> None:
    members = pupil_members()
    options = EksOptions(mode="pupil", smooth_param={"diameter": 0.9, "center_of_mass": 0.9})
    whole = smooth_session(members, options).tables[""]
    check(whole, smooth_session([without(member) for member in members], options).tables[""])
