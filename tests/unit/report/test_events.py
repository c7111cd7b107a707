"""Events of a run, one per line."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from raypose.errors import Failure
from raypose.report import events
from raypose.report.events import JsonDisplay
from raypose.results import RunResult
from raypose.specs import Progress
from raypose.steps import Summary
from tests.projects import Project
from tests.tasks import make_task

DOCUMENTED = Path(__file__).parents[3] / "docs" / "events.md"


def lines(file: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The events of a small run."""
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    project = Project(tmp_path)
    project.video()
    (project.videos / "empty.mp4").touch()
    plan = project.plan()
    file, now = io.StringIO(), [0.0]
    display = JsonDisplay(file, lambda: now[0])
    task = make_task("predict/cam/a", gpu=True, n_frames=100)
    display.waiting("Starting Ray")
    display.waiting("Starting Ray")
    display.planned(plan)
    display.started("1 GPU", [task])
    for n in (0, 10, 20):  # the second one comes too soon
        display.progress(task, Progress(task.id, n, 100, "lab:7 gpu 0"))
        now[0] += 0.6
    failure = Failure("predict", "no\\nframes", "/v/\udce9.mp4")
    stats = {"n_frames": 100}
    summary = Summary(task.id, ("/o/x.csv",), stats, (failure,), ("odd",), 2.5, "lab:7 gpu 0")
    display.lost("lab:9", "its worker process died")
    display.finished(task, summary)
    display.ended()
    result = RunResult(plan, plan.run_dir, {"table": ["/o/x.csv"]}, [failure], n_frames=100)
    display.write("result", events.result(result))
    return lines(file)


def test_one_event_per_line(told: list[dict[str, Any]]) -> None:
    assert [event["event"] for event in told] == [
        "waiting", "planned", "started", "task started", "progress", "worker lost",
        "task finished", "result",
    ]  # fmt: skip
    waiting, planned, started, begun, progress, lost, finished, result = told
    assert waiting["what"] == "Starting Ray"
    assert (planned["n_videos"], planned["n_pending_videos"]) == (1, 1)
    assert [problem["message"] for problem in planned["problems"]] == ["the file is empty"]
    assert (started["n_tasks"], started["n_frames"]) == (1, 100)
    assert (begun["kind"], begun["worker"]) == ("predict", "lab:7 gpu 0")
    assert (progress["n_done"], progress["n_total"]) == (20, 100)
    assert lost["reason"] == "its worker process died"
    assert finished["failures"][0]["path"] == "/v/\udce9.mp4"
    assert (finished["made"], finished["warnings"]) == (["/o/x.csv"], ["odd"])
    assert (result["exit_code"], result["made"]) == (1, {"table": ["/o/x.csv"]})


def test_every_field_is_documented(told: list[dict[str, Any]]) -> None:
    text = DOCUMENTED.read_text()
    for event in told:
        (section,) = re.findall(rf"^## `{event['event']}`$(.*?)(?=^## |\Z)", text, re.M | re.S)
        known = set(re.findall(r"`(\w+)`", section)) | {"time", "event"}
        assert set(event) <= known, event["event"]
