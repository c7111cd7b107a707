"""500 pairs of 0.2 s on 16 logical GPUs, against the ideal: what Ray and the driver cost.

The workers are stubs that sleep; all else is what a run does: tasks with their dependencies, one
table and one smoothing per session, progress.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path
from typing import Any

import harness
import ray

from raypose.config import RunConfig
from raypose.execution.ray import RayExecutor
from raypose.execution.ray.environment import RayEnvironment
from raypose.execution.ray.worker import Shared, Worker, WorkerInfo
from raypose.specs import Progress, VideoSpec
from raypose.steps import Load, Predict, Step, Summary, Task

SLEEP_S = 0.2


class Stub(Worker):
    """A worker whose GPU tasks sleep; other tasks return their inputs' names."""

    def describe(self) -> WorkerInfo:
        return WorkerInfo(self.name, ray.get_runtime_context().get_node_id(), "cpu")

    def run_task(self, task: Task, attempt: int, shared: Shared, *inputs: Any) -> tuple[Any, ...]:
        progress = Progress(task.id, 0, task.n_frames, self.name)
        if not ray.get(self._coordinator.begin.remote(progress, attempt)):
            return (None, *[None] * len(task.outputs))
        if task.gpu:
            time.sleep(SLEEP_S)
        return (Summary(task.id, worker=self.name), *[task.id] * len(task.outputs))

    def peak_mib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Count:
    """An observer that counts."""

    def __init__(self) -> None:
        self.finished_tasks: list[str] = []

    def progress(self, progress: Progress) -> None: ...

    def finished(self, summary: Summary) -> None:
        assert not summary.failures, summary.failures
        self.finished_tasks.append(summary.task)

    def lost(self, worker: str, reason: str) -> None: ...


def tasks(first: int, n_pairs: int) -> list[Task]:
    """The tasks of the pairs that are numbered from `first` on."""
    result: list[Task] = []
    for i in range(first, first + n_pairs):
        videos = (VideoSpec(f"/v/{i}.mp4", str(i), 1000, 640, 480, 25.0, 40.0, str(i)),)
        predict = Predict(videos=videos, members=(), start=0, stop=1000, provenances=())
        load = Load(videos=videos, path="")

        def task(name: str, step: Step, *inputs: str, i: int = i) -> Task:
            return Task(f"{name}/{i}", step, str(i), name, inputs, (f"{name}/{i}",), 1000)

        result += (
            task("predict", predict),
            task("table", load, f"predict/{i}"),
            task("smooth", load, f"table/{i}"),
        )
    return result


def measure(n_gpus: int, n_pairs: int, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of each repetition, and the most memory of each GPU worker in MiB."""
    config = RunConfig(videos=("v",), models=("m",), device="cpu", output_dir=Path("unused"))
    executor = RayExecutor(config, worker_class=Stub)
    assert executor.start([], 0, lambda what: None) == n_gpus
    seconds = []
    for repeat in range(repeats):
        count = Count()
        added = tasks(repeat * n_pairs, n_pairs)  # an executor knows an id of a task once
        began = time.perf_counter()
        executor.run(added, count)
        seconds.append(time.perf_counter() - began)
        assert len(set(count.finished_tasks)) == 3 * n_pairs
    peaks = ray.get([worker.actor.peak_mib.remote() for worker in executor.pool if worker.gpu])
    executor.close()
    return seconds, peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    args = parser.parse_args()
    n_gpus, n_pairs, repeats = (2, 20, 1) if args.tiny else (16, 500, 3)
    environment = RayEnvironment()
    environment.own_cluster()
    ray.init(
        address="local",
        num_cpus=n_gpus + 2,
        num_gpus=n_gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    seconds, peaks = measure(n_gpus, n_pairs, repeats)
    ray.shutdown()
    environment.restore()
    median = sorted(seconds)[len(seconds) // 2]
    ideal = n_pairs * SLEEP_S / n_gpus
    driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "work": f"{n_pairs} pairs of {SLEEP_S} s on {n_gpus} logical GPUs",
        "sides": {
            "raypose": {"seconds": seconds, "median_s": median},
            "ideal": {"seconds": [ideal], "median_s": ideal},
        },
        "ratio": ideal / median,
        "peak_memory_mib": {"driver": round(driver), "worker": round(max(peaks))},
        "cores": os.cpu_count(),
    }
    harness.report("scheduling", result, ("raypose", "ray"), tiny=args.tiny)


if __name__ == "__main__":
    main()
