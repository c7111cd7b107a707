"""What a run leaves beside its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raypose import pipeline
from raypose.results import RunResult
from tests.projects import Project
from tests.reports import describe_run


def test_the_file_of_an_ensemble_keeps_its_options(tmp_path: Path) -> None:
    """It is written again after each smoothing, with the options that were used."""
    project = Project(tmp_path)
    project.video()
    folder = project.root / "models" / "ensembles" / "mine"
    folder.mkdir(parents=True)
    text = "members: [a, b]\nsmooth_param: 4\nquantile_keep_pca: 50\n"
    (folder / "ensemble.yaml").write_text(text)
    plan = project.plan(models=(folder,), output_dir=tmp_path / "out")
    result = RunResult(plan, plan.run_dir)
    pipeline._describe_ensemble(result)
    assert not list((tmp_path / "out").rglob("ensemble.yaml"))  # nothing is smoothed yet
    result.made["smooth"] = ["eks/cam.csv"]
    pipeline._describe_ensemble(result)
    (path,) = (tmp_path / "out").rglob("ensemble.yaml")
    written = yaml.safe_load(path.read_text())
    assert (written["smooth_param"], written["quantile_keep_pca"]) == (4, 50)


def test_a_run_without_the_report_that_it_asked_for_has_failed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.video()
    result = RunResult(project.plan(), describe_run(tmp_path / "out", ["cam"], ["a"]))
    pipeline.write_report(result)
    assert result.ok and result.report == result.run_dir / "report.html"
    result.report.unlink()
    result.report.mkdir()  # in its way
    pipeline.write_report(result)
    (failure,) = result.failures
    assert failure.step == "report" and result.exit_code == 1


def test_the_description_of_a_run_in_parts() -> None:
    def part(**found: Any) -> dict[str, Any]:
        return {"config": found, "videos": [], "outputs": [], "problems": [], **found}

    first = part(
        videos=[{"key": "a", "path": "/v/a.mp4"}, {"key": "b", "path": "/v/b.mp4"}],
        outputs=[{"video": "a", "kind": "table"}],
        problems=[
            {"subject": "/v/b.mp4", "message": "is cut short"},
            {"subject": "model", "message": "is old"},
        ],
    )
    second = part(
        videos=[{"key": "b", "path": "/v/b.mp4"}],
        outputs=[{"video": "b", "kind": "table"}],
        problems=[{"subject": "model", "message": "is old"}],
    )
    both = pipeline._with_earlier_parts(second, first)
    assert [video["key"] for video in both["videos"]] == ["a", "b"]
    assert [output["video"] for output in both["outputs"]] == ["a", "b"]
    assert both["problems"] == [{"subject": "model", "message": "is old"}]
    assert both["config"] == second["config"]
