"""Plans and results at a prompt and in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypose.results import RunResult
from tests.projects import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    project = Project(tmp_path)
    project.video("<b> cam.mp4")
    return project


def test_a_plan_shows_its_table(project: Project) -> None:
    plan = project.plan()
    assert "To do for 1 of 1 videos: 2 × predictions, 2 × metrics" in str(plan)
    assert repr(plan) == str(plan)
    assert "\x1b" not in str(plan)
    html = plan._repr_html_()
    assert html.startswith("<pre") and "2 × predictions" in html
    assert "&lt;b&gt; cam" in html, "a file's name is no markup"


def test_a_result_shows_its_table(project: Project) -> None:
    plan = project.plan()
    result = RunResult(plan, plan.run_dir, made={"table": ["/o/a.csv"]}, seconds=75)
    assert "1 file in 1 min 15 s" in str(result) and "predictions" in repr(result)
    assert "1 file in 1 min 15 s" in result._repr_html_()
