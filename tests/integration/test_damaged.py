"""A damaged video through whole runs: every row is right or marked, now and in later runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raypose.config import RunConfig, SmoothConfig
from raypose.pipeline import RunResult, run, smooth
from raypose.report.status import read_status
from raypose.tables.keypoints import read_csv, read_metric_csv
from tests.integration.conftest import Project
from tests.videos import cut_packets, make_video

N = 60
DAMAGED = list(range(26, 36))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame 26 is corrupt, the others up to the keyframe 36 build on it."""
    folder = tmp_path_factory.mktemp("videos")
    whole = make_video(folder / "whole.mp4", n_frames=N, gop=12, width=128, height=96)
    return cut_packets(whole, folder / "cam.mp4", [26])


def config(project: Project, video: Path, out: Path, **options: object) -> RunConfig:
    return project.config(out, **{"videos": (str(video),), "inline": True, **options})


@pytest.fixture(scope="module")
def out(project: Project, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a run."""
    folder = tmp_path_factory.mktemp("out")
    result = run(config(project, video, folder))
    assert result.ok, failures(result)
    assert result.damaged == {str(video): {"ok": 50, "suspect": 9, "corrupt": 1}}
    assert any("1 of 60 frames is corrupt, 9 suspect" in said for _, said in result.warnings)
    return folder


def failures(result: RunResult) -> list[str]:
    return [str(failed) for failed in result.failures]


def owners(out: Path) -> list[Path]:
    return [path.parent for path in sorted(out.glob("*/video_preds"))]


def test_rows_and_statuses(out: Path) -> None:
    assert len(owners(out)) == 3
    for owner in owners(out):
        table = read_csv(owner / "video_preds" / "cam.csv")
        frames = pd.read_csv(owner / "video_preds" / "frames" / "cam_frames.csv")
        assert table.n_frames == len(frames) == N
        assert np.flatnonzero(frames["status"] != "ok").tolist() == DAMAGED
        assert frames["status"][26] == "corrupt"
        np.testing.assert_allclose(frames["time_s"], np.arange(N) / 25)
        assert (table.likelihood[26] == 0).all()
        if owner.name == "eks":
            assert np.isfinite(table.xy).all(), "EKS bridges the gap"
        else:
            assert np.isnan(table.xy[26]).all()
            assert np.isfinite(np.delete(table.xy, 26, axis=0)).all()
        _, norms = read_metric_csv(owner / "video_preds" / "cam_temporal_norm.csv")
        empty = np.flatnonzero(np.isnan(norms).all(axis=1)).tolist()
        assert empty == [0, *DAMAGED, DAMAGED[-1] + 1]


def test_a_later_run_tells_it_again(
    project: Project, video: Path, out: Path, tmp_path: Path
) -> None:
    result = run(config(project, video, out))
    assert result.nothing_to_do and result.exit_code == 0
    assert result.damaged == {str(video): {"ok": 50, "suspect": 9, "corrupt": 1}}
    (problem,) = result.plan.problems
    assert "1 of 60 frames is corrupt, 9 suspect" in problem.message
    assert read_status(result.run_dir).damaged == result.damaged


def test_strict_fails_it_then_and_now(
    project: Project, video: Path, out: Path, tmp_path: Path
) -> None:
    for place in (out, tmp_path):
        result = run(config(project, video, place, strict=True))
        assert result.exit_code == 1
        assert "1 of 60 frames is corrupt, 9 suspect" in failures(result)[0]
    assert not list(tmp_path.glob("*/video_preds/*.csv"))


def test_a_step_that_is_added_later_knows_it(project: Project, video: Path, out: Path) -> None:
    _, before = read_metric_csv(out / "eks" / "video_preds" / "cam_temporal_norm.csv")
    for path in out.glob("*/video_preds/cam_temporal_norm.csv"):
        path.unlink()
    result = run(config(project, video, out))
    assert result.ok and set(result.made) >= {"metrics"} and not result.made.get("table")
    _, after = read_metric_csv(out / "eks" / "video_preds" / "cam_temporal_norm.csv")
    np.testing.assert_array_equal(after, before)


def test_ranges_give_the_same(project: Project, video: Path, out: Path, tmp_path: Path) -> None:
    result = run(config(project, video, tmp_path, chunk_frames=7, eks=False, label=()))
    assert result.ok, failures(result)
    for owner in owners(tmp_path):
        name = Path("video_preds", "frames", "cam_frames.csv")
        assert (owner / name).read_text() == (out / owner.name / name).read_text()
        ours, theirs = (
            read_csv(root / owner.name / "video_preds" / "cam.csv") for root in (tmp_path, out)
        )
        np.testing.assert_array_equal(np.isnan(ours.xy), np.isnan(theirs.xy))
        ok = np.setdiff1d(np.arange(N), DAMAGED)
        np.testing.assert_allclose(ours.xy[ok], theirs.xy[ok], atol=1e-3)


def test_smoothing_of_existing_tables_knows_it(
    project: Project, video: Path, out: Path, tmp_path: Path
) -> None:
    members = [str(owner) for owner in owners(out) if owner.name != "eks"]
    options = {"tables": members, "eks_dir": tmp_path, "inline": True}
    for _ in range(2):  # the second one finds it done
        result = smooth(SmoothConfig(**options))
        assert result.ok, failures(result)
        (counts,) = result.damaged.values()
        assert counts == {"ok": 50, "suspect": 9, "corrupt": 1}
    frames = tmp_path / "video_preds" / "frames" / "cam_frames.csv"
    assert (
        frames.read_text()
        == (out / "eks" / "video_preds" / "frames" / "cam_frames.csv").read_text()
    )
