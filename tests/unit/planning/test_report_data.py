"""Which tables get pictures for the report: one of each video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raypose.steps import Review
from tests.projects import Project


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
