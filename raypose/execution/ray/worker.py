"""The actor that runs tasks, on the GPU that Ray gave it or on CPUs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from raypose.errors import CancelledError, DeviceError, Failure
from raypose.execution.ray.activity import Activity
from raypose.specs import ModelSpec, Progress, VideoSpec
from raypose.steps.base import Summary, Task
from raypose.storage import apply_environment, scratch
from raypose.storage.scratch import ScratchSettings
from raypose.worker.storage_check import Places, refusal

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex

_REPORT_EVERY_S = 0.3
_HEARTBEAT_S = 30.0

Shared = Mapping[str, Any]
"""Fingerprint of a model or path of a video → reference to its network artifact or its index."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What every worker is told when it starts.

    Attributes:
        coordinator: name of the run's `Coordinator`.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of torch.
        allow_unsafe: whether checkpoints may be unpickled unsafely.
        environment: the variables that say how to reach object stores.
        scratch: where copies go.
        stall_timeout_s: how long a task may make no progress; see `activity`.
        gpu_encoder: whether workers without a GPU of their own encode on one.
    """

    coordinator: str
    device: str
    threads: int
    allow_unsafe: bool
    environment: Mapping[str, str]
    scratch: ScratchSettings
    stall_timeout_s: float
    gpu_encoder: bool = False


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """How a worker describes itself.

    Attributes:
        name: `host:pid gpu 0`.
        node: id of its node.
        device: torch's name of the device that it computes on; empty where it runs no networks.
    """

    name: str
    node: str
    device: str = ""


class Worker:
    """A process that runs tasks.

    Args:
        number: its number among the workers of the run.
        computes: whether it runs networks.
        settings: the same for all workers of the run.
    """

    def __init__(self, number: int, computes: bool, settings: WorkerSettings) -> None:
        from raypose.worker.context import Context
        from raypose.worker.memory import limit_arenas

        limit_arenas()  # on a cluster that others have started
        apply_environment(settings.environment)
        scratch.configure(
            settings.scratch.folder, settings.scratch.limit_bytes, settings.scratch.run
        )
        self._number = number
        self._settings = settings
        self._device = settings.device if computes else "cpu"
        self._computes = computes
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
        gpu = f" gpu {','.join(str(g) for g in gpus)}" if gpus else ""
        self.name = f"{socket.gethostname()}:{os.getpid()}{gpu}"
        self._context = Context(
            device=self._device,
            graph=self._artifact,
            index=self._index,
            report=self._report,
            should_stop=lambda: self._stop,
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

            torch.set_num_threads(self._settings.threads)
            try:
                device = str(resolve_device(self._device))
            except DeviceError as error:
                return Failure.of("start", error)
        return WorkerInfo(self.name, ray.get_runtime_context().get_node_id(), device)

    def check_storage(self, places: Places) -> Failure | None:
        """Why it can't reach what the run reads and writes; None where it can."""
        return refusal(places)

    def clean_up(self) -> None:
        """Remove this worker's scratch copies; the run is over."""
        self._context.staging.close()
        scratch.close()

    def run_task(self, task: Task, attempt: int, shared: Shared, *inputs: Any) -> tuple[Any, ...]:
        """Run a task; returns its `Summary` (None if it was withdrawn), then its results."""
        from raypose.steps.execute import execute

        if not self._begin(task, attempt):
            return (None, *[None] * len(task.outputs))
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

    def _begin(self, task: Task, attempt: int) -> bool:
        """Report that the task starts now; False if it was withdrawn meanwhile."""
        self._attempt = attempt
        progress = Progress(task.id, 0, task.n_frames, self.name)
        may_begin: bool = ray.get(self._coordinator.begin.remote(progress, attempt))
        self._progress = progress if may_begin else None
        return may_begin

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
