"""The plan on Ray: GPU tasks on workers that own a GPU, the rest on CPU actors.

One long-lived actor holds one GPU (a GPU task of Ray's own would start a process each time), and
keeps its networks between tasks. All tasks of a session are submitted at once; each takes the
results it depends on as futures, so that Ray does the waiting and hands tables over through the
object store. The driver keeps a bounded number of sessions in flight and listens.

What goes wrong: Ray starts dead workers again and repeats their calls; an actor without a GPU or
CPU (`Board`) counts the attempts, so that a video that kills its worker each time fails by name
in the end. This is the only module that imports ray, the job client of `submit` aside.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypose.config import RunConfig
from raypose.errors import CancelledError, ClusterError, DeviceError, Failure
from raypose.executors.base import Observer
from raypose.executors.graphs import GraphBuilder
from raypose.tasks import ModelSpec, Progress, Summary, Task

# Read when ray is imported, so they are set before.
for _name, _value in {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker starts through `uv run`
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "1",  # else a task that outgrows the memory is repeated for ever
    "RAY_grpc_client_keepalive_time_ms": "10000",  # a cut link is noticed in seconds
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",  # no cluster of ours takes work from whoever finds its port
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

MAX_ATTEMPTS = 3
"""Times that a task may lose its worker before it fails."""

_REPORT_EVERY_S = 0.3
_POLL_S = 0.25
_GRACE_S = 5.0


class Board:
    """What workers and driver share: attempts begun, progress, and where the graphs lie."""

    def __init__(self) -> None:
        self._graphs: dict[str, Any] = {}
        self._attempts: dict[str, int] = defaultdict(int)
        self._progress: dict[str, Progress] = {}
        self._stop = False

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

    def report(self, progress: Progress) -> bool:
        """Take note of progress; returns whether the run is to stop."""
        self._progress[progress.task] = progress
        return self._stop

    def drain(self) -> list[Progress]:
        """The latest word of each task since the last call."""
        news, self._progress = list(self._progress.values()), {}
        return news

    def stop(self) -> None:
        """Ask all workers to stop at their next report."""
        self._stop = True


class Worker:
    """A process that does tasks: on the GPU that Ray gave it, or on CPUs.

    Args:
        board: the run's `Board`.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of torch.
        allow_unsafe: whether checkpoints may be unpickled unsafely.
    """

    def __init__(
        self,
        board: Any,
        device: str,
        threads: int,
        allow_unsafe: bool,
    ) -> None:
        from raypose.stages.context import Context

        self._board = board
        self._stop = False
        self._last_report = 0.0
        self._threads = threads
        gpus = ray.get_gpu_ids()
        if device == "cpu" or not gpus:
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
            self._stop = ray.get(self._board.report.remote(progress))

    def _graph(self, model: ModelSpec) -> bytes | None:
        reference = ray.get(self._board.graph.remote(model.fingerprint))
        return None if reference is None else ray.get(reference)


@dataclass
class _Slot:
    """A worker as the driver sees it: the actor, and the frames it was given and has not done.

    Attributes:
        actor: the actor's handle.
        described: reference to what it says of itself; asked first, so that torch is imported
            before a task comes.
        load: frames of each task that it was given.
    """

    actor: Any
    described: Any = None
    load: dict[str, int] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        return sum(self.load.values())


class RayExecutor:
    """Does the tasks on Ray; see the module's docstring.

    Args:
        config: what was asked for.
        worker_class: what the actors are; a benchmark of the scheduling puts a stub here.
    """

    def __init__(self, config: RunConfig, *, worker_class: type = Worker) -> None:
        self._config = config
        self._worker_class = worker_class
        self._local = config.address in (None, "local")
        self._started_here = False
        self._gpu_slots: list[_Slot] = []
        self._cpu_slots: list[_Slot] = []
        self._board: Any = None
        self._graphs: dict[str, Any] = {}
        self._description = ""

    @property
    def description(self) -> str:
        return self._description

    # --- start and end -------------------------------------------------------------------

    def start(self, models: Sequence[ModelSpec]) -> int:
        unsafe = self._config.allow_unsafe_checkpoint
        # What no cache holds is built in a process of its own, while Ray and the workers start.
        with GraphBuilder(models, allow_unsafe=unsafe) as builder:
            self._connect()
            n_gpu, on_gpus = self._start_workers()
            self._graphs = {m.fingerprint: ray.put(graph) for m, graph in builder.graphs()}
            ray.get(self._board.publish.remote(self._graphs))
        self._describe(n_gpu, on_gpus)
        return n_gpu

    def _start_workers(self) -> tuple[int, bool]:
        """Start all actors; returns the number of GPU workers and whether they hold GPUs."""
        n_gpu, n_cpu, gpu_options, threads = self._sizes()
        here = ray.get_runtime_context().get_node_id()
        self._board = (
            ray.remote(Board)
            .options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True)
            )
            .remote()
        )
        worker = ray.remote(self._worker_class)
        common = {
            "max_restarts": -1,
            "max_task_retries": -1,
            "allow_out_of_order_execution": True,
            "scheduling_strategy": "SPREAD",
        }
        unsafe, device = self._config.allow_unsafe_checkpoint, self._config.device
        for _ in range(n_gpu):
            options = {**common, **gpu_options}
            actor = worker.options(**options).remote(self._board, device, threads, unsafe)
            self._gpu_slots.append(_Slot(actor, actor.describe.remote()))
        for _ in range(n_cpu):
            actor = worker.options(**common, num_cpus=1).remote(self._board, "cpu", 1, unsafe)
            self._cpu_slots.append(_Slot(actor))
        return n_gpu, bool(gpu_options.get("num_gpus"))

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "namespace": "raypose",
        }
        try:
            if self._local:
                if not _has_token():
                    # For this cluster alone: nobody else joins it, and no file is left behind.
                    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
                ray.init(
                    address="local",
                    include_dashboard=False,
                    num_gpus=self._config.gpus,
                    **options,
                )
            else:
                ray.init(address=self._config.address, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise _cluster_error(error, self._config.address) from error
        self._started_here = True

    def _sizes(self) -> tuple[int, int, dict[str, Any], int]:
        """How many GPU workers and CPU actors, the GPU workers' resources, and torch's threads."""
        resources = ray.cluster_resources()
        cpus = max(1, int(resources.get("CPU", 1)))
        gpus = int(resources.get("GPU", 0))
        asked = self._config.gpus
        if gpus == 0 and (asked is None or self._local):
            if self._config.device == "cuda":
                raise DeviceError(
                    "--device cuda was given, but Ray finds no GPU",
                    hint="Check nvidia-smi, or run with --device cpu.",
                )
            # About four threads a worker: more in one process gain little on small networks.
            n_gpu = asked or max(1, cpus // 4)
            threads = max(1, cpus // n_gpu)
            return n_gpu, max(1, cpus - n_gpu), {"num_cpus": 1 if cpus > n_gpu else 0}, threads
        # More GPUs than there are now may be asked of a cluster that scales up.
        n_gpu = asked if asked is not None else gpus
        spare = cpus > n_gpu
        n_cpu = max(1, cpus - n_gpu) if spare else cpus
        options = {"num_gpus": 1, "num_cpus": 1 if spare else 0}
        return n_gpu, n_cpu, options, max(1, cpus // n_gpu)

    def _describe(self, n_gpu: int, on_gpus: bool) -> None:
        try:
            described = ray.get(self._gpu_slots[0].described)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"a worker could not be started ({_first_line(error)})",
                hint="Check that raypose of the same version is installed on every node.",
            ) from error
        if isinstance(described, Failure):
            raise DeviceError(described.message, path=described.path, hint=described.hint)
        device = described[1]
        where = "Ray on this machine" if self._local else f"the Ray cluster {self._config.address}"
        if device.startswith("cuda"):
            what = f"{n_gpu} GPU{'s' if n_gpu > 1 else ''}"
        elif on_gpus:
            what = f"{n_gpu} logical GPU(s), computing on CPU since torch finds no GPU"
        else:
            what = f"CPU ({n_gpu} worker{'s' if n_gpu > 1 else ''}): there is no GPU to use"
        self._description = f"{where}, {what}"

    def close(self) -> None:
        if self._started_here and ray.is_initialized():
            ray.shutdown()
            self._started_here = False
        else:
            self._kill()
        self._gpu_slots, self._cpu_slots = [], []

    def _kill(self) -> None:
        for slot in (*self._gpu_slots, *self._cpu_slots):
            ray.kill(slot.actor)
        if self._board is not None:
            ray.kill(self._board)
            self._board = None

    # --- the run ---------------------------------------------------------------------------

    def run(self, sessions: Iterable[Sequence[Task]], observer: Observer) -> None:
        flight = _Flight(self._gpu_slots, self._cpu_slots)
        waiting = deque(sessions)
        with _terminated_like_interrupted():
            try:
                while waiting or flight.references:
                    while waiting and flight.has_room():
                        flight.submit(waiting.popleft())
                    for summary in flight.wait(_POLL_S):
                        observer.finished(summary)
                    for progress in ray.get(self._board.drain.remote()):
                        if progress.task in flight.tasks:
                            observer.progress(progress)
            except KeyboardInterrupt:
                self._stop(flight)
                raise
            except ray.exceptions.RayError as error:
                raise ClusterError(
                    f"the run lost the Ray cluster ({_first_line(error)})",
                    hint="Run the same command again: what is done is not done again.",
                ) from error

    def _stop(self, flight: _Flight) -> None:
        """Let running tasks come to their next report and clean up; then end them."""
        ray.get(self._board.stop.remote())
        running = list(flight.references)
        if running:
            ray.wait(running, num_returns=len(running), timeout=_GRACE_S)
        self._kill()


class _Flight:
    """The sessions in flight: what was submitted and is not yet through."""

    def __init__(self, gpu_slots: Sequence[_Slot], cpu_slots: Sequence[_Slot]) -> None:
        self._gpu_slots = gpu_slots
        self._cpu_slots = cpu_slots
        self.references: dict[Any, Task] = {}
        self.tasks: dict[str, _Slot] = {}
        # What a worker has queued beside the task it is at: enough to never wait for the driver.
        self._most_gpu_tasks = 3 * len(gpu_slots)
        self._most_tasks = self._most_gpu_tasks + 8 * len(cpu_slots) + 16

    def has_room(self) -> bool:
        n_gpu_tasks = sum(len(slot.load) for slot in self._gpu_slots)
        return n_gpu_tasks < self._most_gpu_tasks and len(self.tasks) < self._most_tasks

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand all tasks of a session to Ray; those that depend on others get their futures."""
        values: dict[str, Any] = {}
        for task in tasks:
            slot = min(self._gpu_slots if task.gpu else self._cpu_slots, key=_weight)
            inputs = [values[name] for name in task.inputs]
            summary, *results = slot.actor.do.options(
                num_returns=1 + len(task.outputs), name=task.id
            ).remote(task, *inputs)
            values.update(zip(task.outputs, results, strict=True))
            self.references[summary] = task
            self.tasks[task.id] = slot
            slot.load[task.id] = task.n_frames

    def wait(self, timeout_s: float) -> Iterator[Summary]:
        """Summaries of the tasks that have ended meanwhile."""
        references = list(self.references)
        ray.wait(references, num_returns=1, timeout=timeout_s)
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            task = self.references.pop(reference)
            slot = self.tasks.pop(task.id)
            del slot.load[task.id]
            try:
                yield ray.get(reference)
            except ray.exceptions.RayError as error:
                yield _lost(task, error)


