"""Which settings make an output stale: what was done counts, not by which words it was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose.planning import Plan, RecordingPlan
from raypose.planning.model import OutputPlan, Planned, VideoPlan
from raypose.steps.label import Label
from raypose.steps.worst import Worst
from raypose.storage.provenance import as_done
from tests.projects import Project, commit_all, fake_model

EVERYTHING: dict[str, Any] = {"eks": True, "label": ("full", "snippet")}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.video()
    return made


def tables(plan: Plan) -> list[Planned]:
    return [output.table for output in plan.outputs]


@pytest.mark.parametrize(
    ("first", "then", "done"),
    [
        ("auto", "fp32", True),
        ("fp32", "auto", True),
        ("auto", "fp16", False),
        ("fp16", "auto", False),
        ("bf16", "fp16", False),
        ("fp16", "fp16", True),
    ],
)
def test_precision(project: Project, first: str, then: str, done: bool) -> None:
    project.finish(precision=first, **EVERYTHING)
    plan = project.plan(precision=then, **EVERYTHING)
    assert plan.done is done
    if not done:
        assert "precision" in tables(plan)[0].reason


def test_the_record_holds_what_auto_came_to(project: Project) -> None:
    assert tables(project.plan(precision="auto"))[0].step.provenance["precision"] == "fp32"


def with_table(recording: RecordingPlan, change: Any) -> RecordingPlan:
    """The recording with another provenance for the models' tables, and no other outputs."""

    def output(of: OutputPlan) -> OutputPlan:
        step = replace(of.table.step, provenance=change(of.table.step.provenance))
        return replace(of, table=replace(of.table, step=step), more=())

    def video(of: VideoPlan) -> VideoPlan:
        return replace(of, members=tuple(map(output, of.members)), smoothed=None)

    return replace(recording, videos=tuple(map(video, recording.videos)))


@pytest.mark.parametrize(
    ("asked", "used", "then", "done"),
    [
        ("nvdec", "cpu", "cpu", True),
        ("nvdec", "cpu", "nvdec", True),
        ("nvdec", "nvdec", "cpu", False),
        ("cpu", "cpu", "nvdec", False),
    ],
)
def test_decoder(project: Project, asked: str, used: str, then: str, done: bool) -> None:
    session = project.plan(metrics=False, decoder=asked).recordings[0]
    commit_all(
        with_table(session, lambda provenance: as_done(provenance, precision="fp32", decoder=used))
    )
    assert project.plan(metrics=False, decoder=then).done is done


def test_what_is_made_of_a_table_names_it_as_it_is(project: Project) -> None:
    """Else everything that was drawn of it would be drawn again with the other word for it."""
    asked = {"metrics": False, "decoder": "nvdec"}
    session = project.plan(**asked).recordings[0]
    fallen_back = with_table(
        session, lambda provenance: as_done(provenance, precision="fp32", decoder="cpu")
    )
    commit_all(fallen_back)
    project.finish(decoder="nvdec", **EVERYTHING)
    assert project.plan(decoder="cpu", **EVERYTHING).done
    assert project.plan(decoder="nvdec", **EVERYTHING).done


def test_a_model_of_several_views_depends_on_all_of_them(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for view in ("left", "right"):
        project.video(f"s_{view}.mp4")
    model = fake_model(
        tmp_path / "mv",
        model_type="heatmap_multiview_transformer",
        backbone="vits_dino",
        view_names=("left", "right"),
    )
    given: dict[str, Any] = {"models": (str(model),), "metrics": False}
    project.finish(**given)
    assert project.plan(**given).done
    project.video("s_right.mp4", fps=10)
    plan = project.plan(**given)
    assert [step.done for step in tables(plan)] == [False, False]
    assert "views" in tables(plan)[0].reason


@pytest.mark.parametrize("asked", [{"label": "full"}, {"worst": 2}])
def test_clips_of_worst_moments_are_drawn_as_labelled_videos_are(
    project: Project, tmp_path: Path, asked: dict[str, Any]
) -> None:
    skeleton = tmp_path / "skeleton.yaml"
    skeleton.write_text("skeleton: [[nose, paw]]")
    plan = project.plan(skeleton=skeleton, trail=5, **asked)
    (drawn,) = {step.style for step in plan.missing if isinstance(step, Label | Worst)}
    assert (drawn.skeleton, drawn.trail, drawn.legend) == ((("nose", "paw"),), 5, True)
