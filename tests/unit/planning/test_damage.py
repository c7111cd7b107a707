"""Plans that find results with damaged frames done: told every time, and refused by `--strict`."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypose.planning import Plan
from raypose.steps import Smooth
from raypose.steps.base import OutputStep
from raypose.steps.frame_files import COUNTS, commit_frames
from raypose.storage import commits
from raypose.storage.layout import frames_beside
from raypose.video.frames import Frames
from tests.frames import make_frames
from tests.projects import Project, commit_all, read_of

DAMAGED = make_frames(12, missing=[3], suspect=[4, 5])
COUNTED = {"ok": 9, "suspect": 2, "missing": 1}


@pytest.fixture
def project(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Project:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    project = Project(tmp_path)
    project.video()
    return project


def finish(project: Project, frames: Frames = DAMAGED, **values: object) -> None:
    """Commit all outputs, as a run would that finds these frames."""
    plan = project.plan(**values)
    for recording in plan.recordings:
        commit_all(recording)
    for output in plan.outputs:
        step, table = output.table.step, Path(output.path)
        assert isinstance(step, OutputStep)
        provenance = (
            step.provenance_of(output.video) if isinstance(step, Smooth) else step.provenance
        )
        stats = {"n_rows": len(frames), COUNTS: frames.counts}
        read = [read_of(output.video)]
        with commits.committing(
            table, provenance, stats=stats, videos=lambda read=read: read
        ) as temporary:
            temporary.write_text("a table")
        commit_frames(table, provenance, frames, source=output.video.path, videos=read)


def notes(plan: Plan) -> list[str]:
    return [f"{problem.message}. {problem.hint}" for problem in plan.problems]


def test_damage_is_told_once_for_a_video(project: Project) -> None:
    finish(project, eks=True)
    plan = project.plan(eks=True)
    assert plan.done
    (note,) = notes(plan)
    assert note.startswith(
        "1 of 12 frames is missing, 2 suspect, in the predictions of a, b, eks. Which ones, "
    )
    assert note.endswith("a/video_preds/frames/cam_frames.csv says.")
    (problem,) = plan.problems
    assert problem.subject == str(project.videos / "cam.mp4") and not problem.fatal
    assert plan.damaged == {problem.subject: COUNTED}


def test_of_an_intact_video_nothing_is_told(project: Project) -> None:
    finish(project, make_frames(12))
    plan = project.plan()
    assert plan.done and not plan.problems and not plan.damaged


def test_strict_fails_what_an_earlier_run_made_without_it(project: Project) -> None:
    finish(project)
    plan = project.plan(strict=True)
    (problem,) = plan.problems
    assert problem.fatal and "1 of 12 frames is missing" in problem.message
    assert "--strict" in problem.hint
    assert not plan.recordings, "nothing more is made of the video"
    assert project.plan().done


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_without_its_file_of_frames_a_damaged_table_is_not_done(
    project: Project, damage: str
) -> None:
    finish(project)
    beside = frames_beside(project.out / "a" / "video_preds" / "cam.csv")
    if damage == "removed":
        beside.unlink()
    else:
        beside.write_text("frame,time_s,status\n")
    plan = project.plan()
    a, b = plan.recordings[0].videos[0].members
    assert not a.table.done and "its file of frames is" in a.table.reason
    assert b.table.done
    assert not a.damage and b.damage == COUNTED


def test_timestamps_of_a_finished_table(project: Project) -> None:
    finish(project, make_frames(12))
    plan = project.plan(timestamps=True)
    kinds = {step.name for step in plan.missing}
    assert "timestamps" in kinds and "table" not in kinds
    finish(project, make_frames(12), timestamps=True)
    assert project.plan(timestamps=True).done
    assert project.plan().done


def test_the_folder_of_frames_is_swept_of_what_killed_runs_left(project: Project) -> None:
    folders = project.plan().output_folders
    assert project.out / "a" / "video_preds" / "frames" in folders
