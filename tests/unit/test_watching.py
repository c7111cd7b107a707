"""A watch over a directory, with time that passes only when it sleeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raypose import pipeline, watching
from raypose.config import RunConfig
from raypose.errors import UsageError
from raypose.planning import plan_run
from raypose.results import RunResult
from raypose.watching import watch
from tests.projects import Project, commit_all

SETTLE_S = 10.0


class Rig:
    """Records videos while the watch sleeps, and stops it at the end.

    Attributes:
        runs: the videos of each run that had something to do, by their names.
        reports: how many runs there had been at each report.
        told: what the display was told that the watch waits for.
    """

    def __init__(self, project: Project, *scenes: Callable[[], object]) -> None:
        self.runs: list[list[str]] = []
        self.reports: list[int] = []
        self.told: list[str] = []
        self.n_results = 0
        self._project = project
        self._scenes = list(scenes)
        self._now_s = 0.0

    def watch(self, **values: Any) -> None:
        config = RunConfig(
            videos=(str(self._project.videos),), models=tuple(map(str, self._project.models)),
            output_dir=self._project.out, **{"inline": True, "metrics": False, **values},
        )  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            watch(
                config, settle_s=SETTLE_S, display=lambda: self, on_result=self._result,  # type: ignore[arg-type]
                sleep=self._sleep, clock=lambda: self._now_s,
            )  # fmt: skip

    def planning(self) -> None: ...

    def waiting(self, what: str) -> None:
        self.told.append(what)

    def ended(self) -> None:
        """Nothing to close."""

    def run(self, config: RunConfig, videos: Any, display: Any, *, continues: bool) -> RunResult:
        """In the place of `pipeline.run_some`: commits something under every output."""
        assert continues == bool(self.runs)
        assert config.run_dir == self._project.out / "raypose"
        plan = plan_run(config, run_dir=self._project.root / "run", only=videos)
        if plan.pending:
            self.runs.append(sorted(v.video.key for r in plan.pending for v in r.videos))
        for recording in plan.pending:
            commit_all(recording)
        return RunResult(plan, plan.run_dir)

    def report(self, result: RunResult) -> None:
        """In the place of `pipeline.write_report`."""
        self.reports.append(len(self.runs))

    def _result(self, result: RunResult) -> None:
        self.n_results += 1

    def _sleep(self, seconds: float) -> None:
        self._now_s += seconds
        if self._now_s % (3 * SETTLE_S) == 0:
            if not self._scenes:
                raise KeyboardInterrupt
            self._scenes.pop(0)()


class Clock:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return Project(tmp_path)


def start(project: Project, monkeypatch: pytest.MonkeyPatch, *scenes: Callable[[], object]) -> Rig:
    rig = Rig(project, *scenes)
    monkeypatch.setattr(pipeline, "run_some", rig.run)
    monkeypatch.setattr(pipeline, "write_report", rig.report)
    return rig


def test_videos_are_processed_as_they_arrive(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = project.videos / "late.mp4"

    def record() -> None:
        project.video("late.mp4")
        content = unfinished.read_bytes()
        unfinished.write_bytes(content[: content.index(b"moov") - 4])

    def finish() -> None:
        unfinished.unlink()
        project.video("late.mp4")

    rig = start(project, monkeypatch, lambda: project.video("a.mp4"), record, finish)
    rig.watch()
    assert rig.runs == [["a"], ["late"]]
    assert rig.reports == [1, 2]
    assert rig.told[0] == "Waiting for videos, 0 processed"
    assert any("1 still changing (late.mp4)" in text for text in rig.told)
    assert any("1 not finished (late.mp4: the recording was never" in text for text in rig.told)
    assert rig.told[-1] == "Waiting for videos, 2 processed"


def test_a_watch_that_is_started_again_redoes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.video("a.mp4")
    start(project, monkeypatch, lambda: None).watch()
    rig = start(project, monkeypatch, lambda: project.video("b.mp4"))
    rig.watch()
    assert rig.runs == [["b"]]
    assert rig.n_results == 2  # that of the finished video says so


def test_the_report_waits_for_the_end_of_a_backlog_but_not_for_long(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.video("a.mp4")
    reports = watching._Reports(clock := Clock())
    written: list[RunResult] = []
    monkeypatch.setattr(pipeline, "write_report", written.append)
    done = RunResult(project.plan(), project.root)
    reports.write(more_to_come=False)
    assert written == []  # nothing was done yet
    reports.add(done)
    reports.write(more_to_come=True)
    assert written == []
    clock.now_s += watching.REPORT_EVERY_S
    reports.write(more_to_come=True)
    assert written == [done]
    reports.write(more_to_come=False)
    assert written == [done]  # it shows nothing new
    project.finish()
    reports.add(RunResult(project.plan(), project.root))
    reports.write(more_to_come=False)
    assert written == [done] and reports.n_parts == 1  # the part had nothing to do


def test_videos_of_one_name_in_several_folders(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.videos / "day1").mkdir()
    (project.videos / "day2").mkdir()
    rig = start(
        project, monkeypatch,
        lambda: project.video("day1/cam.mp4"), lambda: project.video("day2/cam.mp4"),
    )  # fmt: skip
    rig.watch(recursive=True)
    (first,), (second,) = rig.runs
    assert first == "cam" and second != first


def test_views_that_arrive_one_after_the_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = start(
        project, monkeypatch,
        lambda: project.video("s_top.mp4"), lambda: project.video("s_side.mp4"),
    )  # fmt: skip
    rig.watch(views="top,side", eks=True)
    assert rig.runs == [["s_top"], ["s_side", "s_top"]]


def test_a_place_that_does_not_exist(project: Project) -> None:
    config = RunConfig(videos="nowhere", models=("a",), inline=True)
    with pytest.raises(UsageError, match="no such file"):
        watch(config, display=lambda: None, on_result=lambda result: None)


def test_a_list_of_sessions_is_refused(project: Project) -> None:
    config = RunConfig(sessions=project.root / "s.csv", models=("a",))
    with pytest.raises(UsageError, match="--sessions"):
        watch(config, display=lambda: None, on_result=lambda result: None)
