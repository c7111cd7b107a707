"""Recordings by three cameras: from videos to points in space in one command, as `eks` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import yaml

from raypose.config import RunConfig
from raypose.eks.pupil import PUPIL_KEYPOINTS
from raypose.pipeline import RunResult, plan, run
from raypose.tables.keypoints import EKS_COORDS, KeypointTable, read_csv
from tests.models import KEYPOINTS, make_model
from tests.unit.eks.ensembles import write_calibration
from tests.videos import make_video

# eks, jax and aniposelib warn about each other; nothing of it is about raypose.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

VIEWS = ("left", "right", "top")
N_FRAMES = 40


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members that take three views at once, two recordings, and their calibration."""
    root = tmp_path_factory.mktemp("views")
    for seed in range(2):
        make_model(
            root / "models" / f"member{seed}",
            model_type="heatmap_multiview_transformer",
            backbone="vits_dino",
            view_names=VIEWS,
            seed=seed,
        )
    (root / "videos").mkdir()
    for n, name in enumerate(("rec1", "rec2")):
        for v, view in enumerate(VIEWS):
            path = root / "videos" / f"{name}_{view}.mp4"
            make_video(path, n_frames=N_FRAMES, width=96 + 16 * v, gop=10 + n)
    write_calibration(root / "videos" / "calibration.toml", VIEWS)
    return root


def config(root: Path, output_dir: Path, **options: Any) -> RunConfig:
    values = {
        "videos": (str(root / "videos"),),
        "models": tuple(str(root / "models" / f"member{i}") for i in range(2)),
        "output_dir": output_dir,
        "eks": True,
        "label": ("full",),
        "device": "cpu",
        "eks_options": {"smooth_param": 10.0},
    }
    given = {**values, **options}
    if not given["eks"]:
        del given["eks_options"]
    return RunConfig(**given)


def fitted(files: dict[str, list[str]], out: Path, **options: Any) -> tuple[Any, ...]:
    """What the `eks` package makes of the members' files."""
    from eks.multicam_smoother import fit_eks_multicam

    result: tuple[Any, ...] = fit_eks_multicam(
        files,
        str(out),
        bodypart_list=list(KEYPOINTS),
        camera_names=list(VIEWS),
        smooth_param=10.0,
        quantile_keep_pca=95.0,
        **options,
    )
    return result


def member_files(out: Path, recording: str) -> dict[str, list[str]]:
    return {
        view: [
            str(out / f"member{i}" / "video_preds" / f"{recording}_{view}.csv") for i in range(2)
        ]
        for view in VIEWS
    }


