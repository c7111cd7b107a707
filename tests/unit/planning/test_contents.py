"""Outputs and the videos they were made from: which changes make them stale."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose.inputs.probe import probe
from raypose.planning import Plan
from raypose.planning.contents import Contents
from raypose.planning.model import Planned
from raypose.specs import VideoSpec
from raypose.storage import digests, identity_of
from raypose.storage.identity import Identity
from raypose.storage.records import read_record
from tests.projects import Project, commit_all, read_of
from tests.videos import damage_unsampled, large_video, make_video

EVERYTHING: dict[str, Any] = {"eks": True, "label": ("full", "snippet"), "timestamps": True}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(digests, "_contents", {})


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A video, and a damaged copy that has the same fingerprint, size and times."""
    folder = tmp_path_factory.mktemp("large")
    intact = large_video(folder / "intact.mp4")
    return intact, damage_unsampled(intact, folder / "damaged.mp4")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def standing(plan: Plan) -> list[tuple[str, Planned]]:
    return [(output.owner.name, planned) for output in plan.outputs for planned in output.steps]


def not_done(plan: Plan) -> set[tuple[str, str]]:
    return {(owner, planned.step.name) for owner, planned in standing(plan) if not planned.done}


def reasons(plan: Plan) -> set[str]:
    return {planned.reason for _, planned in standing(plan)}


def all_steps(plan: Plan) -> set[tuple[str, str]]:
    return {(owner, planned.step.name) for owner, planned in standing(plan)}


class TestReplaced:
    def test_by_a_file_that_differs_between_the_samples(
        self, project: Project, large: tuple[Path, Path]
    ) -> None:
        intact, damaged = large
        path = shutil.copy2(damaged, project.videos / "cam.mp4")
        project.finish(**EVERYTHING)
        assert project.plan(**EVERYTHING).done
        shutil.copy2(intact, path)
        assert identity_of(path).looks_like(identity_of(intact))
        plan = project.plan(**EVERYTHING)
        assert not_done(plan) == all_steps(plan), "nothing is left of the other video"
        assert reasons(plan) == {"made before the video changed"}
        assert not plan.problems

    def test_by_an_equal_copy(self, project: Project, large: tuple[Path, Path]) -> None:
        path = project.videos / "cam.mp4"
        shutil.copy(large[0], path)
        project.finish(**EVERYTHING)
        shutil.copy(large[0], path.with_name("copy"))
        os.replace(path.with_name("copy"), path)
        assert project.plan(**EVERYTHING).done

    def test_it_is_compared_once(
        self, project: Project, large: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = Path(shutil.copy(large[0], project.videos / "cam.mp4"))
        project.finish(**EVERYTHING)
        os.utime(path, ns=(1, 1))
        read = []
        digest = digests._xxh3
        monkeypatch.setattr(digests, "_xxh3", lambda *args: (read.append(1), digest(*args))[1])
        assert project.plan(**EVERYTHING).done
        assert len(read) == 1, "for all outputs together"
        digests._contents.clear()
        assert project.plan(**EVERYTHING).done
        assert len(read) == 1, "and for later plans"

    def test_an_unchanged_file_is_not_read(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.video()
        project.finish(**EVERYTHING)
        monkeypatch.setattr(digests, "_xxh3", None)
        digests._contents.clear()
        assert project.plan(**EVERYTHING).done


class TestUndecodableFrames:
    @pytest.mark.parametrize("how", ["touched", "copied", "moved"])
    def test_any_change_makes_it_stale(self, project: Project, tmp_path: Path, how: str) -> None:
        path = project.video()
        session = project.plan(**EVERYTHING).recordings[0]
        commit_all(session, n_bad=3)
        assert project.plan(**EVERYTHING).done
        if how == "touched":
            path.touch()
        elif how == "copied":
            shutil.copy2(path, tmp_path / "copy")
            os.replace(tmp_path / "copy", path)
        else:
            os.rename(path, tmp_path / "elsewhere.mp4")
            os.rename(tmp_path / "elsewhere.mp4", path)
        plan = project.plan(**EVERYTHING)
        assert not_done(plan) == all_steps(plan)
        assert reasons(plan) == {"made before the video changed, of which 3 frames were damaged"}


class TestCopiedTree:
    def test_it_is_done_elsewhere(self, tmp_path: Path, large: tuple[Path, Path]) -> None:
        (tmp_path / "here").mkdir()
        here = Project(tmp_path / "here")
        here.video("small.mp4")
        shutil.copy(large[0], here.videos / "cam.mp4")
        here.finish(**EVERYTHING)
        there = tmp_path / "there"
        shutil.copytree(here.root, there)
        given = {
            "videos": (str(there / "videos"),),
            "models": tuple(str(there / "models" / name) for name in "ab"),
            "output_dir": there / "out",
        }
        assert here.plan(**given, **EVERYTHING).done
        shutil.rmtree(tmp_path / "here" / "videos")
        plan = here.plan(**given, **EVERYTHING)
        assert plan.done
        assert not plan.problems


class TestViews:
    def test_one_view_that_changed_makes_stale_what_was_smoothed(self, project: Project) -> None:
        views = {"views": ("left", "right"), "eks": True, "metrics": False}
        project.video("s_left.mp4")
        right = project.video("s_right.mp4", n_frames=12, fps=10)
        project.finish(**views)
        assert project.plan(**views).done
        session = project.plan(**views).recordings[0]
        stale = Contents(
            [spec for plan in session.videos for spec in [changed(plan.video, right)]]
        )
        smoothed = [plan.smoothed.path for plan in session.videos if plan.smoothed]
        assert [bool(stale.why_stale(record_of(path))) for path in smoothed] == [True, True]
        tables = [plan.members[0].path for plan in session.videos]
        assert [bool(stale.why_stale(record_of(path))) for path in tables] == [False, True]


def changed(video: VideoSpec, path: Path) -> VideoSpec:
    """The video as another file, if it is this one."""
    if video.path != str(path):
        return video
    return replace(video, identity=Identity(1, mtime_ns=1))


def record_of(output: str) -> dict[str, Any]:
    record = read_record(Path(output))
    assert record is not None
    return record


def test_a_record_that_names_no_file_says_nothing_of_any() -> None:
    assert "did not record" in Contents([]).why_stale({})


def test_a_file_that_can_not_be_compared_is_stale(tmp_path: Path) -> None:
    path = make_video(tmp_path / "cam.mp4", n_frames=3)
    video = probe(path, "cam")
    assert video.identity is not None
    read = replace(read_of(video), identity=Identity(video.identity.size, inode=0))
    digests._contents.clear()
    record = {"videos": [read.as_dict()]}
    assert Contents([video]).why_stale(record) == ""
    digests._contents.clear()
    shutil.rmtree(os.environ["RAYPOSE_CACHE_DIR"])
    path.unlink()
    assert "can't be compared" in Contents([video]).why_stale(record)
