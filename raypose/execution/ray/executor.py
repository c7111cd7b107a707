"""The executor: joins or starts a cluster, and does there what the scheduler says."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
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
from raypose.execution.ray.isolation import remote_class
from raypose.execution.ray.pool import Handle, WorkerPool
from raypose.execution.ray.sizes import node_resources, sizes_of
from raypose.execution.ray.submissions import Submissions
from raypose.execution.ray.worker import Worker, WorkerInfo, WorkerSettings
from raypose.execution.scheduler import Scheduler
from raypose.specs import ModelSpec
from raypose.storage import is_url, scratch, shared_environment
from raypose.tasks import Progress, Task, as_load
from raypose.worker.storage_check import marked, places_of

_POLL_S = 0.25
_WATCH_S = 2.0
_LATE_S = 60.0
_GRACE_S = 5.0
_CLUSTER_S = 30.0
"""How long the coordinator may be silent, started again meanwhile, before the cluster is lost."""


def wait_limit_s() -> float:
    """How long a run waits for a worker with a GPU, in seconds: a cloud takes minutes."""
    return float(os.environ.get("RAYPOSE_GPU_WAIT_S", "900"))


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """Where the driver is, so that what it needs is lost with it alone.

    Ray puts an actor that asks for nothing on any node, and heeds an affinity only if it is hard.
    """
    here = ray.get_runtime_context().get_node_id()
    return NodeAffinitySchedulingStrategy(here, soft=False)


class RayExecutor:
    """Does the tasks on Ray; see the module's docstring.

    Args:
        config: what was asked for.
        worker_class: what the actors are; a benchmark of the scheduling puts a stub here.
    """

    def __init__(self, config: Settings, *, worker_class: type = Worker) -> None:
        self._config = config
        self._worker_class = worker_class
        self._connection: Connection | None = None
        self._pool: WorkerPool | None = None
        self._coordinator: Any = None
        self._graphs: dict[str, Any] = {}
        self._description = ""
        self._uses_scratch = False

    @property
    def description(self) -> str:
        return self._description

    @property
    def workers(self) -> list[Handle]:
        """The workers that it has started."""
        return list(self._pool or ())

    @property
    def _is_local(self) -> bool:
        return self._connection is not None and self._connection.is_local

    # --- start and end -------------------------------------------------------------------

    def start(self, models: Sequence[ModelSpec]) -> int:
        unsafe = self._config.allow_unsafe_checkpoint
        # What no cache holds is built in a process of its own, while Ray and the workers start.
        with GraphBuilder(models, allow_unsafe=unsafe) as builder:
            config = self._config
            self._connection = connect(config.address, config.gpus, config.cpus)
            nodes = list(node_resources().values())
            self._sizes = sizes_of(nodes, config, is_local=self._is_local)
            n_gpu, n_cpu = self._sizes.n_gpu, self._sizes.n_cpu(nodes)
            self._check_gpus()
            self._pool = self._make_pool()
            self._scheduler = Scheduler(
                n_gpu,
                n_cpu,
                stall_timeout_s=self._config.stall_timeout_s,
                wait_limit_s=wait_limit_s(),
                from_disk=as_load,
            )
            self._do(self._scheduler.start())
            self._graphs = {m.fingerprint: ray.put(graph) for m, graph in builder.graphs()}
        first = self._wait_for_workers(n_gpu)
        self._description = self._describe(first, n_gpu, n_cpu)
        return n_gpu

    def _make_pool(self) -> WorkerPool:
        # Workers find the coordinator by its name, which a restart does not change.
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
            sizes=self._sizes,
            allow_unsafe=self._config.allow_unsafe_checkpoint,
            environment=shared_environment(),
            scratch=scratch.settings(),
            stall_timeout_s=self._config.stall_timeout_s,
            gpu_encoder=self._config.gpu_encoder,
        )

        def start(number: int, gpu: bool) -> Any:
            # Neither the actor nor its tasks are repeated by Ray: the scheduler decides that.
            options = {"max_restarts": 0, "scheduling_strategy": "SPREAD"}
            options |= self._sizes.options(gpu)
            return remote_class(self._worker_class, **options).remote(number, gpu, settings)

        return WorkerPool(start)

    def _wait_for_workers(self, n_gpu: int) -> WorkerInfo:
        """Until all GPU workers are there, or one is and the others keep us waiting.

        Returns:
            One that is up: a CPU worker where no GPU workers are wanted.

        Raises:
            ClusterError: none came in time.
        """
        pool = self._pool
        assert pool is not None
        began = time.monotonic()
        first: WorkerInfo | None = None
        watched = began
        while True:
            _wait(pool.questions)
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
        asked = f" ({self._config.gpus} GPUs were asked for)" if self._config.gpus else ""
        return ClusterError(
            what + asked,
            hint="See with `ray status` on the cluster what it waits for; finished outputs stay "
            "done, and the same command goes on.",
        )

    def _check_gpus(self) -> None:
        """Stop where the user did not ask for the CPU, and Ray offers no GPU."""
        from raypose.inference.device import resolve_device

        if self._sizes.on_gpus or not self._sizes.n_gpu:
            return
        if self._config.device == "cuda":
            raise DeviceError(
                "--device cuda was given, but Ray finds no GPU",
                hint="Check nvidia-smi, or run with --device cpu.",
            )

        if self._is_local and self._config.device == "auto" and self._config.gpus is None:
            device = resolve_device("auto")  # raises where torch can't use it either
            if device != "cpu":
                raise DeviceError(
                    "torch sees a GPU that Ray does not find",
                    hint="Say how many there are with --gpus, or run with --device cpu.",
                )

    def _describe(self, info: WorkerInfo, n_gpu: int, n_cpu: int) -> str:
        assert self._connection is not None
        if not n_gpu:
            what = f"{n_cpu} CPU worker{'s' if n_cpu > 1 else ''}"
        elif info.device.startswith("cuda"):
            n_whole = -(-n_gpu // self._config.workers_per_gpu)
            what = f"{n_whole} GPU{'s' if n_whole > 1 else ''}"
        elif self._sizes.on_gpus:
            what = f"{n_gpu} logical GPU(s), computing on CPU since torch finds no GPU"
        else:
            what = f"CPU ({n_gpu} worker{'s' if n_gpu > 1 else ''}): there is no GPU to use"
        return f"{self._connection.name}, {what}"

    def close(self) -> None:
        if ray.is_initialized():
            self._tidy()
        if self._connection is None or self._connection.environment is None:
            self._kill()
        else:
            self._connection.close()
        self._connection = self._pool = self._coordinator = None

    def _tidy(self) -> None:
        """Let the workers give back their scratch."""
        if self._uses_scratch and self._pool is not None:
            tidied = [handle.actor.tidy.remote() for handle in self._pool if handle.info]
            # What a worker does not give back by then goes when the next run starts there.
            if tidied:
                ray.wait(tidied, num_returns=len(tidied), timeout=_GRACE_S)
            self._uses_scratch = False

    def _kill(self) -> None:
        for handle in self.workers:
            ray.kill(handle.actor)
        if self._coordinator is not None:
            ray.kill(self._coordinator)
            self._coordinator = None

    # --- the run ---------------------------------------------------------------------------

    def run(self, sessions: Iterable[Sequence[Task]], observer: Observer) -> None:
        assert self._pool is not None and self._connection is not None, "start() comes first"
        tasks = tuple(chain.from_iterable(sessions))
        places = places_of(tasks)
        self._uses_scratch = bool(places.in_stores.videos or places.in_stores.roots)
        self._submissions = Submissions(self._pool, self._coordinator, self._graphs)
        self._observer: Observer = observer
        with _terminated_like_interrupted(), ExitStack() as held:
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
                    hint="Run the same command again: finished outputs stay done.",
                ) from error

    def _loop(self, tasks: dict[str, Task]) -> None:
        """Wait for what happens, until every task has ended."""
        assert self._pool is not None
        reported = watched = time.monotonic()
        while not self._scheduler.is_done:
            _wait([*self._submissions.references, *self._pool.questions])
            ended = list(self._submissions.ended())
            lost = any(isinstance(event, WorkersLost) for event, _ in ended)
            if lost or time.monotonic() - reported > _POLL_S:
                # Before a loss is counted, it must be known which task was running.
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
                    *self._pool.watch(None if self._is_local else self._sizes),
                    TimePassed(watched),
                )

    def _report_progress(self) -> None:
        # Ray waits for ever for what is to be started again on a node that is gone: the driver's.
        drained = self._coordinator.drain.remote()
        news: list[tuple[Progress, int]] = ray.get(drained, timeout=_CLUSTER_S)
        for progress, attempt in news:
            if self._submissions.has(progress.task, attempt):
                self._handle(Progressed(progress.task, attempt))
                self._observer.progress(progress)

    def _handle(self, *events: Event) -> None:
        """Tell the scheduler, and do what it answers."""
        for event in events:
            self._do(self._scheduler.handle(event))

    def _do(self, actions: Sequence[Action]) -> None:
        assert self._pool is not None
        for action in actions:
            match action:
                case Submit():
                    self._submissions.submit(action)
                    self._expect(action)
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

    def _expect(self, action: Submit) -> None:
        """Tell a GPU worker of videos that it will need, so that it fetches them meanwhile."""
        if action.task.gpu:
            for video in action.task.videos:
                if is_url(video.path):
                    self._coordinator.expect.remote(action.worker, video.path)

    def _stop(self) -> None:
        """Let running tasks come to their next report and clean up; then end them."""
        ray.get(self._coordinator.stop.remote())
        running = self._submissions.references
        if running:
            ray.wait(running, num_returns=len(running), timeout=_GRACE_S)
        self._tidy()
        self._kill()


def _wait(references: list[Any]) -> None:
    """Until one of them is ready, or a moment has passed; Ray takes no empty list."""
    if references:
        ray.wait(references, num_returns=1, timeout=_POLL_S)
    else:
        time.sleep(_POLL_S)


class _terminated_like_interrupted:
    """SIGTERM ends a run as Ctrl-C does. Set after `ray.init`, which installs a handler too."""

    def __enter__(self) -> None:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
