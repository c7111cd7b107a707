"""The actors of a run: workers, on the GPU that Ray gave them or on CPUs, and the coordinator."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from raypose.errors import CancelledError, DeviceError, Failure
from raypose.execution.ray.sizes import Sizes, node_resources
from raypose.specs import ModelSpec, Progress, VideoSpec
from raypose.steps.base import Summary, Task
from raypose.storage import scratch
from raypose.storage.scratch import ScratchSettings
from raypose.worker.budget import Budget
from raypose.worker.storage_check import IoPaths, check_storage

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex

_REPORT_EVERY_S = 0.3
_HEARTBEAT_S = 30.0
_LEAST_CPU = 0.05  # as a share of one core; Ray's own threads take less
_LEAST_BYTES_PER_S = 200_000

Shared = Mapping[str, Any]
"""Fingerprint of a model or path of a video → reference to its network artifact or its index."""


class Coordinator:
    """Passes progress on to the driver, and what to do next to the workers.

    It holds nothing that can't be said again: if it dies, Ray restarts it and the run goes on.
    """

    def __init__(self) -> None:
        self._progress: dict[str, tuple[Progress, int]] = {}
        self._started: set[tuple[str, int]] = set()
        self._withdrawn: set[tuple[str, int]] = set()
        self._expected: dict[int, list[str]] = defaultdict(list)
        self._stop = False

    def begin(self, progress: Progress, attempt: int) -> bool:
        """A worker is about to start a task; False if it must not."""
        if self._stop or (progress.task, attempt) in self._withdrawn:
            return False
        self._started.add((progress.task, attempt))
        self._progress[progress.task] = progress, attempt
        return True

    def withdraw(self, task: str, attempt: int) -> bool:
        """Remove a task from its worker's queue; False if it has started."""
        if (task, attempt) in self._started:
            return False
        self._withdrawn.add((task, attempt))
        return True

    def expect(self, worker: int, path: str) -> None:
        """A task that needs this video was sent to a worker."""
        self._expected[worker].append(path)

    def report(self, progress: Progress, attempt: int, worker: int) -> tuple[bool, list[str]]:
        """A task has made progress; returns whether to stop, and the worker's next videos."""
        self._progress[progress.task] = progress, attempt
        return self._stop, self._expected.pop(worker, [])

    def poll_progress(self) -> list[tuple[Progress, int]]:
        """The latest progress of each task since the last call, with its attempt."""
        latest, self._progress = list(self._progress.values()), {}
        return latest

    def stop(self) -> None:
        """Let no further task start; running tasks stop at their next report."""
        self._stop = True


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What every worker is told when it starts."""

    coordinator: str  # name of the run's `Coordinator`
    device: str  # `auto`, `cpu` or `cuda`
    sizes: Sizes
    allow_unsafe: bool  # whether checkpoints may be unpickled unsafely
    environment: Mapping[str, str]  # the variables that say how to reach object stores
    scratch: ScratchSettings
    stall_timeout_s: float  # how long a task may make no progress
    gpu_encoder: bool = False  # whether workers without a GPU of their own encode on one


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    name: str  # `host:pid gpu 0`
    node: str  # id of its node
    device: str = ""  # torch's name of the device; empty where it runs no networks


class Worker:
    """A process that runs tasks, and networks if it `computes`."""

    def __init__(self, number: int, computes: bool, settings: WorkerSettings) -> None:
        from raypose.inference import PASSIVE_THREADS
        from raypose.worker.context import Context
        from raypose.worker.memory import limit_arenas

        os.environ.setdefault(*PASSIVE_THREADS)
        limit_arenas()  # on a cluster that others have started
        for name, value in settings.environment.items():
            os.environ.setdefault(name, value)
        scratch.configure(settings.scratch)
        self._number = number
        self._settings = settings
        self._device = settings.device if computes else "cpu"
        self._computes = computes
        self._node = ray.get_runtime_context().get_node_id()
        self._coordinator = ray.get_actor(settings.coordinator)
        self._stop = False
        self._attempt = 0
        self._shared: Shared = {}
        self._last_report = 0.0
        self._progress: Progress | None = None
        gpus = ray.get_gpu_ids()
        if not gpus and settings.gpu_encoder:
            os.environ["JAX_PLATFORMS"] = "cpu"  # JAX would reserve the GPU's memory
        elif self._device == "cpu" or not gpus:
            # Ray leaves the GPUs visible to actors that own none.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        gpu = f" gpu {','.join(map(str, gpus))}" if gpus else ""
        self.name = f"{socket.gethostname()}:{os.getpid()}{gpu}"
        self._context = Context(
            device=self._device,
            artifact=self._artifact,
            index=self._index,
            report=self._report,
            should_stop=lambda: self._stop,
            budget=self._budget(on_gpu=settings.sizes.on_gpus),
            worker=self.name,
            allow_unsafe=settings.allow_unsafe,
        )
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def describe(self) -> WorkerInfo | Failure:
        """What it is, once torch is imported; a `Failure` if its GPU can't be used."""
        from raypose.inference.device import resolve_device

        device = ""
        if self._computes:
            import torch

            try:
                device = str(resolve_device(self._device))
            except DeviceError as error:
                return Failure.of("start", error)
            self._context.budget = self._budget(on_gpu=device != "cpu")
            torch.set_num_threads(self._context.budget.compute)
        return WorkerInfo(self.name, self._node, device)

    def _budget(self, *, on_gpu: bool) -> Budget:
        here = node_resources().get(self._node, {})
        return self._settings.sizes.budget(here, gpu=self._computes, on_gpu=on_gpu)

    def check_storage(self, places: IoPaths) -> Failure | None:
        """Why it can't reach what the run reads and writes; None where it can."""
        return check_storage(places)

    def clean_up(self) -> None:
        """Remove this worker's scratch copies; the run is over."""
        self._context.staging.close()
        scratch.close()

    def run_task(self, task: Task, attempt: int, shared: Shared, *inputs: Any) -> tuple[Any, ...]:
        """Run a task; returns its `Summary` (None if it was withdrawn), then its results."""
        from raypose.steps.execute import execute

        self._attempt = attempt
        progress = Progress(task.id, 0, task.n_frames, self.name)
        if not ray.get(self._coordinator.begin.remote(progress, attempt)):
            return (None, *[None] * len(task.outputs))
        self._progress = progress
        self._shared = shared
        try:
            summary, results = execute(task, inputs, self._context)
        except CancelledError as error:
            failure = Failure.of(task.step.name, error)
            results = [failure] * len(task.outputs)
            summary = Summary(task.id, failures=(failure,), worker=self.name)
        finally:
            self._progress = None
        return (summary, *results)

    def _send_heartbeats(self) -> None:
        """Report the last progress again while a task is active without making any."""
        activity = Activity()
        while True:
            time.sleep(min(_HEARTBEAT_S, self._settings.stall_timeout_s / 4))
            active, progress = activity.since_last(), self._progress
            if active and progress is not None:
                self._coordinator.report.remote(progress, self._attempt, self._number)

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        now = time.monotonic()
        if now - self._last_report >= _REPORT_EVERY_S:
            self._last_report = now
            report = self._coordinator.report.remote(progress, self._attempt, self._number)
            self._stop, expected = ray.get(report)
            self._context.staging.expect(expected)

    def _artifact(self, model: ModelSpec) -> bytes | None:
        reference = self._shared.get(model.fingerprint)
        return None if reference is None else ray.get(reference)

    def _index(self, video: VideoSpec) -> VideoIndex | None:
        reference = self._shared.get(video.path)
        try:
            return None if reference is None else ray.get(reference)
        except ray.exceptions.RayError:
            return None  # the worker can make it


def bytes_moved() -> int:
    """Bytes read and written by this process through system calls so far."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0  # this user may not read it; then only computing counts
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]) + int(counts["wchar"])


class Activity:
    """What this process does between two calls: tells a long silent task from one that hangs.

    Copying, indexing or hashing a file of many gigabytes reports no frames and may take longer
    than `--stall-timeout`, but it computes, reads or writes. A process that was stopped, or waits
    for a disk that no longer answers, does none of that.

    Args:
        counters: seconds that have passed, CPU seconds used, and bytes read and written, so far.
    """

    def __init__(self, *counters: Callable[[], float]) -> None:
        self._counters = counters or (time.monotonic, time.process_time, bytes_moved)
        self._before = [count() for count in self._counters]

    def since_last(self) -> bool:
        """Whether it has done anything since the last call."""
        before, self._before = self._before, [count() for count in self._counters]
        passed_s, cpu_s, n_bytes = (b - a for a, b in zip(before, self._before, strict=True))
        return cpu_s >= _LEAST_CPU * passed_s or n_bytes >= _LEAST_BYTES_PER_S * passed_s
