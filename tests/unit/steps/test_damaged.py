"""Damaged frames on their way through the steps: tabled, measured, cut and smoothed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.errors import Failure
from raypose.inputs.models import open_model
from raypose.metrics.compute import TEMPORAL_NORM, PcaMetrics, compute_metrics
from raypose.rendering.snippet import choose_snippet, motion_energy
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.steps import Smooth, Snippet, Step, Summary, Table
from raypose.steps.execute import execute
from raypose.steps.frame_files import frames_provenance
from raypose.steps.predict import Predicted
from raypose.storage import records
from raypose.storage.layout import frames_beside
from raypose.tables.keypoints import COORDS, KeypointTable, read_csv
from raypose.video.frames import Frames, read_frames
from tests.frames import make_frames
from tests.projects import fake_model
from tests.steps import (
    load_step,
    make_context,
    smooth_step,
    snippet_step,
    table_step,
    task_of,
    timestamps_step,
)
from tests.videos import make_video

N = 30
PROVENANCE = {"kind": "predictions", "video": "v"}
DAMAGED = make_frames(N, corrupt=[12], missing=[13], suspect=range(14, 20))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoSpec:
    path = make_video(tmp_path_factory.mktemp("v") / "cam.mp4", n_frames=N)
    return VideoSpec(str(path), "cam", N, 96, 64, 25.0, N / 25, "v")


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner("m", str(tmp_path / "o"), open_model(fake_model(tmp_path / "m"), name="m"))


def do(step: Step, *inputs: Any) -> tuple[Summary, Any]:
    summary, (result,) = execute(task_of(step, n_frames=N), inputs, make_context())
    return summary, result


def keypoints(frames: Frames = DAMAGED, seed: int = 0) -> np.ndarray:
    """A smooth walk of three keypoints; none where there is no picture."""
    random = np.random.default_rng(seed)
    values = np.empty((len(frames), 3, 3), np.float32)
    values[..., :2] = 30 + np.cumsum(random.normal(size=(len(frames), 3, 2)), axis=0)
    values[..., 2] = 0.95
    values[frames.statuses >= 2] = (np.nan, np.nan, 0)
    return values


def make_table(model: ModelSpec, frames: Frames = DAMAGED, seed: int = 0) -> KeypointTable:
    values = keypoints(frames, seed)
    return KeypointTable(model.scorer, model.keypoint_names, COORDS, values, frames=frames)


class TestTable:
    def args(self, video: VideoSpec, owner: Owner, *, strict: bool = False) -> Table:
        output = f"{owner.root}/video_preds/cam.csv"
        return table_step(video, owner, output, PROVENANCE, ((0, N, ""),), strict=strict)

    def test_its_frames_are_committed_with_it_and_loaded_with_it(
        self, video: VideoSpec, owner: Owner
    ) -> None:
        args = self.args(video, owner)
        summary, result = do(args, Predicted(keypoints(), DAMAGED))
        beside = frames_beside(Path(args.outputs["table"]))
        assert set(summary.made) == {args.outputs["table"], str(beside)}
        counts = {"ok": 22, "suspect": 6, "corrupt": 1, "missing": 1}
        verdict = records.check(Path(args.outputs["table"]), PROVENANCE)
        assert verdict.stats == {"n_rows": N, "frames": counts}
        assert records.check(beside, frames_provenance(PROVENANCE)).done
        assert summary.warnings == ("1 of 30 frames is missing, 1 corrupt, 6 suspect",)
        np.testing.assert_array_equal(result.frames.statuses, DAMAGED.statuses)
        _, loaded = do(load_step(video, args.outputs["table"]))
        np.testing.assert_array_equal(loaded.frames.statuses, DAMAGED.statuses)
        np.testing.assert_allclose(loaded.frames.times_s, DAMAGED.times_s)

    def test_strict_looks_at_ranges_of_earlier_runs_too(
        self, video: VideoSpec, owner: Owner
    ) -> None:
        args = self.args(video, owner, strict=True)
        _, failure = do(args, Predicted(keypoints(), DAMAGED))
        assert isinstance(failure, Failure)
        assert failure.message == "1 of 30 frames is missing, 1 corrupt, 6 suspect"
        assert failure.path == video.path
        assert not Path(args.outputs["table"]).exists()

    def test_timestamps_of_an_intact_video(self, video: VideoSpec, owner: Owner) -> None:
        intact = make_frames(N)
        args = self.args(video, owner)
        summary, result = do(args, Predicted(keypoints(intact), intact))
        assert summary.made == (args.outputs["table"],)
        summary, _ = do(timestamps_step(video, owner, args.outputs["table"], PROVENANCE), result)
        frames = read_frames(frames_beside(Path(args.outputs["table"])))
        assert summary.made == (str(frames_beside(Path(args.outputs["table"]))),)
        assert frames.all_ok
        np.testing.assert_allclose(frames.times_s, np.arange(N) / 25)

    def test_timestamps_of_a_damaged_video_are_there_already(
        self, video: VideoSpec, owner: Owner
    ) -> None:
        args = self.args(video, owner)
        _, result = do(args, Predicted(keypoints(), DAMAGED))
        summary, _ = do(timestamps_step(video, owner, args.outputs["table"], PROVENANCE), result)
        assert summary.made == () and not summary.failures
        assert not read_frames(frames_beside(Path(args.outputs["table"]))).all_ok


class TestMetrics:
    def test_no_frame_that_is_not_ok_counts(self, tmp_path: Path) -> None:
        model = open_model(fake_model(tmp_path / "m"))
        intact = make_frames(N)
        expected = compute_metrics(make_table(model, intact), model, None)[TEMPORAL_NORM]
        norms = compute_metrics(make_table(model), model, None)[TEMPORAL_NORM]
        # A difference needs both of its frames.
        gone = [0, *range(12, 21)]
        assert np.flatnonzero(np.isnan(norms).all(axis=1)).tolist() == gone
        kept = np.setdiff1d(np.arange(N), gone)
        np.testing.assert_array_equal(norms[kept], expected[kept])

    def test_pca_errors_neither(self, tmp_path: Path) -> None:
        from raypose.metrics.compute import PCA_SINGLEVIEW, Subspace

        model = open_model(fake_model(tmp_path / "m"))
        subspace = Subspace(np.zeros(6, np.float32), np.eye(6, dtype=np.float32)[:2])
        pca = PcaMetrics(columns=(0, 1, 2), singleview=subspace)
        errors = compute_metrics(make_table(model), model, pca)[PCA_SINGLEVIEW]
        damaged = np.flatnonzero(DAMAGED.statuses)
        assert np.flatnonzero(np.isnan(errors).any(axis=1)).tolist() == damaged.tolist()


class TestSnippet:
    def test_damaged_frames_do_not_move(self) -> None:
        xy = np.zeros((6, 1, 2))
        xy[3:] = 50.0
        ones = np.ones((6, 1))
        assert motion_energy(xy, ones, 0.9).tolist() == [0, 0, 0, np.hypot(50, 50), 0, 0]
        is_ok = np.array([True, True, True, False, True, True])
        assert motion_energy(xy, ones, 0.9, is_ok).tolist() == [0] * 6

    def test_windows_with_damage_are_not_chosen(self) -> None:
        xy = np.cumsum(np.full((200, 1, 2), 0.1), axis=0)
        xy[60:71] += 20 * np.sin(np.arange(11) * np.pi / 2)[:, None, None]  # lively, but damaged
        xy[120:131] += 2 * np.sin(np.arange(11) * np.pi / 2)[:, None, None]
        ones, is_ok = np.ones((200, 1)), np.ones(200, bool)
        start, stop = choose_snippet(xy, ones, np.arange(200) / 10, duration_s=2.0)
        assert start <= 70 and stop >= 60
        is_ok[60:70] = False
        start, stop = choose_snippet(xy, ones, np.arange(200) / 10, duration_s=2.0, is_ok=is_ok)
        assert is_ok[start:stop].all()
        assert start <= 122 and stop >= 129

    def test_where_all_windows_have_damage_the_least_damaged_is_chosen(self) -> None:
        xy = np.cumsum(np.full((100, 1, 2), 0.1), axis=0)
        is_ok = np.arange(100) % 10 != 5
        is_ok[40:80] = False
        start, stop = choose_snippet(
            xy, np.ones((100, 1)), np.arange(100) / 10, duration_s=2.0, is_ok=is_ok
        )
        assert (~is_ok[start:stop]).sum() == 2

    def args(self, video: VideoSpec, owner: Owner, folder: Path, seconds: float) -> Snippet:
        names = (f"cam.short{end}" for end in (".mp4", ".csv", ".labeled.mp4"))
        paths = (str(folder / name) for name in names)
        outputs = dict(zip(("clip", "table", "labeled"), paths, strict=True))
        return snippet_step(video, owner, outputs, PROVENANCE, seconds)

    def test_of_a_damaged_video(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        summary, _ = do(self.args(video, owner, tmp_path, 0.4), make_table(owner.model))
        start, stop = summary.stats["start"], summary.stats["stop"]
        assert stop - start == 10 and not DAMAGED.statuses[start:stop].any()
        assert not summary.warnings

    def test_that_can_not_do_without_damage_says_so(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        summary, _ = do(self.args(video, owner, tmp_path, 0.8), make_table(owner.model))
        assert summary.stats["stop"] - summary.stats["start"] == 20
        (warning,) = summary.warnings
        assert warning.startswith("no window of the video is without damage; of the snippet, ")
        assert "suspect" in warning


class TestSmooth:
    def args(self, folder: Path, video: VideoSpec, *, final: bool) -> Smooth:
        return smooth_step([video], str(folder), ("a", "b"), PROVENANCE, final=final)

    def test_the_smoothed_table_has_the_members_statuses(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = self.args(tmp_path, video, final=False)
        other = make_frames(N, suspect=[25])
        members = make_table(owner.model), make_table(owner.model, other, seed=1)
        summary, result = do(args, *members)
        statuses = DAMAGED.statuses.copy()
        statuses[25] = 1
        np.testing.assert_array_equal(result.frames.statuses, statuses)
        frames = read_frames(frames_beside(Path(args.tables[0])))
        np.testing.assert_array_equal(frames.statuses, statuses)
        counts = {"ok": 21, "suspect": 7, "corrupt": 1, "missing": 1}
        assert (
            records.check(Path(args.tables[0]), args.provenance_of(video)).stats["frames"]
            == counts
        )
        assert summary.stats["damaged"] == {video.path: counts}
        assert not summary.warnings, "the models' tables have said so"
        assert np.isfinite(read_csv(args.tables[0]).xy).all()

    def test_existing_tables_are_told_of(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = self.args(tmp_path, video, final=True)
        summary, _ = do(args, make_table(owner.model), make_table(owner.model, seed=1))
        assert summary.warnings == ("cam: 1 of 30 frames is missing, 1 corrupt, 6 suspect",)

    def test_what_an_earlier_ensemble_said_of_its_frames_goes(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = self.args(tmp_path, video, final=False)
        do(args, make_table(owner.model), make_table(owner.model, seed=1))
        intact = make_frames(N)
        summary, _ = do(args, *(make_table(owner.model, intact, seed=s) for s in (0, 1)))
        assert not frames_beside(Path(args.tables[0])).exists()
        assert summary.stats["damaged"] == {}
