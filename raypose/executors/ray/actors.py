"""What runs on the cluster: workers, and the board on which they leave word."""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray

from raypose import scratch
from raypose.errors import CancelledError, DeviceError, Failure
from raypose.scratch import ScratchSettings
from raypose.stages.access import Places, refusal
from raypose.storage import apply_environment
from raypose.tasks import ModelSpec, Progress, Summary, Task

MAX_ATTEMPTS = 3
"""Times that a task may lose its worker before it fails."""

_REPORT_EVERY_S = 0.3


class Board:
    """What workers and driver share: attempts begun, progress, and where the graphs lie."""

    def __init__(self) -> None:
        self._graphs: dict[str, Any] = {}
        self._attempts: dict[str, int] = defaultdict(int)
        self._progress: dict[str, Progress] = {}
        self._expected: dict[int, list[str]] = defaultdict(list)
        self._where: dict[int, str] = {}
        self._stop = False

    def arrive(self, worker: int, node: str) -> None:
        """Take note that a worker runs, and on which node; told again each time it is started."""
        self._where[worker] = node

    def where(self) -> dict[int, str]:
        """Number of each worker that was ever there → id of its node."""
        return self._where

    def publish(self, graphs: dict[str, Any]) -> None:
        """Take the references to the models' graphs, by fingerprint.

        They are no arguments of the workers: these must not depend on references, or they could
        not be started again.
        """
        self._graphs = graphs

    def graph(self, fingerprint: str) -> Any:
        """Reference to a model's graph, None where there is none."""
        return self._graphs.get(fingerprint)

    def begin(self, progress: Progress) -> int:
        """Count an attempt at a task; returns its number, from 1."""
        self._attempts[progress.task] += 1
        self._progress[progress.task] = progress
        return self._attempts[progress.task]

    def expect(self, worker: int, path: str) -> None:
        """A task that needs this video was given to a worker."""
        self._expected[worker].append(path)

    def report(self, progress: Progress, worker: int) -> tuple[bool, list[str]]:
        """Take note of progress.

        Returns:
            Whether the run is to stop, and the videos that the worker will need next.
        """
        self._progress[progress.task] = progress
        return self._stop, self._expected.pop(worker, [])

    def drain(self) -> list[Progress]:
        """The latest word of each task since the last call."""
        news, self._progress = list(self._progress.values()), {}
        return news

    def stop(self) -> None:
        """Ask all workers to stop at their next report."""
        self._stop = True


@dataclass(frozen=True, slots=True)
class Site:
    """What a worker must know of the driver's settings.

    Attributes:
        environment: the variables that say where stores are.
        scratch: where copies go.
        gpu_encoder: whether workers without a GPU of their own encode on one.
    """

    environment: Mapping[str, str]
    scratch: ScratchSettings
    gpu_encoder: bool = False


class Worker:
    """A process that does tasks: on the GPU that Ray gave it, or on CPUs.

    Args:
        board: name of the run's `Board`.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of torch.
        allow_unsafe: whether checkpoints may be unpickled unsafely.
        number: its number among the workers of the run.
        site: where files are.
    """

    def __init__(
        self,
        board: str,
        device: str,
        threads: int,
        allow_unsafe: bool,
        number: int,
        site: Site,
    ) -> None:
        from raypose.stages.context import Context
        from raypose.stages.memory import limit_arenas

        limit_arenas()  # on a cluster that others have started
        apply_environment(site.environment)
        scratch.configure(site.scratch.folder, site.scratch.limit_bytes, site.scratch.run)
        self._number = number
        self._refused: Failure | None = None
        self._board = ray.get_actor(board)
        self._board.arrive.remote(number, ray.get_runtime_context().get_node_id())
        self._stop = False
        self._last_report = 0.0
        self._threads = threads
        gpus = ray.get_gpu_ids()
        if not gpus and site.gpu_encoder:
            os.environ["JAX_PLATFORMS"] = "cpu"  # which would take the GPU's memory for itself
        elif device == "cpu" or not gpus:
            # Ray leaves the GPUs visible to actors that own none.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        gpu = f" gpu {','.join(str(g) for g in gpus)}" if gpus else ""
        self.name = f"{socket.gethostname()}:{os.getpid()}{gpu}"
        self._device = device
        self._context = Context(
            device=device,
            graph=self._graph,
            report=self._report,
            should_stop=lambda: self._stop,
            worker=self.name,
            allow_unsafe=allow_unsafe,
        )

    def describe(self) -> tuple[str, str] | Failure:
        """The worker's name and device, once torch is there; a `Failure` if it can't be used."""
        from raypose.stages.infer.device import resolve_device

        try:
            import torch

            torch.set_num_threads(self._threads)
            return self.name, str(resolve_device(self._device))
        except DeviceError as error:
            return Failure.of("start", error)

    def look(self, places: Places) -> Failure | None:
        """Whether what the run reads and writes can be got at here; if not, it takes no task."""
        self._refused = refusal(places)
        return self._refused

    def tidy(self) -> None:
        """Give back the scratch; the run is over."""
        self._context.staging.close()
        scratch.close()

    def do(self, task: Task, *inputs: Any) -> tuple[Any, ...]:
        """Do a task; returns its `Summary`, then its results."""
        from raypose.stages.work import execute

        attempt = ray.get(self._board.begin.remote(Progress(task.id, 0, task.n_frames, self.name)))
        if attempt > MAX_ATTEMPTS:
            lost = Failure(
                task.kind,
                f"the worker process died {MAX_ATTEMPTS} times at this task",
                path=task.args.video.path,
                hint="A damaged file or too little memory can be the cause; see the log of the "
                "run, and try it alone with --inline.",
                error="WorkerLostError",
            )
            return self._failed(task, lost)
        if self._refused is not None:
            return self._failed(task, replace(self._refused, step=task.kind))
        try:
            summary, results = execute(task, inputs, self._context)
        except CancelledError as error:
            return self._failed(task, Failure.of(task.kind, error))
        return (summary, *results)

    def _failed(self, task: Task, failure: Failure) -> tuple[Any, ...]:
        summary = Summary(task.id, task.kind, failures=(failure,), worker=self.name)
        return (summary, *[failure] * len(task.outputs))

    def _report(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last_report >= _REPORT_EVERY_S:
            self._last_report = now
            report = self._board.report.remote(progress, self._number)
            self._stop, expected = ray.get(report)
            self._context.staging.expect(expected)

    def _graph(self, model: ModelSpec) -> bytes | None:
        reference = ray.get(self._board.graph.remote(model.fingerprint))
        return None if reference is None else ray.get(reference)
