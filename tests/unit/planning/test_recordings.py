"""From arguments to recordings: what a plan says of files that are no inputs, and of names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raypose.errors import UsageError
from raypose.planning import Plan
from tests.projects import Project, commit_all
from tests.videos import make_sound, truncate


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def keys(plan: Plan) -> list[str]:
    return [video.video.key for session in plan.recordings for video in session.videos]


def notes(plan: Plan) -> list[str]:
    return [problem.message for problem in plan.problems if not problem.fatal]


def fatal(plan: Plan) -> list[tuple[str, str]]:
    return [(Path(p.subject).name, p.message) for p in plan.problems if p.fatal]


@pytest.mark.parametrize("layout", ["app", "pose-app"])
def test_outputs_below_the_videos_are_no_inputs_of_the_next_run(
    project: Project, layout: str
) -> None:
    project.video()
    values = {
        "output_dir": project.videos / "out",
        "recursive": True,
        "label": ("full", "snippet"),
        "layout": layout,
    }
    project.finish(**values)
    plan = project.plan(**values)
    assert keys(plan) == ["cam"]
    assert plan.done
    (note,) = plan.problems
    assert not note.fatal
    # For each of two models the whole video, the snippet, and the snippet drawn.
    assert note.message.startswith("6 files are left out: outputs of raypose (cam")
    assert "Copy" in note.hint


def test_a_list_of_sessions_may_not_name_outputs(project: Project) -> None:
    project.video()
    made = project.finish(label=("snippet",))
    clip = next(path for path in made if path.name == "cam.short.mp4")
    listed = project.root / "sessions.csv"
    listed.write_text(f"session,top,side\nm,videos/cam.mp4,{clip}\n")
    with pytest.raises(UsageError, match="made itself") as caught:
        project.plan(videos=(), sessions=listed)
    assert caught.value.path == str(listed)


class TestFilesThatAreNoVideos:
    def test_sound_and_texts_are_counted(self, project: Project) -> None:
        project.video()
        make_sound(project.videos / "talk.webm")
        make_sound(project.videos / "talk2.mp4", cover=True)
        (project.videos / "index.ts").write_text("export {};\n")
        plan = project.plan()
        assert keys(plan) == ["cam"]
        assert fatal(plan) == []
        assert notes(plan) == [
            "3 files are left out: no video track in them (index.ts, talk.webm, talk2.mp4)"
        ]

    def test_a_broken_video_is_not_taken_for_one(self, project: Project) -> None:
        truncate(project.video(), project.videos / "cut.mp4", 0.4)
        (project.videos / "torn.ts").write_bytes(os.urandom(5000))
        plan = project.plan()
        assert [name for name, _ in fatal(plan)] == ["cut.mp4", "torn.ts"]
        assert notes(plan) == []

    def test_one_that_is_named_is_a_failure(self, project: Project) -> None:
        sound = make_sound(project.videos / "talk.mp4")
        plan = project.plan(videos=(str(sound),))
        assert fatal(plan) == [("talk.mp4", "there is no video track in the file")]

    def test_nothing_else_there(self, project: Project) -> None:
        make_sound(project.videos / "talk.mp4")
        with pytest.raises(UsageError, match=r"no video there: 1 file .*\(talk.mp4\)"):
            project.plan()

    def test_a_view_without_a_video_is_missing(self, project: Project) -> None:
        project.video("r1_top.mp4")
        make_sound(project.videos / "r1_side.mp4")
        plan = project.plan(views=("top", "side"), eks=True)
        assert fatal(plan) == [("r1", "lacks the view side")]
        assert keys(plan) == ["r1_top"]


class TestLinks:
    def test_a_link_that_leads_nowhere_fails_by_name(self, project: Project) -> None:
        project.video()
        (project.videos / "day2").symlink_to(project.root / "unmounted" / "day2")
        (project.videos / "b.mp4").symlink_to(project.root / "gone.mp4")
        plan = project.plan(recursive=True)
        assert keys(plan) == ["cam"]
        assert [name for name, _ in fatal(plan)] == ["b.mp4", "day2"]
        assert all("leads nowhere" in message for _, message in fatal(plan))

    def test_nothing_but_broken_links(self, project: Project) -> None:
        (project.videos / "b.mp4").symlink_to(project.root / "gone.mp4")
        plan = project.plan()
        assert plan.done and [name for name, _ in fatal(plan)] == ["b.mp4"]

    def test_one_part_of_a_job_names_it(self, project: Project) -> None:
        project.video()
        (project.videos / "b.mp4").symlink_to(project.root / "gone.mp4")
        plans = [project.plan(shard=(i, 3)) for i in range(3)]
        assert [len(fatal(plan)) for plan in plans] == [1, 0, 0]

    def test_linked_directories_hold_videos(self, project: Project) -> None:
        project.video("day1/cam.mp4")
        (project.root / "disk").mkdir()
        os.replace(project.videos / "day1", project.root / "disk" / "day1")
        (project.videos / "day1").symlink_to(project.root / "disk" / "day1")
        plan = project.plan(recursive=True)
        assert [v.video.path for s in plan.recordings for v in s.videos] == [
            str(project.videos / "day1" / "cam.mp4")
        ]


class TestNames:
    @pytest.mark.parametrize("layout", ["app", "pose-app"])
    @pytest.mark.parametrize("below_models", [False, True])
    def test_a_new_video_leaves_what_is_done(
        self, project: Project, layout: str, below_models: bool
    ) -> None:
        values = {"recursive": True, "layout": layout, "label": ("snippet",)}
        if below_models:
            values["output_dir"] = None
        project.video("day1/cam.mp4")
        project.finish(**values)
        project.video("day2/cam.mp4", n_frames=9)
        plan = project.plan(**values)
        assert keys(plan) == ["cam", "day2/cam"]
        assert [session.key for session in plan.pending] == ["day2/cam"]
        assert plan.problems == ()
        project.finish(**values)
        (project.videos / "day1" / "cam.mp4").unlink()
        assert keys(project.plan(**values)) == ["day2/cam"]
        assert project.plan(**values).done

    def test_parts_of_a_job_agree_while_the_others_commit(self, project: Project) -> None:
        project.video("day1/cam.mp4")
        project.finish(recursive=True)
        for i in range(2, 6):
            project.video(f"day{i}/cam.mp4", n_frames=6 + i)
        done: list[str] = []
        for i in range(3):
            part = project.plan(recursive=True, shard=(i, 3))
            assert part.problems == ()
            done += keys(part)
            for session in part.recordings:
                commit_all(session)
        assert sorted(done) == ["cam", *(f"day{i}/cam" for i in range(2, 6))]
        assert project.plan(recursive=True).done

    def test_a_recording_keeps_the_name_of_its_parameters(self, project: Project) -> None:
        values = {"recursive": True, "views": ("top", "side"), "eks": True}
        for view in ("top", "side"):
            project.video(f"day1/r1_{view}.mp4")
        project.finish(**values)
        for view in ("top", "side"):
            project.video(f"day2/r1_{view}.mp4", n_frames=9)
        plan = project.plan(**values)
        assert [session.key for session in plan.recordings] == ["r1", "day2/r1"]
        assert [session.key for session in plan.pending] == ["day2/r1"]
        assert keys(plan) == ["r1_top", "r1_side", "day2/r1_top", "day2/r1_side"]

    def test_an_ensembles_own_folder_counts_too(self, project: Project) -> None:
        values = {"recursive": True, "eks": True, "eks_dir": project.root / "smooth"}
        project.video("day1/cam.mp4")
        made = project.finish(**values)
        for path in made:  # the members were predicted again elsewhere
            if "smooth" not in path.parts:
                path.unlink()
                (path.parent / ".raypose" / f"{path.name}.json").unlink()
        project.video("day2/cam.mp4", n_frames=9)
        assert keys(project.plan(**values)) == ["cam", "day2/cam"]
