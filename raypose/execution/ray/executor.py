"""The executor: joins or starts a cluster, and executes the scheduler's actions there."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypose.config import Settings
from raypose.errors import ClusterError, DeviceError, UsageError
from raypose.execution import events
from raypose.execution.artifacts import ArtifactBuilder
from raypose.execution.base import Claim, Observer, Wait
from raypose.execution.interrupts import stop_signals_interrupt
from raypose.execution.ray.connection import Connection, connect, first_line
from raypose.execution.ray.isolation import start_actor
from raypose.execution.ray.metrics import MeteredObserver
from raypose.execution.ray.pool import WorkerPool
from raypose.execution.ray.sizes import Sizes, node_resources, sizes_of
from raypose.execution.ray.submissions import CLUSTER_S, Submissions
from raypose.execution.ray.worker import Coordinator, Worker, WorkerInfo, WorkerSettings
from raypose.execution.scheduler import Scheduler
from raypose.specs import ModelSpec, Progress
from raypose.steps.base import Task, io_paths
from raypose.storage import local_path, scratch
from raypose.storage.connection import shared_environment
from raypose.worker.storage_check import marker_files

_POLL_S = 0.25
_WATCH_S = 2.0
_LATE_S = 60.0
_GRACE_S = 5.0

_WAIT_VARIABLE = "RAYPOSE_GPU_WAIT_S"


def wait_limit_s() -> float:
    """How long a run waits for a worker with a GPU, in seconds: a cloud takes minutes."""
    text = os.environ.get(_WAIT_VARIABLE, "900")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        hint = f"Give a number of seconds, as in {_WAIT_VARIABLE}=900."
        raise UsageError(f"{_WAIT_VARIABLE} is {text!r}, which is no number of seconds", hint=hint)
    return seconds


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """The driver's node, so that losing another node costs nothing that the driver needs.

    Ray puts an actor without resources on any node, and respects an affinity only if it is hard.
    """
    here = ray.get_runtime_context().get_node_id()
    return NodeAffinitySchedulingStrategy(here, soft=False)


class RayExecutor:
    """Runs the tasks on Ray; see the package's docstring.

    `worker_class` is that of the actors; the benchmark of scheduling passes a stub. What Ray
    prints in this process goes to the file `log`; None drops it.
    """

    def __init__(
        self, config: Settings, *, worker_class: type = Worker, log: Path | None = None
    ) -> None:
        self.description = ""
        self.pool = WorkerPool(self._start_worker)
        self._config = config
        self._worker_class = worker_class
        self._log = log
        self._connection: Connection | None = None
        self._coordinator: Any = None
        self._artifacts: dict[str, Any] = {}
        self._observer: MeteredObserver | None = None
        self._claim: Claim | None = None
        self._uses_scratch = False
        self._watched = 0.0

    def start(self, models: Sequence[ModelSpec], task_bytes: int, on_wait: Wait) -> int:
        def waiting(what: str) -> None:
            self._check_cluster()
            on_wait(what)

        config, limit_s = self._config, wait_limit_s()
        # What the cache lacks is built in another process while Ray and the workers start.
        with ArtifactBuilder(models, allow_unsafe=config.allow_unsafe_checkpoint) as builder:
            self._connection = connect(
                config.address, config.gpus, config.cpus, self._log, on_wait
            )
            self._is_local = self.pool.is_local = self._connection.is_local
            nodes = list(node_resources().values())
            self._sizes = sizes_of(nodes, config, is_local=self._is_local, task_bytes=task_bytes)
            n_gpu, n_cpu = self._sizes.n_gpu, self._sizes.n_cpu(nodes)
            self._check_gpus()
            self._start_coordinator()
            self._scheduler = Scheduler(
                n_gpu, n_cpu, stall_timeout_s=config.stall_timeout_s, wait_limit_s=limit_s
            )
            self._execute(self._scheduler.start())
            for model, artifact in builder.artifacts(waiting):
                self._artifacts[model.fingerprint] = ray.put(artifact)
        info = self._wait_for_workers(on_wait)
        self.description = f"{self._connection.name}, {self._describe_workers(info, n_cpu)}"
        return n_gpu

    def _start_coordinator(self) -> None:
        # Workers find the coordinator by its name, which stays when Ray restarts it.
        name = f"raypose-{secrets.token_hex(8)}"
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        self._coordinator = start_actor(
            Coordinator, name=name, scheduling_strategy=on_this_node(), **options
        )
        self._settings = WorkerSettings(
            coordinator=name,
            device=self._config.device,
            sizes=self._sizes,
            allow_unsafe=self._config.allow_unsafe_checkpoint,
            environment=shared_environment(),
            scratch=scratch.settings(),
            stall_timeout_s=self._config.stall_timeout_s,
            gpu_encoder=self._config.gpu_encoder,
        )

    def _start_worker(self, number: int, gpu: bool) -> Any:
        # Ray retries neither the actor nor its tasks: the scheduler decides that.
        options = {"max_restarts": 0, "scheduling_strategy": "SPREAD", **self._sizes.options(gpu)}
        return start_actor(self._worker_class, number, gpu, self._settings, **options)

    def _wait_for_workers(self, on_wait: Wait) -> WorkerInfo:
        """Wait until all GPU workers have started, or one has and the others are late.

        Returns the first one: a CPU worker where no GPU workers are wanted.
        """
        n_gpu = self._sizes.n_gpu
        began = time.monotonic()
        first: WorkerInfo | None = None
        while True:
            self._check_cluster()
            infos = [w.info for w in self.pool if w.gpu == bool(n_gpu) and w.info]
            if infos and first is None:
                first, began = infos[0], time.monotonic()
            waited_s = time.monotonic() - began
            if first is not None and (len(infos) >= n_gpu or waited_s > _LATE_S):
                return first
            if first is None and waited_s > wait_limit_s():
                raise self._no_workers(f"no worker could be started within {waited_s:.0f} s")
            kind = "with GPUs" if self._sizes.on_gpus else "on CPUs"
            on_wait(f"Starting workers {kind}, {len(infos)} of {max(1, n_gpu)} ready")
            _wait(self.pool.pending)
            self._handle(*self.pool.events())
            self._watch(None)

    def _no_workers(self, what: str, starts_fail: bool = False) -> ClusterError:
        asked = f" (--gpus {self._config.gpus} was given)" if self._config.gpus else ""
        hint = "`ray status` on the cluster says what it waits for."
        if starts_fail:
            hint = "The machine may be short of memory: use fewer with --gpus and --cpus."
        kept = "Finished outputs are kept, and the same command continues the run."
        return ClusterError(what + asked, hint=f"{hint} {kept}")

    def _check_gpus(self) -> None:
        """Fail where Ray offers no GPU and the user did not choose the CPU."""
        if self._sizes.on_gpus or not self._sizes.n_gpu:
            return
        if self._config.device == "cuda":
            raise DeviceError(
                "--device cuda was given, but Ray finds no GPU",
                hint="Check nvidia-smi, or run with --device cpu.",
            )
        if self._is_local and self._config.device == "auto" and self._config.gpus is None:
            from raypose.inference.device import resolve_device

            if resolve_device("auto") != "cpu":  # raises where torch can't use the GPU either
                raise DeviceError(
                    "torch sees a GPU that Ray does not find",
                    hint="Give their number with --gpus, or run with --device cpu.",
                )

    def _describe_workers(self, first: WorkerInfo, n_cpu: int) -> str:
        n_gpu = self._sizes.n_gpu
        if not n_gpu:
            return f"{n_cpu} CPU worker{'s' if n_cpu > 1 else ''}"
        if first.device.startswith("cuda"):
            n_whole = -(-n_gpu // self._config.workers_per_gpu)
            return f"{n_whole} GPU{'s' if n_whole > 1 else ''}"
        if self._sizes.on_gpus:
            return f"{n_gpu} logical GPU(s), computing on CPU since torch finds no GPU"
        return f"CPU ({n_gpu} worker{'s' if n_gpu > 1 else ''}): there is no GPU to use"

    def close(self) -> None:
        try:
            if self._connection is not None and ray.is_initialized():
                with suppress(ray.exceptions.RayError):  # Ray itself may have died
                    self._clean_up()
                    if self._connection.environment is None:
                        self._kill()
        finally:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._coordinator = None
            self.pool = WorkerPool(self._start_worker)

    def _clean_up(self) -> None:
        """Let the workers remove their scratch copies."""
        if self._uses_scratch:
            cleaned = [worker.actor.clean_up.remote() for worker in self.pool if worker.info]
            # What a worker leaves is removed when the next run starts there.
            if cleaned:
                ray.wait(cleaned, num_returns=len(cleaned), timeout=_GRACE_S)
            self._uses_scratch = False

    def _kill(self) -> None:
        for worker in self.pool:
            ray.kill(worker.actor)
        if self._coordinator is not None:
            ray.kill(self._coordinator)
            self._coordinator = None

    def run(self, tasks: Sequence[Task], observer: Observer, claim: Claim | None = None) -> None:
        self._claim = claim
        places = io_paths(tasks)
        self._uses_scratch = bool(places.in_stores)
        self._submissions = Submissions(self.pool, self._coordinator, self._artifacts, tasks)
        run = "" if self._log is None else str(self._log.parent)
        self._observer = MeteredObserver(observer, tasks, run)
        with stop_signals_interrupt(), ExitStack() as held:
            try:
                if not self._is_local:
                    held.enter_context(marker_files(places))
                self._handle(
                    events.TimePassed(time.monotonic()),
                    *self.pool.open(None if self._is_local else places),
                    events.TasksAdded(tuple(tasks), to_claim=claim is not None),
                )
                self._loop(self._observer)
            except KeyboardInterrupt:
                self._stop()
                raise
            except ray.exceptions.RayError as error:
                self._check_cluster()
                raise ClusterError(
                    f"the run lost the Ray cluster ({first_line(error)})",
                    hint="Run the same command again: finished outputs are kept.",
                ) from error

    def _check_cluster(self) -> None:
        if self._connection is not None:
            self._connection.check()

    def _loop(self, observer: Observer) -> None:
        """Translate what happens into events until every task has ended."""
        reported = time.monotonic()
        while True:
            _wait([*self._submissions.references, *self.pool.pending])
            losses = []
            for event, summary in list(self._submissions.ended()):
                if not isinstance(event, events.Finished):
                    losses.append(event)
                    continue
                self._handle(event)
                if summary is not None:
                    observer.finished(summary)
            if self._scheduler.is_done:
                return  # whatever has become of Ray
            self._check_cluster()  # before the workers that died with it are counted as lost
            lost = any(isinstance(event, events.WorkersLost) for event in losses)
            if lost or time.monotonic() - reported > _POLL_S:
                # Which task was running must be known before a loss is counted.
                reported = time.monotonic()
                self._report_progress(observer)
            for event in losses:
                self._handle(
                    *(self.pool.lost(event) if isinstance(event, events.WorkersLost) else [event])
                )
            self._handle(*self.pool.events())
            self._watch(None if self._is_local else self._sizes)

    def _watch(self, sizes: Sizes | None) -> None:
        """Look every few seconds for lost nodes and, with sizes, for room for CPU workers."""
        if time.monotonic() - self._watched > _WATCH_S:
            self._watched = time.monotonic()
            if self._observer is not None:
                self._observer.refresh()
            self._handle(*self.pool.watch(sizes), events.TimePassed(self._watched))

    def _report_progress(self, observer: Observer) -> None:
        polled = self._coordinator.poll_progress.remote()
        asked = time.monotonic()
        while not ray.wait([polled], timeout=_POLL_S)[0] and time.monotonic() - asked < CLUSTER_S:
            self._check_cluster()
        latest: list[tuple[Progress, int]] = ray.get(polled, timeout=0)
        for progress, attempt in latest:
            if self._submissions.is_current(progress.task, attempt):
                self._handle(events.Progressed(progress.task, attempt))
                if not self._submissions.was_reported(progress.task):
                    observer.progress(progress)

    def _handle(self, *happened: events.Event) -> None:
        """Pass events to the scheduler, and execute its actions."""
        waiting = deque(happened)
        while waiting:
            event = waiting.popleft()
            reason = f"it gave no sign of life for {self._config.stall_timeout_s:.0f} s"
            if isinstance(event, events.WorkersLost):
                reason = event.reason
            waiting.extendleft(self._execute(self._scheduler.handle(event), reason))

    def _execute(
        self, actions: Sequence[events.Action], reason: str = ""
    ) -> list[events.OfRecording]:
        """Do what the scheduler says; `reason` is why a worker is stopped.

        Returns the answer to its claim, if there is one among the actions.
        """
        answers = []
        for action in actions:
            match action:
                case events.Submit():
                    self._submissions.submit(action)
                    self._announce_videos(action)
                case events.Cancel():
                    self._handle(*self._submissions.withdraw(action))
                case events.Forget(output):
                    self._submissions.forget(output)
                case events.StartWorker(number, gpu):
                    self.pool.start(number, gpu)
                case events.StopWorker(number):
                    info = self.pool[number].info
                    self.pool.stop(number)
                    if info is not None and self._observer is not None:
                        self._observer.lost(info.name, reason)
                case events.Abandon():
                    summary = self._submissions.abandon(action)
                    if summary is not None and self._observer is not None:
                        self._observer.finished(summary)
                case events.Claim(recording, ahead) if self._claim is not None:
                    answers.append(self._claim(recording, ahead))
                    if isinstance(answers[-1], events.Replanned):
                        self._replan(answers[-1])
                case events.GiveUp(reason, starts_fail):
                    raise self._no_workers(reason, starts_fail)
        return answers

    def _replan(self, event: events.Replanned) -> None:
        self._submissions.replan(event)
        if self._observer is not None:
            self._observer.replanned(event)

    def _announce_videos(self, action: events.Submit) -> None:
        """Tell a GPU worker which videos it will need, so that it fetches them meanwhile."""
        for video in action.task.step.videos if action.task.gpu else ():
            if local_path(video.path) is None:
                self._coordinator.expect.remote(action.worker, video.path)

    def _stop(self) -> None:
        """Let running tasks stop at their next report; then stop the workers."""
        with suppress(ray.exceptions.RayError):  # without a coordinator the workers are killed
            ray.get(self._coordinator.stop.remote(), timeout=_GRACE_S)
        if running := self._submissions.references:
            ray.wait(running, num_returns=len(running), timeout=_GRACE_S)
        self._clean_up()
        self._kill()


def _wait(references: list[Any]) -> None:
    """Wait until one is ready or a moment has passed; Ray rejects an empty list."""
    if references:
        ray.wait(references, num_returns=1, timeout=_POLL_S)
    else:
        time.sleep(_POLL_S)
