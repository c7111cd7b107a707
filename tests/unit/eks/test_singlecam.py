"""One camera: against dense linear algebra, and against `eks` itself."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.config import EksOptions
from raypose.eks.parameter import CoordinateLikelihood
from raypose.eks.singlecam import smooth_walk
from raypose.errors import CancelledError, SmoothingError
from raypose.tables.keypoints import EKS_COORDS, EKS_SCORER, KeypointTable, read_csv
from tests.unit.eks.ensembles import NAMES, make_members, smooth_session


def eks_answer(members: list[KeypointTable], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Table of shape (n_frames, n_keypoints, 9) and parameters, by the library."""
    from eks.marker_array import MarkerArray
    from eks.singlecam_smoother import ensemble_kalman_smoother_singlecam

    data = np.stack([member.values.astype(np.float64) for member in members])[:, None]
    frame, params = ensemble_kalman_smoother_singlecam(
        MarkerArray(data, data_fields=["x", "y", "likelihood"]),
        list(members[0].keypoint_names),
        **options,
    )
    return frame.to_numpy().reshape(members[0].n_frames, -1, 9), np.asarray(params)


def random_walk_covariance(n: int, s: float, prior: float) -> np.ndarray:
    steps = np.minimum(np.arange(n)[:, None], np.arange(n))
    return prior + s * steps


@pytest.mark.parametrize("n", [1, 2, 3, 60])
def test_a_walk_is_smoothed_as_dense_regression_does(n: int) -> None:
    rng = np.random.default_rng(n)
    y = rng.normal(50, 10, n)
    noise = rng.gamma(1.0, 5.0, n)
    s = 0.7
    covariance = random_walk_covariance(n, s, max(y.var(), 1e-9))
    gain = covariance @ np.linalg.inv(covariance + np.diag(noise))
    mean, variance = smooth_walk(y, noise, s)
    np.testing.assert_allclose(mean, y.mean() + gain @ (y - y.mean()), rtol=1e-9)
    np.testing.assert_allclose(variance, np.diag(covariance - gain @ covariance), rtol=1e-6)


def test_a_gap_is_bridged_and_its_variance_grows() -> None:
    rng = np.random.default_rng(3)
    y = np.cumsum(rng.normal(0, 1, 80))
    noise = np.full(80, 0.5)
    y[30:50] = np.nan
    seen = ~np.isnan(y)
    covariance = random_walk_covariance(80, 1.0, float(y[seen].var()))
    across = covariance[:, seen]
    gain = across @ np.linalg.inv(covariance[np.ix_(seen, seen)] + np.diag(noise[seen]))
    mean, variance = smooth_walk(y, noise, 1.0)
    level = y[seen].mean()
    np.testing.assert_allclose(mean, level + gain @ (y[seen] - level), rtol=1e-8)
    np.testing.assert_allclose(variance, np.diag(covariance - gain @ across.T), rtol=1e-6)
    assert variance[40] > 4 * variance[10]
    assert np.isnan(smooth_walk(np.full(5, np.nan), np.ones(5), 1.0)[0]).all()


