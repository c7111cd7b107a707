"""Which tables get pictures for the report, and clips: the smoothed ones where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raypose.planning import Plan
from raypose.steps import Review, Worst
from tests.projects import Project, fake_model


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"a": True, "b": False}),
        ({"eks": True}, {"a": False, "b": False, "eks": True}),
        ({"report": False, "eks": True}, {}),
    ],
)
def test_one_table_of_each_video_has_pictures(
    tmp_path: Path, settings: dict[str, Any], expected: dict[str, bool]
) -> None:
    project = Project(tmp_path)
    project.video()
    plan = project.plan(**settings)
    steps = {owner: p.step for owner, p in plan.steps if isinstance(p.step, Review)}
    assert {owner: step.stills for owner, step in steps.items()} == expected


def with_pictures(plan: Plan) -> set[tuple[str, str]]:
    """Video and owner of each table that the report shows pictures of."""
    steps = [(owner, p.step) for owner, p in plan.steps]
    return {(s.video.key, owner) for owner, s in steps if isinstance(s, Review) and s.stills}


def with_clips(plan: Plan) -> set[tuple[str, str]]:
    """Video and owner of each table that clips are cut for."""
    return {(p.step.video.key, owner) for owner, p in plan.steps if isinstance(p.step, Worst)}


def test_a_recording_that_lacks_a_view_has_those_of_its_models(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for name in ("r1_top.mp4", "r1_side.mp4", "r2_top.mp4"):
        project.video(name)
    plan = project.plan(eks=True, views=("top", "side"), worst=2)
    smoothed = {("r1_top", "eks"), ("r1_side", "eks")}
    assert with_pictures(plan) == smoothed | {("r2_top", "a")}
    assert with_clips(plan) == smoothed | {("r2_top", "a"), ("r2_top", "b")}


def test_a_recording_that_can_not_be_smoothed_has_those_of_its_models(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.video()
    plan = project.plan(eks=True, eks_options={"mode": "multicam"}, worst=2)
    (problem,) = plan.problems
    assert problem.fatal
    assert with_pictures(plan) == {("cam", "a")}
    assert with_clips(plan) == {("cam", "a"), ("cam", "b")}


def test_pictures_are_not_of_a_model_that_takes_all_views_where_one_is_missing(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path)
    project.video("r1_top.mp4")
    views = ("top", "side")
    several = fake_model(
        tmp_path / "models" / "0", model_type="heatmap_multiview_transformer", view_names=views
    )
    plan = project.plan(models=(str(several), *map(str, project.models)), views=views)
    assert with_pictures(plan) == {("r1_top", "a")}
