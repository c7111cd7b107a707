"""The plan of a smoothing: what is asked for, what is done, which tasks there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.config import SmoothConfig
from raypose.errors import UsageError
from raypose.planning import Plan, RecordingPlan, plan_smoothing, plan_tasks
from raypose.steps import Load, Smooth
from raypose.steps.frame_files import commit_frames
from raypose.storage import commits
from raypose.tables.keypoints import COORDS, KeypointTable, write_csv
from tests.calibrations import calibration_text
from tests.frames import make_frames

CALIBRATION = calibration_text()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two members with two views of two recordings."""
    for member in ("m1", "m2"):
        for stem in ("r1_top", "r1_side", "r2_top", "r2_side"):
            put(tmp_path / member / "video_preds" / f"{stem}.csv")
    return tmp_path


def put(path: Path, value: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((5, 1, 3), value, np.float32)
    write_csv(KeypointTable("heatmap_tracker", ("nose",), COORDS, values), path)


def plan(root: Path, **values: Any) -> Plan:
    given = {"tables": [str(root / "m1"), str(root / "m2")], "eks_dir": root / "out", **values}
    return plan_smoothing(SmoothConfig(**given), run_dir=root / "run")


def smooth_step(recording: RecordingPlan) -> Smooth:
    assert recording.smooth is not None and isinstance(recording.smooth.step, Smooth)
    return recording.smooth.step


def commit(made: Plan) -> None:
    for recording in made.pending:
        for path, provenance, _ in smooth_step(recording).expected():
            with commits.committing(Path(path), provenance) as temporary:
                temporary.write_text("done")


def test_a_video_by_itself(root: Path) -> None:
    made = plan(root)
    assert [recording.key for recording in made.recordings] == [
        "r1_side",
        "r1_top",
        "r2_side",
        "r2_top",
    ]
    step = smooth_step(made.recordings[0])
    assert step.outputs == {
        "table": str(root / "out" / "video_preds" / "r1_side.csv"),
        "params": str(root / "out" / "smooth_params" / "r1_side.json"),
    }
    assert (made.n_videos, made.n_pending_videos, made.problems) == (4, 4, ())

    *loads, smooth = plan_tasks(made, 0)[0]
    assert [load.step.path for load in loads if isinstance(load.step, Load)] == [
        str(root / m / "video_preds" / "r1_side.csv") for m in ("m1", "m2")
    ]
    assert smooth.inputs == tuple(load.outputs[0] for load in loads)
    assert smooth.step is step and (step.members, step.final) == (("m1", "m2"), True)
    assert not any(task.gpu for task in (*loads, smooth))


def test_views(root: Path) -> None:
    made = plan(root, views="top,side")
    assert [recording.key for recording in made.recordings] == ["r1", "r2"]
    *loads, smooth = plan_tasks(made, 0)[0]
    assert [load.subject for load in loads] == [
        "m1 · r1_top",
        "m2 · r1_top",
        "m1 · r1_side",
        "m2 · r1_side",
    ]
    assert [video.view for video in smooth.step.videos] == ["top", "side"]
    assert len(smooth.outputs) == 2
    assert "points" not in smooth_step(made.recordings[0]).outputs


def test_a_calibration_names_the_views(root: Path) -> None:
    calibration = root / "calibration.toml"
    calibration.write_text(CALIBRATION)
    made = plan(root, calibration=calibration)
    step = smooth_step(made.recordings[0])
    assert [video.view for video in step.videos] == ["top", "side"]
    assert step.outputs["points"] == str(root / "out" / "points_3d" / "r1.csv")
    linear = plan(root, calibration=calibration, eks_options={"mode": "multicam"})
    assert "points" not in smooth_step(linear.recordings[0]).outputs
    with pytest.raises(UsageError, match="has no camera front"):
        plan(root, calibration=calibration, views="top,front")


def test_a_list_of_recordings(root: Path) -> None:
    listed = root / "list.csv"
    listed.write_text("session,top,side\nmorning,r1_top.mp4,r1_side.mp4\nx,r2_top.mp4,\n")
    made = plan(root, sessions=listed)
    assert [recording.key for recording in made.recordings] == ["morning"]
    assert smooth_step(made.recordings[0]).outputs["params"].endswith("/morning.json")
    assert [p.message for p in made.problems] == [
        "belongs to no recording (nor do those of 1 other members): it is not in the list",
        "there is no table of its view side",
    ]


def test_what_is_done_is_not_done_again(root: Path) -> None:
    commit(plan(root))
    assert plan(root).done
    assert not plan(root, overwrite=True).done
    assert not plan(root, eks_options={"smooth_param": 3}).done
    put(root / "m2" / "video_preds" / "r2_top.csv", value=2.0)
    assert [recording.key for recording in plan(root).pending] == ["r2_top"]
    (root / "out" / "smooth_params" / "r1_top.json").unlink()
    assert [recording.key for recording in plan(root).pending] == ["r1_top", "r2_top"]


def test_parts_of_the_recordings(root: Path) -> None:
    names = [
        [recording.key for recording in plan(root, shard=f"{i}/3").recordings] for i in range(3)
    ]
    assert names == [["r1_side", "r2_top"], ["r1_top"], ["r2_side"]]


def test_the_pose_apps_folder(root: Path) -> None:
    step = smooth_step(plan(root, layout="pose-app").recordings[0])
    assert step.tables == (str(root / "out" / "video_preds_infer" / "r1_side.csv"),)


def test_inputs_are_never_replaced(root: Path) -> None:
    with pytest.raises(UsageError, match="holds a table that is to be smoothed"):
        plan(root, eks_dir=root / "m2")
    (root / "link").symlink_to(root / "m2")
    with pytest.raises(UsageError, match="holds a table that is to be smoothed"):
        plan(root, eks_dir=root / "link")


def test_many_files_that_are_no_tables_are_one_note(root: Path) -> None:
    for i in range(5):
        (root / "m1" / "video_preds" / f"r{i}_bbox.csv").write_text("x,y\n1,2\n")
    (problem,) = plan(root).problems
    assert problem.subject == str(root / "m1" / "video_preds")
    assert problem.message.startswith("5 files are left out, since each is no table")


def test_what_was_smoothed_is_no_member(root: Path) -> None:
    from raypose.tables.keypoints import EKS_COORDS, EKS_SCORER

    values = np.ones((5, 1, len(EKS_COORDS)), np.float32)
    path = root / "out" / "video_preds" / "r1_top.csv"
    path.parent.mkdir(parents=True)
    write_csv(KeypointTable(EKS_SCORER, ("nose",), EKS_COORDS, values), path)
    made = plan(root, tables=[str(root / name) for name in ("m1", "m2", "out")])
    assert {smooth_step(recording).members for recording in made.recordings} == {("m1", "m2")}
    assert [(p.subject, p.message) for p in made.problems] == [(str(path), "is smoothed already")]


def test_smoothed_tables_with_damaged_frames(root: Path) -> None:
    made = plan(root)
    commit(made)
    assert plan(root).done and not plan(root).damaged
    frames = make_frames(5, missing=[2], suspect=[3])
    step = smooth_step(made.recordings[0])
    table = Path(step.tables[0])
    stats = {"frames": frames.counts}
    with commits.committing(table, step.provenance, stats=stats) as temporary:
        temporary.write_text("done")
    assert not plan(root).done, "the file of frames is missing"
    commit_frames(table, step.provenance, frames, source="")
    again = plan(root)
    assert again.done
    (problem,) = again.problems
    assert problem.message == "1 of 5 frames is missing, 1 suspect"
    first = str(root / "m1" / "video_preds" / "r1_side.csv")
    assert problem.subject == first and again.damaged == {first: frames.counts}


def test_damage_of_a_finished_view_is_told_while_its_recording_is_smoothed_again(
    root: Path,
) -> None:
    made = plan(root, views="top,side")
    commit(made)
    step, frames = smooth_step(made.recordings[0]), make_frames(5, missing=[2])
    (top, side), (video, _) = map(Path, step.tables), step.videos
    provenance = step.provenance_of(video)
    with commits.committing(top, provenance, stats={"frames": frames.counts}) as temporary:
        temporary.write_text("damaged")
    commit_frames(top, provenance, frames, source="")
    assert plan(root, views="top,side").damaged == {video.path: frames.counts}
    side.unlink()
    again = plan(root, views="top,side")
    assert not again.recordings[0].done and again.damaged == {video.path: frames.counts}
    assert [problem.message for problem in again.problems] == ["1 of 5 frames is missing"]
