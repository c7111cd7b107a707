"""Skeletons as files and configs name them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from raypose.errors import ModelError, UsageError
from raypose.inputs.models import open_model
from raypose.inputs.skeleton import as_skeleton, read_skeleton
from tests.projects import Project, fake_model

BONES = [["nose", "paw"], ["paw", "tail"]]
PAIRS = (("nose", "paw"), ("paw", "tail"))


@pytest.mark.parametrize("content", [BONES, {"Task": "x", "skeleton": BONES, "pcutoff": 0.6}])
def test_a_list_alone_or_in_a_project_s_config(tmp_path: Path, content: object) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert read_skeleton(tmp_path / "config.yaml") == PAIRS


@pytest.mark.parametrize(
    "content", ["", "skeleton: []", "skeleton: nose", "- [nose]", "bones: [[a, b]]", "- a\n- b"]
)
def test_a_file_without_a_skeleton(tmp_path: Path, content: str) -> None:
    (tmp_path / "file.yaml").write_text(content)
    with pytest.raises(UsageError, match="holds no skeleton") as caught:
        read_skeleton(tmp_path / "file.yaml")
    assert "DeepLabCut" in caught.value.hint


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        read_skeleton(tmp_path / "none.yaml")


def test_a_model_s_config_may_name_one(tmp_path: Path) -> None:
    assert open_model(fake_model(tmp_path / "a")).skeleton == ()
    assert open_model(fake_model(tmp_path / "b", data={"skeleton": BONES})).skeleton == PAIRS
    odd = fake_model(tmp_path / "c", data={"skeleton": [["nose"]]})
    with pytest.raises(ModelError, match=r"data\.skeleton.*must be a list of pairs"):
        open_model(odd)


def test_pairs() -> None:
    assert as_skeleton(None) == ()
    assert as_skeleton([[1, 2]]) == (("1", "2"),)


class TestPlanned:
    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
        monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
        project = Project(tmp_path)
        project.video()
        return project

    def test_labelled_videos_are_redone_with_other_settings(self, project: Project) -> None:
        project.finish(label=("full", "snippet"))
        assert project.plan(label=("full", "snippet")).done
        (project.root / "bones.yaml").write_text(yaml.safe_dump(BONES))
        for change in (
            {"skeleton": str(project.root / "bones.yaml")},
            {"trail": 10},
            {"legend": False},
            {"colors": "colormap"},
        ):
            plan = project.plan(label=("full", "snippet"), **change)
            # The report's pictures have the same colours, and nothing else that these change.
            pictures = {"review"} if "colors" in change else set()
            assert {step.name for step in plan.missing} == {"label", "snippet"} | pictures, change

    def test_a_skeleton_of_other_keypoints_is_told_of(self, project: Project) -> None:
        path = project.root / "bones.yaml"
        path.write_text(yaml.safe_dump([["nose", "whisker"]]))
        assert not project.plan(skeleton=str(path)).problems, "nothing is drawn"
        problems = project.plan(skeleton=str(path), label="full").problems
        assert [problem.fatal for problem in problems] == [False, False]
        assert "names whisker, which a does not have" in problems[0].message
