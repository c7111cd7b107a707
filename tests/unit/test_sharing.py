"""What a run does with recordings that others have, had or are about to have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose import pipeline
from raypose.config import RunConfig
from raypose.errors import StorageError, UsageError
from raypose.execution.events import Claimed, Held, Postponed, Replanned
from raypose.planning import plan_tasks
from raypose.results import Recorder, RunResult
from raypose.sharing import SharedWork, claiming, claims_folder, own_run_dir
from raypose.steps import Summary
from raypose.storage import run_log
from raypose.storage.claims import STALE_S, Claims, Holder, runs_in
from tests.projects import Project, commit_all

MODELS = {"metrics": False, "eks": True}


class Driver:
    """A run up to its executor, on a node of the given name."""

    def __init__(self, project: Project, node: str, **values: Any) -> None:
        self.plan = project.plan(**{**MODELS, **values})
        self.result = RunResult.of(self.plan)
        me = Holder.this_process(overwrites=self.plan.config.overwrite)
        me = replace(me, host=node, machine=node)
        self.claims = Claims(claims_folder(self.plan.config), me, beat_s=1e6)
        self.log = run_log.RunLog(project.root / node)
        self.now = 0.0

    def __enter__(self) -> Driver:
        self.claims.__enter__()
        self.tasks = plan_tasks(self.plan, 1)
        by_id = {task.id: task for of_one in self.tasks for task in of_one}
        self.recorder = Recorder(by_id, self.result, self.log, None)
        self.work = SharedWork(
            self.claims, self.result, self.tasks, self.recorder, n_gpus=1, clock=lambda: self.now
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.claims.__exit__()
        self.log.close()

    def claim(self, recording: str, *, ahead: bool = False) -> object:
        answer = self.work.claim(recording, ahead)
        if isinstance(answer, Replanned):
            self.work.replanned(answer)
        return answer

    def finish(self, recording: str) -> None:
        """All its tasks, as planned first."""
        for plan in self.plan.recordings:
            if plan.key == recording:
                commit_all(plan)
        for of_one in self.tasks:
            for task in of_one:
                if task.recording == recording:
                    self.work.finished(Summary(task.id))

    def waited_for(self) -> list[str]:
        events = run_log.read_events(self.log.directory)
        return [event["what"] for event in events if event["event"] == "waiting"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    for name in ("cam1.mp4", "cam2.mp4"):
        project.video(name, n_frames=12 + len(name))
    return project


def test_a_recording_of_another_run_is_waited_for_and_not_redone(project: Project) -> None:
    with Driver(project, "node1") as first, Driver(project, "node2") as second:
        assert first.claim("cam1") == Claimed("cam1")
        assert second.claim("cam1") == Held("cam1")
        assert second.waited_for() == []  # it has another one to do
        assert second.claim("cam2") == Claimed("cam2")
        second.finish("cam2")
        assert second.claim("cam1") == Held("cam1")
        by = f"node1, process {os.getpid()}"
        assert second.waited_for() == [f"1 recording is being done by another run ({by})"]
        first.claims.others_seen = True  # as after its next heartbeat
        first.finish("cam1")
        answer = second.claim("cam1")
        assert isinstance(answer, Replanned) and answer.added == ()
        assert {task.recording for task in answer.dropped} == {"cam1"}
        assert second.result.elsewhere == {"cam1": by}
        assert second.result.n_videos_elsewhere == 1 and second.result.ok
        assert second.recorder.running() == {}


def test_what_ended_before_a_run_was_noticed_is_looked_at_again(project: Project) -> None:
    """The first run does not know of the second, and leaves no mark."""
    with Driver(project, "node1") as first, Driver(project, "node2") as second:
        first.claim("cam1")
        first.finish("cam1")
        assert not first.claims.others_seen and second.claims.others_seen
        answer = second.claim("cam1")
        assert isinstance(answer, Replanned) and answer.added == ()
        assert second.result.elsewhere == {"cam1": ""}


def test_a_single_run_looks_at_nothing_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driver(project, "node1") as run:
        monkeypatch.setattr(run.work, "_look_again", lambda shared: pytest.fail("it looks"))
        assert run.claim("cam1") == Claimed("cam1")
        run.finish("cam1")
        assert run.claim("cam2") == Claimed("cam2")


def test_what_a_dead_run_began_is_continued(project: Project) -> None:
    """Its predictions are there; only the rest is done."""
    with Driver(project, "node2", eks=True) as second:
        dead = Driver(project, "node1", eks=False)
        dead.__enter__()
        dead.claim("cam1")
        dead.finish("cam1")
        dead.claims.others_seen = True
        dead.claim("cam2")
        path = dead.claims._run_file(dead.claims.me.run)
        path.unlink()
        # `cam1` was given back; of `cam2` nothing is finished.
        answer = second.claim("cam1")
        assert isinstance(answer, Replanned)
        assert {task.step.name for task in answer.added} == {"load", "smooth"}
        assert second.claim("cam2") == Claimed("cam2")
        assert second.result.elsewhere == {}
        dead.__exit__()


def test_other_settings_are_redone_after_the_other_run(project: Project) -> None:
    with (
        Driver(project, "node1", eks=False) as first,
        Driver(project, "node2", eks=False, precision="fp16") as second,
    ):
        first.claim("cam1")
        assert second.claim("cam1") == Held("cam1")
        first.claims.others_seen = True
        first.finish("cam1")
        answer = second.claim("cam1")
        assert isinstance(answer, Replanned)  # by the same tasks, with what records tell
        assert [t.id for t in answer.added] == [t.id for t in answer.dropped]
        assert first.claim("cam2") == Claimed("cam2")


def test_overwriting_runs_share_and_redo_what_was_finished_before(project: Project) -> None:
    project.finish(**MODELS)
    with Driver(project, "node1", overwrite=True) as first:
        with Driver(project, "node2", overwrite=True) as second:
            first.claims.others_seen = True
            assert first.claim("cam1") == Claimed("cam1")
            first.finish("cam1")
            answer = second.claim("cam1")
            assert isinstance(answer, Replanned) and answer.added == ()
        with Driver(project, "node3", overwrite=True) as third:
            assert third.claim("cam1") == Claimed("cam1")  # it was finished before this run began


def test_a_video_that_took_the_name_meanwhile_is_not_overwritten(project: Project) -> None:
    with Driver(project, "node2", eks=False) as second:
        other = Project.__new__(Project)
        other.__dict__.update(project.__dict__)
        other.videos = project.root / "more"
        other.videos.mkdir()
        other.video("cam1.mp4", n_frames=30)
        other.finish(metrics=False)
        second.claims.others_seen = True
        answer = second.claim("cam1")
        assert isinstance(answer, Replanned) and answer.added == ()
        assert second.result.elsewhere == {}
        (failure,) = second.result.failures
        assert "its outputs would replace those of" in failure.message


def test_a_run_claims_ahead_where_no_other_will_lack_work(project: Project) -> None:
    with Driver(project, "node1") as run:
        assert run.claim("cam1", ahead=True) == Postponed("cam1")
        run.now = 31.0  # no other run has appeared
        assert run.claim("cam1", ahead=True) == Claimed("cam1")
        with Driver(project, "node2"):
            run.claims.look()
            assert run.claim("cam2", ahead=True) == Postponed("cam2")
        run.claims.look()  # it is alone again
        assert run.claim("cam2", ahead=True) == Claimed("cam2")


def test_what_others_hold_is_no_work_that_is_left(project: Project) -> None:
    for i in range(3, 10):
        project.video(f"cam{i}.mp4", n_frames=20 + i)
    with Driver(project, "node1") as first, Driver(project, "node2") as second:
        second.claims.look()
        assert second.claim("cam9", ahead=True) == Claimed("cam9")
        first.claim("cam8")
        assert second.claim("cam8") == Held("cam8")
        assert second.claim("cam7", ahead=True) == Postponed("cam7")


def test_what_another_run_found_is_told_once(project: Project) -> None:
    with Driver(project, "node1", eks=False) as first, Driver(project, "node2") as second:
        first.claims.others_seen = True
        first.claim("cam1")
        for plan in first.plan.recordings:
            commit_all(plan, stats={"notes": ["a frame is odd"]})
        first.claims.end("recording cam1")
        answer = second.claim("cam1")
        assert isinstance(answer, Replanned) and answer.added  # it is still to be smoothed
        warnings = [("a · cam1", "a frame is odd"), ("b · cam1", "a frame is odd")]
        assert second.result.warnings == warnings
        assert second.result.precisions
        second.work._take_in(second.work._look_again(second.work._shared["cam1"]))
        assert second.result.warnings == warnings


def test_where_claims_fail_a_run_does_everything_and_says_so_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with Driver(project, "node1") as run:
        monkeypatch.setattr(run.claims, "take", refuse)
        assert run.claim("cam1") == Claimed("cam1")
        assert run.claim("cam2") == Claimed("cam2")
        (warning,) = run.result.warnings
        assert warning[1] == (
            "other runs on these outputs would do the same work again: Permission denied"
        )


def test_a_moment_without_answers_does_not_end_the_wait_for_another_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("it does not answer")

    with Driver(project, "node1") as first, Driver(project, "node2") as second:
        first.claim("cam1")
        assert second.claim("cam1") == Held("cam1")
        take = second.claims.take
        for wait_s in (0.0, STALE_S - 1, 2.0):
            second.now += wait_s
            monkeypatch.setattr(second.claims, "take", fail)
            assert second.claim("cam1") == Held("cam1")
            monkeypatch.setattr(second.claims, "take", take)
            if wait_s:
                assert second.claim("cam1") == Held("cam1")  # an answer: it counts from here
        assert second.result.warnings == []
        monkeypatch.setattr(second.claims, "take", fail)
        assert second.claim("cam1") == Held("cam1")
        second.now += STALE_S
        assert second.claim("cam1") == Claimed("cam1")
        assert len(second.result.warnings) == 1


@contextmanager
def claimed(result: RunResult) -> Iterator[Claims]:
    with claiming(result.plan.config, result.warnings) as claims:
        assert claims is not None
        own_run_dir(result, claims)
        yield claims


def test_runs_at_once_have_logs_of_their_own(project: Project) -> None:
    first, second, third = (RunResult.of(project.plan()) for _ in range(3))
    with claimed(first), claimed(second):
        assert first.run_dir == project.root / "run"
        assert second.run_dir == second.plan.run_dir
        assert second.run_dir.parent == first.run_dir
    with claimed(third):
        assert third.run_dir == project.root / "run"


def test_a_log_that_can_not_be_claimed_is_told_of(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Claims, "take", refuse)
    result = RunResult.of(project.plan())
    with claimed(result):
        assert result.run_dir == project.root / "run"
    assert result.warnings == [
        (str(result.run_dir), "another run could write to the same log: Permission denied")
    ]


def test_without_a_place_for_claims_it_goes_on(project: Project) -> None:
    config = project.plan().config
    folder = claims_folder(config)
    assert folder == project.out / ".raypose" / "claims"
    folder.parent.mkdir(parents=True)
    folder.write_text("in its way")
    warnings: list[tuple[str, str]] = []
    with claiming(config, warnings) as claims:
        assert claims is None
    ((subject, warning),) = warnings
    assert subject == str(project.out) and "would do the same work again" in warning


def test_a_run_shows_itself_before_it_plans(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of an ensemble: there where runs of its members look."""
    ensemble = project.root / "models" / "ensemble"
    ensemble.mkdir()
    (ensemble / "ensemble.yaml").write_text("members: [../a, ../b]\n")
    config = project.plan(output_dir=None).config
    folder = claims_folder(config)
    seen: list[int] = []

    def plan_run(*args: Any, **values: Any) -> Any:
        seen.append(len(runs_in(folder)))
        raise UsageError("nothing to plan")

    monkeypatch.setattr(pipeline, "plan_run", plan_run)
    for models in (config.models, (str(ensemble),)):
        with pytest.raises(UsageError):
            pipeline.run_some(config.model_copy(update={"models": models}), None, None)
    assert seen == [1, 1]


def test_a_run_that_does_nothing_leaves_nothing(project: Project, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    values: dict[str, Any] = {"videos": (str(project.videos),), "inline": True, "metrics": False}
    models = tuple(map(str, project.models))
    config = RunConfig(models=models, output_dir=tmp_path / "new" / "out", shard=(9, 10), **values)
    assert pipeline.run(config, quiet=True).nothing_to_do
    missing = RunConfig(models=(str(tmp_path / "typo"),), **values)
    with pytest.raises(UsageError, match="no such model directory"):
        pipeline.run(missing, quiet=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_an_output_folder_the_order_of_models_does_not_matter(project: Project) -> None:
    a, b = (str(model) for model in project.models)
    plans = [project.plan(models=m, output_dir=None) for m in ((a, b), (b, a))]
    assert {claims_folder(plan.config) for plan in plans} == {
        project.models[0] / ".raypose" / "claims"
    }