@pytest.mark.parametrize("log_s", [-7.9, -2.0, 0.3, 4.0, 7.9])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_the_likelihood_is_that_of_the_normal_distribution(n: int, log_s: float) -> None:
    y = np.random.default_rng(n).normal(0, 5, n)
    likelihood = CoordinateLikelihood(y, noise=2.5, prior=30.0)
    covariance = random_walk_covariance(n, np.exp(log_s), 30.0) + 2.5 * np.eye(n)
    quadratic = y @ np.linalg.solve(covariance, y)
    expected = (n * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + quadratic) / 2
    value, slope = likelihood(log_s)
    assert value == pytest.approx(expected, rel=1e-9)
    step = 1e-5
    numeric = (likelihood(log_s + step)[0] - likelihood(log_s - step)[0]) / (2 * step)
    assert slope == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("n_members", "options", "theirs"),
    [
        (2, {}, {}),
        (3, {"avg_mode": "mean", "var_mode": "var"}, {"avg_mode": "mean", "var_mode": "var"}),
        (4, {"s_frames": ((None, 50), (100, 220))}, {"s_frames": [(None, 50), (100, 220)]}),
        (3, {"blocks": (("paw", "nose"),)}, {"blocks": [[1, 0], [2]]}),
    ],
)
def test_the_parameter_is_the_one_that_eks_chooses_in_float64(
    n_members: int, options: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """In float32 the library's stopping rule may be decided by rounding: another parameter."""
    from jax.experimental import enable_x64

    members = make_members(n_members=n_members)
    members[0].values[20:25, 1, :2] = np.nan  # the others still see it
    with enable_x64():
        expected, params = eks_answer(members, **theirs)
    result = smooth_session(members, EksOptions(**options))
    np.testing.assert_allclose(list(result.smooth_params.values()), params, rtol=1e-5)
    np.testing.assert_allclose(result.tables[""].values, expected, atol=2e-3, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("smooth_param", [0.05, 3.0, (0.1, 10.0, 500.0)])
def test_with_a_given_parameter_the_table_is_that_of_eks(smooth_param: Any) -> None:
    members = make_members(n_frames=2000, seed=4)
    given = list(smooth_param) if isinstance(smooth_param, tuple) else smooth_param
    expected, _ = eks_answer(members, smooth_param=given)
    by_name = dict(zip(NAMES, given, strict=True)) if isinstance(given, list) else given
    table = smooth_session(members, EksOptions(smooth_param=by_name)).tables[""]
    assert (table.scorer, table.coords) == (EKS_SCORER, EKS_COORDS)
    np.testing.assert_allclose(table.values[..., :2], expected[..., :2], atol=0.02, rtol=0)
    np.testing.assert_allclose(table.values[..., 2:], expected[..., 2:], atol=1e-2, rtol=1e-3)


def test_real_members_give_the_table_of_eks(shared_data: Path) -> None:
    expected = shared_data / "expected"
    members = [read_csv(expected / name / "test_vid.csv") for name in ("seed0", "seed1")]
    theirs = read_csv(expected / "eks" / "test_vid.csv")
    params = json.loads((expected / "eks" / "smooth_params.json").read_text())

    given = smooth_session(members, EksOptions(smooth_param=params))
    np.testing.assert_allclose(given.tables[""].values, theirs.values, atol=1e-3, rtol=1e-5)

    chosen = smooth_session(members)
    # Of this one the library's own float64 run chooses 130.687, and its float32 run 141.448.
    odd = list(params).index("paw1LH_bot")
    assert chosen.smooth_params["paw1LH_bot"] == pytest.approx(130.687, rel=1e-4)
    ratio = np.array([chosen.smooth_params[name] / params[name] for name in params])
    np.testing.assert_allclose(np.delete(ratio, odd), 1.0, rtol=1e-4)
    error = np.abs(chosen.tables[""].xy - theirs.xy).max(axis=(0, 2))
    assert np.delete(error, odd).max() < 1e-3


def test_smoothing_brings_members_nearer_to_the_truth() -> None:
    members = make_members(n_frames=2000, n_members=5)
    truth = np.mean([m.xy for m in make_members(n_frames=2000, n_members=200)], axis=0)
    smoothed = smooth_session(members).tables[""]

    def error(xy: np.ndarray) -> float:
        return float(np.sqrt(np.square(xy - truth).sum(axis=2)).mean())

    assert error(smoothed.xy) < 0.8 * error(smoothed.values[..., 3:5])
    assert error(smoothed.xy) < 0.5 * min(error(member.xy) for member in members)


def test_frames_that_no_member_saw_are_bridged() -> None:
    members = make_members()
    for member in members:
        member.values[100:110, 0, :2] = np.nan
        member.values[100:110, 0, 2] = 0.0
        member.values[:, 2] = np.nan
    table = smooth_session(members).tables[""]
    assert np.isfinite(table.xy[:, :2]).all()
    assert np.isnan(table.values[100:110, 0, 3:5]).all()
    assert (table.likelihood[100:110, 0] == 0).all()
    assert table.values[105, 0, 7] > table.values[99, 0, 7]
    assert np.isnan(table.xy[:, 2]).all()


def test_members_are_matched_by_keypoint_name() -> None:
    first, *others = make_members()
    turned = [member.select(tuple(reversed(NAMES))) for member in others]
    np.testing.assert_array_equal(
        smooth_session([first, *turned]).tables[""].values,
        smooth_session([first, *others]).tables[""].values,
    )


def test_members_that_do_not_fit_are_named() -> None:
    first, second, _ = make_members()
    with pytest.raises(SmoothingError, match=r"1 of 2 members can be .* 2 lacks paw"):
        smooth_session([first, second.select(("nose", "tail_base"))])
    renamed = dataclasses.replace(second, keypoint_names=("nose", "paw", "ear"))
    with pytest.raises(SmoothingError, match="2 lacks tail_base and has ear besides"):
        smooth_session([first, renamed])
    with pytest.raises(SmoothingError, match="2 has 200 frames, and the others have 300"):
        smooth_session([first, second.slice(0, 200)])
    with pytest.raises(SmoothingError, match="2 of 2 members"):
        smooth_session([first, second], EksOptions(min_members=3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"smooth_param": {"nose": 1.0, "paw": 2.0}},
        {"smooth_param": {"nose": 1.0, "paw": 2.0, "tail_base": 3.0, "ear": 4.0}},
        {"blocks": (("nose", "ear"),)},
        {"blocks": (("nose", "paw"), ("paw",))},
        {"s_frames": ((0, 301),)},
        {"s_frames": ((0, 100), (90, 120))},
    ],
)
def test_options_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SmoothingError):
        smooth_session(make_members(), EksOptions(**wrong))


def test_progress_ends_at_the_last_frame_and_a_stop_is_heard() -> None:
    members = make_members()
    seen: list[int] = []
    smooth_session(members, on_progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 300
    with pytest.raises(CancelledError):
        smooth_session(members, should_stop=lambda: True)


def test_members_are_left_as_they_were() -> None:
    members = make_members()
    before = [member.values.copy() for member in members]
    smooth_session(members)
    for member, values in zip(members, before, strict=True):
        np.testing.assert_array_equal(member.values, values)


def test_one_camera_needs_neither_jax_nor_eks() -> None:
    script = """
import sys
from tests.unit.eks.ensembles import make_members, smooth_session
smooth_session(make_members())
print(sorted({"jax", "eks", "pandas", "torch", "sklearn"} & set(sys.modules)))
"""
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
