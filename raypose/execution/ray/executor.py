"""The executor: joins or starts a cluster, and executes the scheduler's actions there."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypose.config import Settings
from raypose.errors import ClusterError, DeviceError
from raypose.execution.artifacts import GraphBuilder
from raypose.execution.base import Observer
from raypose.execution.events import (
    Abandon,
    Action,
    Cancel,
    Event,
    Forget,
    GiveUp,
    Progressed,
    StartWorker,
    StopWorker,
    Submit,
    TasksAdded,
    TimePassed,
    WorkersLost,
)
from raypose.execution.ray.connection import Connection, connect
from raypose.execution.ray.coordinator import Coordinator
from raypose.execution.ray.errors import first_line
from raypose.execution.ray.indexes import SharedIndexes
from raypose.execution.ray.isolation import remote_class
from raypose.execution.ray.pool import WorkerHandle, WorkerPool
from raypose.execution.ray.submissions import Submissions
from raypose.execution.ray.worker import Worker, WorkerInfo, WorkerSettings
from raypose.execution.scheduler import Scheduler
from raypose.specs import ModelSpec, Progress
from raypose.steps.base import Task
from raypose.storage import is_url, scratch, shared_environment
from raypose.worker.storage_check import marked, places_of

_POLL_S = 0.25
_WATCH_S = 2.0
_LATE_S = 60.0
_GRACE_S = 5.0
_CLUSTER_S = 30.0
"""How long the coordinator may not answer, restarts included, before the cluster is lost."""


def wait_limit_s() -> float:
    """How long a run waits for a worker with a GPU, in seconds: a cloud takes minutes."""
    return float(os.environ.get("RAYPOSE_GPU_WAIT_S", "900"))


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """The driver's node, so that losing another node costs nothing that the driver needs.

    Ray puts an actor without resources on any node, and respects an affinity only if it is hard.
    """
    here = ray.get_runtime_context().get_node_id()
    return NodeAffinitySchedulingStrategy(here, soft=False)


class RayExecutor:
    """Runs the tasks on Ray; see the package's docstring.

    Args:
        config: the settings of the run.
        worker_class: class of the actors; the benchmark of scheduling passes a stub.
    """

    def __init__(self, config: Settings, *, worker_class: type = Worker) -> None:
        self._config = config
        self._worker_class = worker_class
        self._connection: Connection | None = None
        self._pool: WorkerPool | None = None
        self._coordinator: Any = None
        self._artifacts: dict[str, Any] = {}
        self._description = ""
        self._uses_scratch = False

    @property
    def description(self) -> str:
        return self._description

    @property
    def workers(self) -> list[WorkerHandle]:
        """The workers that it has started and not stopped."""
        return list(self._pool or ())

    @property
    def _is_local(self) -> bool:
        return self._connection is not None and self._connection.is_local

    # --- start and end -------------------------------------------------------------------

    def start(self, models: Sequence[ModelSpec]) -> int:
        unsafe = self._config.allow_unsafe_checkpoint
        # What the cache lacks is built in another process while Ray and the workers start.
        with GraphBuilder(models, allow_unsafe=unsafe) as builder:
            self._connection = connect(self._config.address, self._config.gpus)
            n_gpu, n_cpu, gpu_options, threads = self._sizes()
            self._pool = self._make_pool(gpu_options, threads)
            self._scheduler = Scheduler(
                n_gpu,
                n_cpu,
                stall_timeout_s=self._config.stall_timeout_s,
                wait_limit_s=wait_limit_s(),
            )
            self._cpus_of_gpu_workers = n_gpu * gpu_options.get("num_cpus", 0)
            self._execute(self._scheduler.start())
            self._artifacts = {m.fingerprint: ray.put(graph) for m, graph in builder.graphs()}
        first = self._wait_for_workers(n_gpu)
        self._description = self._describe(first, n_gpu, n_cpu, "num_gpus" in gpu_options)
        return n_gpu

    def _make_pool(self, gpu_options: dict[str, Any], threads: int) -> WorkerPool:
        # Workers find the coordinator by its name, which stays when Ray restarts it.
        name = f"raypose-{secrets.token_hex(8)}"
        self._coordinator = remote_class(
            Coordinator,
            name=name,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=on_this_node(),
        ).remote()
        settings = WorkerSettings(
            coordinator=name,
            device=self._config.device,
            threads=threads,
            allow_unsafe=self._config.allow_unsafe_checkpoint,
            environment=shared_environment(),
            scratch=scratch.settings(),
            stall_timeout_s=self._config.stall_timeout_s,
            gpu_encoder=self._config.gpu_encoder,
        )

        def start(number: int, gpu: bool) -> Any:
            # Ray retries neither the actor nor its tasks: the scheduler decides that.
            options = {"max_restarts": 0, "scheduling_strategy": "SPREAD"}
            options |= gpu_options if gpu else {"num_cpus": 1}
            return remote_class(self._worker_class, **options).remote(number, gpu, settings)

        return WorkerPool(start)

    def _wait_for_workers(self, n_gpu: int) -> WorkerInfo:
        """Wait until all GPU workers have started, or one has and the others are late.

        Returns:
            The first one: a CPU worker where no GPU workers are wanted.

        Raises:
            ClusterError: none started in time.
        """
        pool = self._pool
        assert pool is not None
        began = time.monotonic()
        first: WorkerInfo | None = None
        watched = began
        while True:
            _wait(pool.pending)
            self._handle(*pool.events())
            if time.monotonic() - watched > _WATCH_S:
                watched = time.monotonic()
                self._handle(*pool.watch(None))
            infos = [handle.info for handle in pool if handle.gpu == bool(n_gpu) and handle.info]
            if infos and first is None:
                first, began = infos[0], time.monotonic()
            waited_s = time.monotonic() - began
            if first is not None and (len(infos) >= n_gpu or waited_s > _LATE_S):
                return first
            if first is None and waited_s > wait_limit_s():
                raise self._no_workers(f"no worker could be started within {waited_s:.0f} s")

    def _no_workers(self, what: str) -> ClusterError:
        asked = f" (--gpus {self._config.gpus} was given)" if self._config.gpus else ""
        return ClusterError(
            what + asked,
            hint="Run `ray status` on the cluster to see what it waits for. Finished outputs are "
            "kept, and the same command continues the run.",
        )

    def _sizes(self) -> tuple[int, int, dict[str, Any], int]:
        """How many GPU workers and CPU actors, the GPU workers' resources, and torch's threads."""
        resources = ray.cluster_resources()
        cpus = max(1, int(resources.get("CPU", 1)))
        gpus = int(resources.get("GPU", 0))
        asked = self._config.gpus
        if not self._config.predicts:
            return 0, cpus, {}, 1
        if gpus == 0 and (asked is None or self._is_local):
            if self._config.device == "cuda":
                raise DeviceError(
                    "--device cuda was given, but Ray finds no GPU",
                    hint="Check nvidia-smi, or run with --device cpu.",
                )
            self._check_for_gpus_that_ray_misses()
            # About four threads per worker: more gain little on small networks.
            n_gpu = asked or max(1, cpus // 4)
            threads = max(1, cpus // n_gpu)
            return n_gpu, max(1, cpus - n_gpu), {"num_cpus": 1 if cpus > n_gpu else 0}, threads
        # A cluster that scales up may be asked for more GPUs than it has now.
        share = self._config.workers_per_gpu
        n_gpu = share * (asked if asked is not None else gpus)
        spare = cpus > n_gpu
        n_cpu = max(1, cpus - n_gpu) if spare else cpus
        # Ray puts shares that add up to one on the same GPU.
        options = {"num_gpus": 1 if share == 1 else 1 / share, "num_cpus": 1 if spare else 0}
        return n_gpu, n_cpu, options, max(1, cpus // n_gpu)

    def _check_for_gpus_that_ray_misses(self) -> None:
        """Fail where torch has a GPU that Ray does not find: the user did not choose the CPU."""
        from raypose.inference.device import resolve_device

        if self._is_local and self._config.device == "auto" and self._config.gpus is None:
            device = resolve_device("auto")  # raises where torch can't use it either
            if device != "cpu":
                raise DeviceError(
                    "torch sees a GPU that Ray does not find",
                    hint="Give their number with --gpus, or run with --device cpu.",
                )

    def _describe(self, info: WorkerInfo, n_gpu: int, n_cpu: int, on_gpus: bool) -> str:
        assert self._connection is not None
        if not n_gpu:
            what = f"{n_cpu} CPU worker{'s' if n_cpu > 1 else ''}"
        elif info.device.startswith("cuda"):
            n_whole = -(-n_gpu // self._config.workers_per_gpu)
            what = f"{n_whole} GPU{'s' if n_whole > 1 else ''}"
        elif on_gpus:
            what = f"{n_gpu} logical GPU(s), computing on CPU since torch finds no GPU"
        else:
            what = f"CPU ({n_gpu} worker{'s' if n_gpu > 1 else ''}): there is no GPU to use"
        return f"{self._connection.name}, {what}"

    def close(self) -> None:
        if ray.is_initialized():
            self._clean_up()
        if self._connection is None or self._connection.environment is None:
            self._kill()
        else:
            self._connection.close()
        self._connection = self._pool = self._coordinator = None

    def _clean_up(self) -> None:
        """Let the workers remove their scratch copies."""
        if self._uses_scratch and self._pool is not None:
            cleaned = [handle.actor.clean_up.remote() for handle in self._pool if handle.info]
            # What a worker leaves is removed when the next run starts there.
            if cleaned:
                ray.wait(cleaned, num_returns=len(cleaned), timeout=_GRACE_S)
            self._uses_scratch = False

    def _kill(self) -> None:
        for handle in self.workers:
            ray.kill(handle.actor)
        if self._coordinator is not None:
            ray.kill(self._coordinator)
            self._coordinator = None

    # --- the run ---------------------------------------------------------------------------

    def run(self, recordings: Iterable[Sequence[Task]], observer: Observer) -> None:
        assert self._pool is not None and self._connection is not None, "start() comes first"
        tasks = tuple(chain.from_iterable(recordings))
        places = places_of(task.step for task in tasks)
        self._uses_scratch = bool(places.in_stores.videos or places.in_stores.roots)
        self._submissions = Submissions(
            self._pool, self._coordinator, self._artifacts, SharedIndexes(tasks)
        )
        self._observer: Observer = observer
        with _sigterm_interrupts(), ExitStack() as held:
            try:
                if not self._is_local:
                    held.enter_context(marked(places))
                self._handle(
                    TimePassed(time.monotonic()),
                    *self._pool.open(None if self._is_local else places),
                    TasksAdded(tasks),
                )
                self._loop({task.id: task for task in tasks})
            except KeyboardInterrupt:
                self._stop()
                raise
            except ray.exceptions.RayError as error:
                raise ClusterError(
                    f"the run lost the Ray cluster ({first_line(error)})",
                    hint="Run the same command again: finished outputs are kept.",
                ) from error

    def _loop(self, tasks: dict[str, Task]) -> None:
        """Translate what happens into events until every task has ended."""
        assert self._pool is not None
        reported = watched = time.monotonic()
        while not self._scheduler.is_done:
            _wait([*self._submissions.references, *self._pool.pending])
            ended = list(self._submissions.ended())
            lost = any(isinstance(event, WorkersLost) for event, _ in ended)
            if lost or time.monotonic() - reported > _POLL_S:
                # Which task was running must be known before a loss is counted.
                reported = time.monotonic()
                self._report_progress()
            for event, summary in ended:
                lost_too = self._pool.lost(event) if isinstance(event, WorkersLost) else [event]
                self._handle(*lost_too)
                if summary is not None:
                    self._observer.finished(summary)
            self._handle(*self._pool.events())
            if time.monotonic() - watched > _WATCH_S:
                watched = time.monotonic()
                self._handle(
                    *self._pool.watch(None if self._is_local else self._cpus_of_gpu_workers),
                    TimePassed(watched),
                )

    def _report_progress(self) -> None:
        # If the driver's node is lost, Ray waits for ever to restart the coordinator there.
        polled = self._coordinator.poll_progress.remote()
        latest: list[tuple[Progress, int]] = ray.get(polled, timeout=_CLUSTER_S)
        for progress, attempt in latest:
            if self._submissions.is_current(progress.task, attempt):
                self._handle(Progressed(progress.task, attempt))
                self._observer.progress(progress)

    def _handle(self, *events: Event) -> None:
        """Pass events to the scheduler, and execute its actions."""
        for event in events:
            self._execute(self._scheduler.handle(event))

    def _execute(self, actions: Sequence[Action]) -> None:
        assert self._pool is not None
        for action in actions:
            match action:
                case Submit():
                    self._submissions.submit(action)
                    self._announce_videos(action)
                case Cancel():
                    self._handle(*self._submissions.withdraw(action))
                case Forget(output):
                    self._submissions.forget(output)
                case StartWorker(number, gpu):
                    self._pool.start(number, gpu)
                case StopWorker(number):
                    self._pool.stop(number)
                case Abandon():
                    summary = self._submissions.abandon(action)
                    if summary is not None:
                        self._observer.finished(summary)
                case GiveUp(reason):
                    raise self._no_workers(reason)

    def _announce_videos(self, action: Submit) -> None:
        """Tell a GPU worker which videos it will need, so that it fetches them meanwhile."""
        if action.task.gpu:
            for video in action.task.step.videos:
                if is_url(video.path):
                    self._coordinator.expect.remote(action.worker, video.path)

    def _stop(self) -> None:
        """Let running tasks stop at their next report; then stop the workers."""
        ray.get(self._coordinator.stop.remote())
        running = self._submissions.references
        if running:
            ray.wait(running, num_returns=len(running), timeout=_GRACE_S)
        self._clean_up()
        self._kill()


def _wait(references: list[Any]) -> None:
    """Wait until one is ready or a moment has passed; Ray rejects an empty list."""
    if references:
        ray.wait(references, num_returns=1, timeout=_POLL_S)
    else:
        time.sleep(_POLL_S)


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does. Set after `ray.init`, which installs a handler too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
