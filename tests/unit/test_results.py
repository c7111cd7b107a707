"""What a run's result says of what its workers told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from raypose.results import Recorder, RunResult
from raypose.specs import Progress
from raypose.steps import Summary
from raypose.storage import run_log
from tests.projects import Project
from tests.tasks import make_task


@pytest.mark.parametrize(("device", "expected"), [("cuda:0", (30.0, 12.0)), ("cpu", (0.0, 0.0))])
def test_waiting_counts_on_gpus(
    device: str, expected: tuple[float, float], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    project.video()
    plan = project.plan()
    tasks = {name: make_task(name, gpu=True) for name in "ab"}
    result = RunResult(plan, plan.run_dir)
    log = run_log.RunLog(tmp_path / "run")
    recorder = Recorder(tasks, result, log, None)
    stats = {"n_frames": 100, "device": device, "predict_s": 15.0, "decode_s": 6.0}
    for name in tasks:
        recorder.finished(Summary(name, stats=stats))
    log.close()
    assert (result.gpu_s, result.gpu_waited_s) == expected
    assert result.n_frames == 200


def test_the_log_says_for_how_long_a_worker_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path)
    project.video()
    plan = project.plan()
    now = [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = run_log.RunLog(tmp_path / "run")
    task = make_task("predict/v", gpu=True, outputs=("a", "b"))
    recorder = Recorder({task.id: task}, RunResult(plan, plan.run_dir), log, None)
    for worker in ("lab:7", "lab:7", "lab:8"):
        recorder.progress(Progress(task.id, 10, 100, worker))
        now[0] += 20
    expected = {"n_done": 10, "n_total": 100, "n_outputs": 2, "worker": "lab:8"}
    assert recorder.running() == {task.id: {"task": task.id, **expected, "silent_s": 20.0}}
    log.close()
    begun = [e["worker"] for e in run_log.read_events(log.directory)]
    assert begun == ["lab:7", "lab:8"]
