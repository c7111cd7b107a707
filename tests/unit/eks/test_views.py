"""Several views: the same tables as `eks` makes from files, and what it can't do by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raypose.config import EksOptions
from raypose.eks.ensemble import check_smoothed
from raypose.eks.pupil import PUPIL_KEYPOINTS
from raypose.eks.recording import mirrored_views, views_by_suffix
from raypose.errors import SmoothingError
from raypose.specs import ModelSpec
from raypose.tables.keypoints import (
    POINT_COORDS,
    KeypointTable,
    write_csv,
    write_points_csv,
)
from tests.calibrations import FIELDS, calibration_text
from tests.unit.eks.ensembles import (
    NAMES,
    make_views,
    mirrored_members,
    pupil_members,
    smooth_session,
    smooth_views,
    write_views,
)

# eks, jax and aniposelib warn about each other; nothing of it is about raypose.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    "options",
    [
        {"quantile_keep_pca": 80.0, "s_frames": ((10, 150),)},
        {"inflate_vars": True, "smooth_param": 5.0, "avg_mode": "mean"},
    ],
)
def test_cameras_without_a_calibration_are_smoothed_as_eks_does(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    from eks.multicam_smoother import fit_eks_multicam

    members = make_views(tmp_path / "calibration.toml")
    theirs = dict(options)
    if "s_frames" in theirs:
        theirs["s_frames"] = list(theirs["s_frames"])
    frames, params, *_ = fit_eks_multicam(
        write_views(members, tmp_path),
        str(tmp_path / "out"),
        bodypart_list=list(NAMES),
        camera_names=list(members),
        **{"quantile_keep_pca": 95.0, **theirs},
    )
    result = smooth_views(members, EksOptions(**options))
    assert (result.mode, result.points) == ("multicam", None)
    np.testing.assert_allclose(list(result.smooth_params.values()), params, rtol=1e-5)
    for table, frame in zip(result.tables.values(), frames, strict=True):
        expected = frame.to_numpy().reshape(table.values.shape)
        np.testing.assert_allclose(table.values, expected, atol=1e-3, rtol=1e-4)


def test_calibrated_cameras_are_smoothed_as_eks_does(tmp_path: Path) -> None:
    from eks.multicam_smoother import fit_eks_multicam

    calibration = tmp_path / "calibration.toml"
    members = make_views(calibration)
    frames, params, _, _, points = fit_eks_multicam(
        write_views(members, tmp_path),
        str(tmp_path / "out"),
        bodypart_list=list(NAMES),
        calibration=str(calibration),
        quantile_keep_pca=95.0,
        smooth_param=2.0,
    )
    # Views are matched by name, whatever order they come in.
    turned = dict(reversed(members.items()))
    result = smooth_views(turned, EksOptions(smooth_param=2.0), calibration=calibration)
    assert result.mode == "calibrated" and "calibration.toml" in result.reason
    np.testing.assert_allclose(list(result.smooth_params.values()), params, rtol=1e-3)
    for view, frame in zip(members, frames, strict=True):
        table = result.tables[view]
        expected = frame.to_numpy().reshape(table.values.shape)
        np.testing.assert_allclose(table.xy, expected[..., :2], atol=0.01, rtol=0)
        np.testing.assert_allclose(table.values, expected, atol=0.01, rtol=1e-3)
    assert result.points is not None
    np.testing.assert_allclose(
        result.points.values.reshape(200, -1), points.to_numpy(), atol=1e-2, rtol=1e-3
    )
    write_points_csv(result.points, tmp_path / "points.csv")
    written = pd.read_csv(tmp_path / "points.csv", header=[0, 1, 2], index_col=0)
    assert list(written.columns) == list(points.columns)
    assert [c[2] for c in written.columns[:6]] == list(POINT_COORDS)


def test_mirrored_views_are_smoothed_as_eks_does(tmp_path: Path) -> None:
    from eks.multicam_smoother import fit_eks_mirrored_multicam

    separate = make_views(tmp_path / "calibration.toml", views=("top", "bot"))
    members = mirrored_members(separate)
    files = write_views({"all": members}, tmp_path)["all"]
    # The library's own list of body parts breaks on a name with two underscores: give it one.
    frame, params, *_ = fit_eks_mirrored_multicam(
        files,
        str(tmp_path / "out" / "o.csv"),
        bodypart_list=list(NAMES),
        camera_names=["top", "bot"],
        quantile_keep_pca=95.0,
    )
    names = members[0].keypoint_names
    views = views_by_suffix(names, ("top", "bot"))
    assert views == (tuple(f"{n}_top" for n in NAMES), tuple(f"{n}_bot" for n in NAMES))
    result = smooth_session(members, mirrored=views)
    assert result.mode == "mirrored" and result.tables[""].keypoint_names == names
    write_csv(result.tables[""].select(sum(views, ())), tmp_path / "ours.csv")
    ours = pd.read_csv(tmp_path / "ours.csv", header=[0, 1, 2], index_col=0)
    assert list(ours.columns) == list(frame.columns)
    np.testing.assert_allclose(ours.to_numpy(), frame.to_numpy(), atol=1e-3, rtol=1e-4)
    chosen = [result.smooth_params[f"{name}_bot"] for name in NAMES]
    np.testing.assert_allclose(chosen, params, rtol=1e-5)
    # A keypoint of no view is there too, smoothed by itself.
    alone = smooth_session([member.select(("lick",)) for member in members])
    np.testing.assert_array_equal(
        result.tables[""].select(("lick",)).values, alone.tables[""].values
    )


@pytest.mark.parametrize("calibrated", [False, True])
def test_frames_that_nobody_saw_do_not_spoil_the_rest(tmp_path: Path, calibrated: bool) -> None:
    """`eks` gives NaN for, or fails on, a keypoint that is missing in one frame."""
    calibration = tmp_path / "calibration.toml"
    members = make_views(calibration)
    options = EksOptions(smooth_param=2.0)
    path = calibration if calibrated else None
    whole = smooth_views(members, options, calibration=path)
    for tables in members.values():
        for table in tables:
            table.values[90:93, :, :2] = np.nan
            table.values[90:93, :, 2] = 0.0
    members["left"][0].values[20, 1, :2] = np.nan
    result = smooth_views(members, options, calibration=path)
    for view, table in result.tables.items():
        assert np.isfinite(table.xy).all()
        assert np.isnan(table.values[90:93, :, 3:5]).all()
        assert (table.likelihood[90:93] == 0).all()
        kept = np.r_[0:15, 30:80, 105:200]
        assert np.abs(table.xy - whole.tables[view].xy)[kept].max() < 0.5
        assert np.abs(table.xy - whole.tables[view].xy).max() < 8


def test_positions_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    """Nothing is written that is empty beside a likelihood that looks fine."""
    members = make_views(tmp_path / "calibration.toml")
    members["left"][1].values[50, 1, 0] = np.inf
    for smooth in (
        lambda: smooth_views(members, EksOptions(smooth_param=2.0)),
        lambda: smooth_session(members["left"], EksOptions(smooth_param=2.0)),
    ):
        with pytest.raises(SmoothingError, match="member 2 has an infinite value of paw in frame"):
            smooth()
    values = np.zeros((9, 2, 6), dtype=np.float32)
    check_smoothed(values, ("nose", "paw"))
    values[4:6, 1, 2] = np.nan
    with pytest.raises(SmoothingError, match="of paw in 3-D for 2 frames, first for frame 4"):
        check_smoothed(values, ("nose", "paw"), " in 3-D")


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ({"matrix": "[[1.0, 2.0], [3.0, 4.0]]"}, "cam_2.matrix of camera 'top' is"),
        ({"matrix": FIELDS["matrix"].replace("100.0", "nan")}, "cam_2.matrix of camera 'top' is"),
        ({"distortions": str([0.0] * 99)}, "4, 5, 8, 12 or 14 finite coefficients"),
    ],
)
def test_a_calibration_is_checked_when_it_is_used(
    tmp_path: Path, last: dict[str, str], says: str
) -> None:
    """It may have changed since the run was planned."""
    calibration = tmp_path / "calibration.toml"
    members = make_views(calibration)
    calibration.write_text(calibration_text(tuple(members), **last))
    with pytest.raises(SmoothingError, match=says) as caught:
        smooth_views(members, EksOptions(smooth_param=2.0), calibration=calibration)
    assert str(caught.value).startswith(str(calibration))


def test_a_pupil_is_smoothed_as_eks_does_under_the_right_names(tmp_path: Path) -> None:
    from eks.ibl_pupil_smoother import fit_eks_pupil

    members = pupil_members()
    files = write_views({"eye": members}, tmp_path)["eye"]
    frame, params, *_ = fit_eks_pupil(files, str(tmp_path / "out" / "o.csv"), s_frames=[(0, 50)])
    options = EksOptions(s_frames=((0, 50),))
    result = smooth_session(members, options)
    assert result.mode == "pupil"
    ours = [result.smooth_params[name] for name in ("diameter", "center_of_mass")]
    np.testing.assert_allclose(ours, params, rtol=1e-3)
    theirs = frame.to_numpy().reshape(120, 4, 9)
    table = result.tables[""].select(PUPIL_KEYPOINTS)
    # The library has the right edge under the bottom one's name, and the other way round.
    order = [0, 2, 1, 3]
    np.testing.assert_allclose(table.xy[:, order], theirs[..., :2], atol=0.02, rtol=0)
    medians = np.median([member.xy[:, :4] for member in members], axis=0)
    assert np.abs(table.xy - medians).max() < 5
    assert np.abs(theirs[:, 1, :2] - medians[:, 2]).max() < 5  # "bottom" is the right edge
    assert np.abs(theirs[:, 1, :2] - medians[:, 1]).min() > 15
    alone = smooth_session([member.select(("lick",)) for member in members], options)
    np.testing.assert_array_equal(
        result.tables[""].select(("lick",)).values, alone.tables[""].values
    )

    for member in members:
        member.values[50:55, :4, :2] = np.nan
    given = smooth_session(
        members, EksOptions(mode="pupil", smooth_param={"diameter": 0.99, "center_of_mass": 0.98})
    )
    assert np.isfinite(given.tables[""].xy).all()
    assert given.tables[""].values[52, 0, 7] > given.tables[""].values[20, 0, 7]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.toml"
    members = make_views(calibration)
    cases: list[tuple[str, dict[str, Any], dict[str, list[KeypointTable]]]] = [
        ("is for several views", {"mode": "multicam"}, {"left": members["left"]}),
        (
            r"different lengths left: 200, .*right: 100",
            {},
            {**members, "right": [t.slice(0, 100) for t in members["right"]]},
        ),
        ("n_latent must be 3 to 6", {"n_latent": 7}, members),
        ("for one video", {"mode": "mirrored"}, members),
        ("no calibration", {"mode": "calibrated"}, members),
        ("blocks", {"blocks": (("nose", "paw"),)}, members),
        ("missing: tail_base", {"smooth_param": {"nose": 1.0, "paw": 2.0}}, members),
    ]
    for says, options, views in cases:
        with pytest.raises(SmoothingError, match=says):
            smooth_views(views, EksOptions(**options))
    blind = {
        **members,
        "right": [dataclasses.replace(t, values=t.values.copy()) for t in members["right"]],
    }
    for table in blind["right"]:
        table.values[:, 1] = np.nan
    with pytest.raises(SmoothingError, match="paw is never seen in view right"):
        smooth_views(blind)
    with pytest.raises(SmoothingError, match="no camera topview"):
        smooth_views({"left": members["left"], "topview": members["top"]}, calibration=calibration)
    (tmp_path / "broken.toml").write_text("[cam\n")
    with pytest.raises(SmoothingError, match="can't be read"):
        smooth_views(members, calibration=tmp_path / "broken.toml")
    for mode, says in [("multicam", "several views"), ("mirrored", "not known")]:
        with pytest.raises(SmoothingError, match=says):
            smooth_session(members["left"], EksOptions(mode=mode))
    with pytest.raises(SmoothingError, match="needs the keypoints pupil_top_r"):
        smooth_session(members["left"], EksOptions(mode="pupil"))
    with pytest.raises(SmoothingError, match="each named once"):
        smooth_session(members["left"], mirrored=(("nose",), ("paw", "tail_base")))
    with pytest.raises(SmoothingError, match="suffixes"):
        views_by_suffix(NAMES, ("top", "bot"))


def test_views_can_be_smoothed_one_by_one(tmp_path: Path) -> None:
    members = make_views(tmp_path / "calibration.toml")
    result = smooth_views(members, EksOptions(mode="singlecam"))
    np.testing.assert_array_equal(
        result.tables["top"].values, smooth_session(members["top"]).tables[""].values
    )
    assert "nose (top)" in result.smooth_params


def test_mirrored_views_come_from_the_config() -> None:
    spec = ModelSpec(
        "m", "", "", "", "", "heatmap", "", ("a", "b", "c", "d", "e"), 64, 64,
        config={"data": {"mirrored_column_matches": [[0, 1], [3, 2]]}},
    )  # fmt: skip
    assert mirrored_views(spec) == (("a", "b"), ("d", "c"))
    assert mirrored_views(dataclasses.replace(spec, config={})) == ()
    flat = dataclasses.replace(spec, config={"data": {"mirrored_column_matches": [0, 1]}})
    assert mirrored_views(flat) == ()


@pytest.mark.parametrize(("percentage", "n_kept"), [(0.001, 1), (1, 2), (1.4, 3)])
def test_too_few_frames_for_the_subspace_are_named(
    tmp_path: Path, percentage: float, n_kept: int
) -> None:
    views = make_views(tmp_path / "calibration.toml", n_frames=200)
    with pytest.raises(SmoothingError) as caught:
        smooth_views(views, EksOptions(quantile_keep_pca=percentage))
    said = f"--quantile-keep-pca {percentage:g} keeps {n_kept} of 200 frames, too few"
    assert said in caught.value.message
    smooth_views(views, EksOptions(quantile_keep_pca=25))