def failures(result: RunResult) -> list[str]:
    return [str(failed) for failed in result.failures]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_from_videos_to_3d_keypoints(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(config(recordings, out))
    assert result.ok, failures(result)
    for recording in ("rec1", "rec2"):
        frames, _, _, _, points = fitted(
            member_files(out, recording),
            tmp_path / "eks",
            calibration=str(recordings / "videos" / "calibration.toml"),
        )
        for view, frame in zip(VIEWS, frames, strict=True):
            table = read_csv(out / "eks" / "video_preds" / f"{recording}_{view}.csv")
            assert table.coords == EKS_COORDS
            expected = frame.to_numpy().reshape(table.values.shape)
            np.testing.assert_allclose(table.xy, expected[..., :2], atol=0.05, rtol=0)
        written = pd.read_csv(
            out / "eks" / "points_3d" / f"{recording}.csv", header=[0, 1, 2], index_col=0
        )
        assert list(written.columns) == list(points.columns)
        np.testing.assert_allclose(written.to_numpy(), points.to_numpy(), atol=1e-2, rtol=1e-2)
    for owner in ("member0", "member1", "eks"):
        for stem in (f"{r}_{v}" for r in ("rec1", "rec2") for v in VIEWS):
            folder = out / owner / "video_preds"
            assert (folder / f"{stem}_temporal_norm.csv").is_file()
            with av.open(str(folder / "labeled_videos" / f"{stem}_labeled.mp4")) as container:
                assert sum(1 for _ in container.decode(video=0)) == N_FRAMES
    assert run(config(recordings, out)).nothing_to_do


def test_views_in_ranges_are_those_of_the_whole(recordings: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common: dict[str, Any] = {"inline": True, "eks": False, "label": ()}
    assert run(config(recordings, whole, **common)).ok
    assert run(config(recordings, parts, chunk_frames=15, **common)).ok
    for path in sorted(whole.rglob("rec*_*.csv")):
        if path.parent.name == "video_preds" and "norm" not in path.name:
            ours = read_csv(parts / path.relative_to(whole)).values
            np.testing.assert_allclose(ours, read_csv(path).values, atol=2e-3)


def test_cameras_without_a_calibration(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = {"smooth_param": 10.0, "mode": "multicam"}
    result = run(config(recordings, out, inline=True, label=(), eks_options=options))
    assert result.ok, failures(result)
    frames, *_ = fitted(member_files(out, "rec1"), tmp_path / "eks")
    for view, frame in zip(VIEWS, frames, strict=True):
        table = read_csv(out / "eks" / "video_preds" / f"rec1_{view}.csv")
        expected = frame.to_numpy().reshape(table.values.shape)
        np.testing.assert_allclose(table.xy, expected[..., :2], atol=0.05, rtol=0)
    assert not (out / "eks" / "points_3d").exists()
    # The ensemble's directory is one that can be given for its members.
    described = yaml.safe_load((out / "eks" / "ensemble.yaml").read_text())
    assert (described["view_names"], described["smooth_param"]) == (list(VIEWS), 10.0)
    given = {"models": (str(out / "eks"),), "eks_options": {"mode": "multicam"}}
    planned = plan(config(recordings, out, inline=True, label=(), **given))
    assert [model.name for model in planned.models] == ["member0", "member1"]
    assert planned.done, "the parameter comes from the file"


def test_boxes_move_keypoints_into_the_frame(recordings: Path, tmp_path: Path) -> None:
    """A box of the whole frame changes nothing; one of a part keeps keypoints inside it."""
    folder = tmp_path / "boxes"
    folder.mkdir()
    for path in (recordings / "videos").glob("*.mp4"):
        width = 96 + 16 * VIEWS.index(path.stem.split("_")[1])
        box = (8, 4, 32, 40) if "left" in path.stem else (0, 0, 64, width)
        rows = [",x,y,h,w", *(f"{i},{','.join(map(str, box))}" for i in range(N_FRAMES))]
        (folder / f"{path.stem}_bbox.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    options: dict[str, Any] = {"inline": True, "eks": False, "label": (), "bbox_dir": folder}
    result = run(config(recordings, out, **options))
    assert result.ok, failures(result)
    values = read_csv(out / "member0" / "video_preds" / "rec1_left.csv").xy
    assert (values >= (8 - 2, 4 - 2)).all() and (values <= (48 + 2, 36 + 2)).all()


def test_a_recording_without_a_view_leaves_the_other(recordings: Path, tmp_path: Path) -> None:
    videos = [p for p in (recordings / "videos").glob("*.mp4") if p.stem != "rec2_top"]
    out = tmp_path / "out"
    given = config(recordings, out, inline=True, label=(), videos=tuple(map(str, videos)))
    result = run(given)
    (failed,) = result.failures
    assert (failed.subject, failed.message) == ("rec2", "lacks the view top")
    assert result.exit_code == 1
    assert (out / "eks" / "points_3d" / "rec1.csv").is_file()
    assert not list(out.rglob("rec2*"))


@pytest.fixture(scope="module")
def one_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members whose keypoints are those of a pupil, matched in two mirrored views."""
    root = tmp_path_factory.mktemp("one")
    for seed in range(2):
        make_model(
            root / "models" / f"member{seed}",
            keypoint_names=PUPIL_KEYPOINTS,
            seed=seed,
            data={"mirrored_column_matches": [[0, 1], [2, 3]]},
        )
    (root / "videos").mkdir()
    make_video(root / "videos" / "cam.mp4", n_frames=N_FRAMES)
    return root


def smoothed(root: Path, out: Path, **options: Any) -> tuple[KeypointTable, dict[str, Any]]:
    result = run(config(root, out, inline=True, label=(), eks_options=options))
    assert result.ok, failures(result)
    params = json.loads((out / "eks" / "smooth_params" / "cam.json").read_text())
    return read_csv(out / "eks" / "video_preds" / "cam.csv"), params


def member_tables(out: Path) -> list[str]:
    return [str(out / f"member{i}" / "video_preds" / "cam.csv") for i in range(2)]


def test_mirrored_views(one_camera: Path, tmp_path: Path) -> None:
    from eks.marker_array import MarkerArray
    from eks.multicam_smoother import ensemble_kalman_smoother_multicam

    out = tmp_path / "out"
    table, params = smoothed(one_camera, out, mode="auto", smooth_param=10.0)
    assert params["mode"] == "mirrored"
    assert "mirrored views" in params["reason"]
    members = np.stack([read_csv(path).values for path in member_tables(out)])
    data = np.stack([members[:, :, :2], members[:, :, 2:]], axis=1)
    frames, *_ = ensemble_kalman_smoother_multicam(
        MarkerArray(data, data_fields=["x", "y", "likelihood"]),
        keypoint_names=["a", "b"],
        camera_names=["one", "other"],
        smooth_param=10.0,
        quantile_keep_pca=95.0,
        avg_mode="median",
        var_mode="confidence_weighted_var",
        inflate_vars=False,
        inflate_vars_kwargs={},
        n_latent=3,
    )
    expected = np.concatenate([f.to_numpy().reshape(N_FRAMES, 2, -1) for f in frames], axis=1)
    np.testing.assert_allclose(table.xy, expected[..., :2], atol=0.05, rtol=0)


def test_a_pupil(one_camera: Path, tmp_path: Path) -> None:
    from eks.ibl_pupil_smoother import fit_eks_pupil

    _, params = smoothed(one_camera, tmp_path / "out", mode="pupil", smooth_param=None)
    assert params["mode"] == "pupil"
    assert set(params["smooth_params"]) == {"diameter", "center_of_mass"}
    given = {"diameter": 0.99, "center_of_mass": 0.9}
    table, params = smoothed(one_camera, tmp_path / "out", mode="pupil", smooth_param=given)
    assert params["smooth_params"] == pytest.approx(given)
    frame, *_ = fit_eks_pupil(
        member_tables(tmp_path / "out"), str(tmp_path / "eks.csv"), smooth_params=[0.99, 0.9]
    )
    theirs = frame.to_numpy().reshape(N_FRAMES, 4, -1)[..., :2]
    # The library has the right edge under the bottom one's name, and the other way round.
    np.testing.assert_allclose(table.xy[:, [0, 2, 1, 3]], theirs, atol=0.05)


def test_one_camera_is_what_is_smoothed_without_a_word(one_camera: Path, tmp_path: Path) -> None:
    from eks.singlecam_smoother import fit_eks_singlecam

    out = tmp_path / "out"
    table, params = smoothed(one_camera, out, smooth_param=10.0)
    assert (params["mode"], params["reason"]) == ("singlecam", "one video")
    frame, *_ = fit_eks_singlecam(
        member_tables(out),
        str(tmp_path / "eks.csv"),
        bodypart_list=list(PUPIL_KEYPOINTS),
        smooth_param=10.0,
    )
    expected = frame.to_numpy().reshape(table.values.shape)
    np.testing.assert_allclose(table.xy, expected[..., :2], atol=0.05, rtol=0)


def test_some_keypoints_with_parameters_of_their_own(one_camera: Path, tmp_path: Path) -> None:
    some = PUPIL_KEYPOINTS[:2]
    given = dict(zip(some, (3.0, 30.0), strict=True))
    table, params = smoothed(one_camera, tmp_path / "out", keypoints=some, smooth_param=given)
    assert table.keypoint_names == some
    assert params["smooth_params"] == given
