"""What only Ray does: pinning, warm models, waiting for futures, and lost workers."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.pipeline import Display, RunResult, run
from raypose.specs import Progress
from raypose.steps import Summary, Task
from raypose.storage.run_log import read_events
from raypose.tables.keypoints import read_csv
from tests.integration.conftest import N_FRAMES, Project
from tests.integration.test_run import OWNERS, tables, temporaries
from tests.videos import make_video

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def finished(result: RunResult, kind: str) -> list[dict[str, Any]]:
    return [
        event
        for event in read_events(result.run_dir)
        if event["event"] == "task finished" and event["kind"] == kind
    ]


@pytest.fixture(scope="module")
def result(
    ray_cluster: Any, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    """A run that nothing disturbs."""
    result = run(
        project.config(tmp_path_factory.mktemp("out"), label=(), metrics=False, report=False)
    )
    assert result.ok
    return result


def test_tasks_are_pinned_and_models_stay_warm(result: RunResult) -> None:
    predicted = finished(result, "predict")
    assert len(predicted) == len(N_FRAMES)  # one decode feeds both members
    gpus_of = defaultdict(set)
    for event in predicted:
        process, _, gpu = event["worker"].partition(" gpu ")
        gpus_of[process].add(gpu)
    # A worker owns one GPU for its life, and no two share one.
    assert all(len(gpus) == 1 for gpus in gpus_of.values())
    assert len({gpu for gpus in gpus_of.values() for gpu in gpus}) == len(gpus_of)
    # Post-processing runs in other processes, which own no GPU.
    for kind in ("table", "smooth"):
        workers = {event["worker"] for event in finished(result, kind)}
        assert workers and not any("gpu" in worker for worker in workers)
    # The second task of a worker finds its networks loaded.
    by_worker = defaultdict(list)
    for event in predicted:
        by_worker[event["worker"]].append(event["facts"]["n_loaded"])
    assert any(len(loaded) > 1 for loaded in by_worker.values())
    assert all(loaded[0] == 2 and sum(loaded[1:]) == 0 for loaded in by_worker.values())


def test_workers_share_a_gpu(project: Project, tmp_path: Path) -> None:
    config = project.config(tmp_path / "out", label=(), metrics=False, report=False, eks=False)
    result = run(config.model_copy(update={"gpus": 1, "workers_per_gpu": 2}))
    assert result.ok
    workers = {event["worker"] for event in finished(result, "predict")}
    assert len({worker.partition(" gpu ")[0] for worker in workers}) == 2
    assert len({worker.partition(" gpu ")[2] for worker in workers}) == 1


def test_smoothing_waits_on_its_members_futures(result: RunResult) -> None:
    """EKS of a video starts when its members' tables exist, and reads none from disk."""
    events = list(read_events(result.run_dir))
    order = [e["task"] for e in events if e["event"] == "task finished"]
    for stem in N_FRAMES:
        smoothed = order.index(f"smooth/{stem}/eks")
        for owner in OWNERS[:2]:
            assert order.index(f"table/{stem}/{owner}") < smoothed
    assert not any(task.startswith("load/") for task in order)


class KillOnce(Display):
    """A display that kills the worker of the first GPU task that reports progress."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def progress(self, task: Task, progress: Progress) -> None:
        if task.gpu and not self.killed:
            pid = int(progress.worker.split(":")[1].split()[0])
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(
    project: Project, tmp_path: Path, finished_run: RunResult
) -> None:
    display = KillOnce()
    result = run(
        project.config(tmp_path / "out", label=(), metrics=False, report=False), display=display
    )
    assert display.killed and result.ok
    reference = finished_run.plan.config.output_dir
    assert reference is not None
    made = tables(tmp_path / "out")
    for name, values in tables(reference).items():
        np.testing.assert_allclose(made[name], values, atol=1e-3)
    assert temporaries(tmp_path / "out") == []


@pytest.mark.slow
def test_a_stalled_worker_is_replaced(project: Project, tmp_path: Path) -> None:
    """Stopped by a signal, it neither dies nor answers: only the lack of progress shows it."""

    class StopOnce(KillOnce):
        def progress(self, task: Task, progress: Progress) -> None:
            if task.gpu and not self.killed:
                pid = int(progress.worker.split(":")[1].split()[0])
                os.kill(pid, signal.SIGSTOP)
                self.killed.append(pid)

    display = StopOnce()
    config = project.config(tmp_path / "out", label=(), metrics=False, report=False, eks=False)
    result = run(config.model_copy(update={"gpus": 1, "stall_timeout_s": 15.0}), display=display)
    assert display.killed and result.ok
    assert len(result.made["table"]) == 2 * len(N_FRAMES)


@pytest.mark.slow
def test_a_stopped_run_goes_on_from_there(project: Project, tmp_path: Path) -> None:
    root = tmp_path / "out"
    config = project.config(
        root, label=("full",), metrics=False, report=False, gpus=1, chunk_frames=16
    )

    class StopAtFirstTable(KillOnce):
        def progress(self, task: Task, progress: Progress) -> None: ...

        def finished(self, task: Task, summary: Summary) -> None:
            if task.step.name == "table":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, display=StopAtFirstTable())
    # Every file with a final name is complete; nothing half-written is left.
    for path in root.rglob("video_preds/*.csv"):
        assert read_csv(path).n_frames == N_FRAMES[path.stem]
    assert temporaries(root) == []
    result = run(config)
    assert result.ok
    assert len(result.made.get("table", [])) < len(N_FRAMES) * 2  # not all of it again
    assert len(tables(root)) == len(N_FRAMES) * 3
    assert list(root.rglob("*.parquet")) == []


@pytest.mark.slow
def test_a_video_that_kills_its_worker_fails_by_name(project: Project, tmp_path: Path) -> None:
    """A task whose worker dies again and again fails; the run goes on."""
    videos = tmp_path / "videos"
    shutil.copytree(project.videos, videos)
    make_video(videos / "long.mp4", n_frames=4000)  # seconds of work: it is alive when we strike
    config = project.config(
        tmp_path / "out",
        videos=(str(videos),),
        label=(),
        metrics=False,
        report=False,
        eks=False,
        gpus=1,
    )

    class KillAtOneVideo(KillOnce):
        def progress(self, task: Task, progress: Progress) -> None:
            if task.gpu and task.recording == "long":
                pid = int(progress.worker.split(":")[1].split()[0])
                if pid not in self.killed:
                    self.killed.append(pid)
                    os.kill(pid, signal.SIGKILL)

    display = KillAtOneVideo()
    began = time.monotonic()
    result = run(config, display=display)
    assert [failed.error for failed in result.failures] == ["WorkerLostError"]
    assert "long" in result.failures[0].subject
    assert len(result.made["table"]) == 4
    assert len(display.killed) >= 3
    assert time.monotonic() - began < 120
