"""What a run's result says of what its workers told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raypose.pipeline import RunResult, _Recorder
from raypose.specs import VideoSpec
from raypose.storage import run_log
from raypose.tasks import LoadArgs, Summary, Task
from tests.projects import Project


@pytest.mark.parametrize(("device", "expected"), [("cuda:0", (30.0, 12.0)), ("cpu", (0.0, 0.0))])
def test_waiting_counts_on_gpus(
    device: str, expected: tuple[float, float], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    project.video()
    plan = project.plan()
    args = LoadArgs(VideoSpec("/v.mp4", "v", 100, 64, 64, 25.0, 4.0, "x"), "")
    tasks = {name: Task(name, "predict", "v", "v", args, (), (name,), 100, True) for name in "ab"}
    result: RunResult[Any] = RunResult(plan, plan.run_dir)
    log = run_log.RunLog(tmp_path / "run")
    recorder = _Recorder(tasks, result, log, None)
    facts = {"n_frames": 100, "device": device, "predict_s": 15.0, "decode_s": 6.0}
    for name in tasks:
        recorder.finished(Summary(name, "predict", facts=facts))
    log.close()
    assert (result.gpu_s, result.gpu_waited_s) == expected
    assert result.n_frames == 200
