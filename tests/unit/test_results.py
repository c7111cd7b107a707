"""What a run's result says of what its workers told."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypose.results import Recorder, RunResult
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
