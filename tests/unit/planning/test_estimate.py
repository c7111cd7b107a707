"""How long a plan takes, from logs of earlier runs and from trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raypose.config import RunConfig
from raypose.pipeline import plan
from raypose.planning import Plan, estimate
from raypose.planning.estimate import _Run
from raypose.storage import run_log
from raypose.storage.trials import Trial, remember_trial
from tests.projects import Project

START = 1_700_000_000.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(estimate, "visible_gpus", lambda: 0)
    project = Project(tmp_path)
    project.video(n_frames=20)
    return project


@pytest.fixture
def write_log(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes events, each with the seconds since `START`, as a run in `out` does."""

    def write(*events: tuple[float, str, dict[str, Any]]) -> None:
        log = run_log.RunLog(project.out / "raypose")
        for seconds, name, content in events:
            monkeypatch.setattr(run_log.time, "time", lambda at=START + seconds: at)
            log.event(name, **content)
        log.close()
        monkeypatch.undo()

    return write


def finished(kind: str, seconds: float, work: int, **more: Any) -> dict[str, Any]:
    return {"task": f"{kind}/x", "kind": kind, "seconds": seconds, "work": work, **more}


def a_run(device: str = "cpu") -> list[tuple[float, str, dict[str, Any]]]:
    """Two seconds of start, and 100 frames in ten seconds by one worker."""
    return [
        (0, "planned", {}),
        (2, "started", {"on": "here"}),
        (2, "task started", {"task": "predict/x"}),
        (12, "task finished", finished("predict", 10.0, 100, facts={"device": device})),
        (12, "ended", {}),
    ]


def planned(project: Project, **values: Any) -> Plan:
    models = tuple(map(str, project.models))
    return plan(
        RunConfig(videos=str(project.videos), models=models, output_dir=project.out, **values)
    )


class TestFromTheLog:
    def test_nothing_is_known(self, project: Project) -> None:
        assert planned(project).estimate is None

    def test_the_same_work_takes_as_long(
        self, project: Project, write_log: Callable[..., None]
    ) -> None:
        write_log(*a_run())
        found = planned(project).estimate
        assert found is not None
        assert "in the same directory" in found.source
        # Two models × 20 frames at 0.1 s, and what else is made of the tables.
        assert 2 + 4 <= found.seconds < 2 + 6
        assert not found.predictions_alone

    def test_a_failed_task_tells_nothing(
        self, project: Project, write_log: Callable[..., None]
    ) -> None:
        events = a_run()
        events[3][2]["failures"] = [{"message": "broken"}]
        write_log(*events)
        assert planned(project).estimate is None

    def test_a_run_on_another_device_tells_nothing(
        self, project: Project, write_log: Callable[..., None]
    ) -> None:
        write_log(*a_run("cuda:0"))
        assert planned(project).estimate is None

    def test_logs_of_older_versions(
        self, project: Project, write_log: Callable[..., None]
    ) -> None:
        events = a_run()
        del events[3][2]["work"]
        write_log(*events)
        assert planned(project).estimate is None


def test_tasks_side_by_side() -> None:
    run = _Run(0.0, 1.0, 1.0, 11.0)
    run.seconds.update({"predict": 10, "label": 10})  # two at a time
    run.work.update({"predict": 100, "label": 100})
    assert run.seconds_for({"predict": 1000, "label": 1000}) == pytest.approx(100)
    # Metrics were not run: they cost 0.02 of a frame where predicting and drawing cost 1.4.
    assert run.seconds_for({"metrics": 7000}) == pytest.approx(7000 * 0.02 * 20 / 140 / 2)


class TestFromTrials:
    def remember(self, made: Plan, **changes: Any) -> None:
        for model in made.models:
            values = {"device": "cpu", "frames_per_s": 10.0, "pixels": 64 * 48, **changes}
            remember_trial(Trial(model.fingerprint, **values))

    def test_the_predictions_alone(self, project: Project) -> None:
        made = planned(project)
        video = made.recordings[0].videos[0].video
        pixels = video.width * video.height
        self.remember(made, pixels=pixels)
        found = planned(project).estimate
        assert found is not None
        assert (found.seconds, found.predictions_alone) == (2 * 20 / 10, True)
        assert "predictions take about 4 s (an estimate, from the trial" in str(planned(project))
        assert planned(project, address="head:6379").estimate is None
        self.remember(made, pixels=5 * pixels)
        assert planned(project).estimate is None
        self.remember(made, pixels=pixels, device="cuda")
        assert planned(project).estimate is None


def test_a_finished_plan_takes_no_time(project: Project) -> None:
    project.finish()
    made = planned(project)
    assert (made.done, made.estimate) == (True, None)