def _weight(slot: _Slot) -> tuple[int, int]:
    return len(slot.load), slot.weight


def _lost(task: Task, error: Exception) -> Summary:
    """The summary of a task that ended in an error of Ray's."""
    failure = Failure(
        task.kind,
        f"Ray could not finish it ({_first_line(error)})",
        path=task.args.video.path,
        hint="Run the same command again: what is done is not done again.",
        error="WorkerLostError",
        details=str(error),
    )
    return Summary(task.id, task.kind, failures=(failure,))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _has_token() -> bool:
    return (
        "RAY_AUTH_TOKEN" in os.environ
        or "RAY_AUTH_TOKEN_PATH" in os.environ
        or (Path.home() / ".ray" / "auth_token").exists()
    )


def _cluster_error(error: Exception, address: str | None) -> ClusterError:
    if address in (None, "local"):
        return ClusterError(
            f"Ray could not be started on this machine ({_first_line(error)})",
            hint="--inline runs without Ray.",
        )
    hint = f"Check that the cluster runs and that its token is in {Path('~/.ray/auth_token')}"
    if sys.platform == "linux":
        hint += " or RAY_AUTH_TOKEN"
    return ClusterError(
        f"the Ray cluster at {address} can't be reached ({_first_line(error)})", hint=f"{hint}."
    )


class _terminated_like_interrupted:
    """SIGTERM ends a run as Ctrl-C does. Set after `ray.init`, which installs a handler too."""

    def __enter__(self) -> None:
        self._before: Any = None
        if _in_main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
