"""The executor: joins or starts a cluster, starts the actors, and drives the run."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypose import scratch
from raypose.config import Settings
from raypose.errors import ClusterError, DeviceError, Failure
from raypose.executors.base import Observer
from raypose.executors.graphs import GraphBuilder
from raypose.executors.ray.actors import Board, Site, Worker
from raypose.executors.ray.connection import Connection, connect
from raypose.executors.ray.crew import Crew, Slot
from raypose.executors.ray.flight import Flight, first_line
from raypose.executors.ray.isolation import remote_class
from raypose.executors.ray.lookout import Lookout
from raypose.stages.access import places_of
from raypose.storage import is_url, shared_environment
from raypose.tasks import ModelSpec, Task

_POLL_S = 0.25
_WATCH_S = 2.0
_LATE_S = 60.0
_GRACE_S = 5.0


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
        self._local = True
        self._crew: Crew | None = None
        self._board: Any = None
        self._cpus_of_gpu_workers = 0
        self._graphs: dict[str, Any] = {}
        self._description = ""
        self._uses_scratch = False

    @property
    def description(self) -> str:
        return self._description

    # --- start and end -------------------------------------------------------------------

    def start(self, models: Sequence[ModelSpec]) -> int:
        unsafe = self._config.allow_unsafe_checkpoint
        # What no cache holds is built in a process of its own, while Ray and the workers start.
        with GraphBuilder(models, allow_unsafe=unsafe) as builder:
            self._connection = connect(self._config.address, self._config.gpus)
            self._local = self._connection.is_local
            crew, on_gpus = self._start_workers()
            self._graphs = {m.fingerprint: ray.put(graph) for m, graph in builder.graphs()}
            ray.get(self._board.publish.remote(self._graphs))
        self._describe(crew, self._wait_for_workers(crew), on_gpus)
        return len(crew.gpu)

    def _start_workers(self) -> tuple[Crew, bool]:
        """Start all actors; returns them and whether the GPU workers hold GPUs."""
        n_gpu, n_cpu, gpu_options, threads = self._sizes()
        # Workers find the board by its name: a handle among their arguments is a reference, and
        # an actor that depends on references can't always be started again.
        board = f"raypose-board-{secrets.token_hex(8)}"
        self._board = remote_class(
            Board, name=board, num_cpus=0, scheduling_strategy=on_this_node()
        ).remote()
        common = {
            "max_restarts": -1,
            "max_task_retries": -1,
            "allow_out_of_order_execution": True,
            "scheduling_strategy": "SPREAD",
        }
        unsafe, device = self._config.allow_unsafe_checkpoint, self._config.device
        site = Site(shared_environment(), scratch.settings(), self._config.gpu_encoder)

        def hire(number: int, with_gpu: bool) -> Slot:
            options = {**common, **(gpu_options if with_gpu else {"num_cpus": 1})}
            how = (device, threads) if with_gpu else ("cpu", 1)
            worker = remote_class(self._worker_class, **options)
            actor = worker.remote(board, *how, unsafe, number, site)
            return Slot(actor, number, actor.describe.remote() if with_gpu else None)

        def dismiss(slot: Slot) -> None:
            ray.kill(slot.actor)

        self._crew = Crew(hire, dismiss, n_gpu, n_cpu)
        self._cpus_of_gpu_workers = n_gpu * gpu_options.get("num_cpus", 0)
        return self._crew, bool(gpu_options.get("num_gpus"))

    def _wait_for_workers(self, crew: Crew) -> Slot | None:
        """Until all GPU workers are there, or one is and the others keep us waiting.

        Returns:
            One that is there; None where none is wanted.

        Raises:
            ClusterError: none came in time.
        """
        began = time.monotonic()
        first: Slot | None = None
        while True:
            self._watch(crew)
            if crew.is_there and not crew.gpu:
                return None
            ready = _ready([slot.described for slot in crew.gpu])
            if ready and first is None:
                first = next(slot for slot in crew.gpu if slot.described in ready)
                began = time.monotonic()
            waited_s = time.monotonic() - began
            if first is not None and (len(crew.gpu_up) == len(crew.gpu) or waited_s > _LATE_S):
                return first
            if first is None and waited_s > wait_limit_s():
                raise self._nobody(f"no worker could be started within {waited_s:.0f} s")

    def _nobody(self, what: str) -> ClusterError:
        asked = f" ({self._config.gpus} GPUs were asked for)" if self._config.gpus else ""
        return ClusterError(
            what + asked,
            hint="See with `ray status` on the cluster what it waits for; what is done stays "
            "done, and the same command goes on.",
        )

    def _watch(self, crew: Crew) -> None:
        """Note which workers are on nodes that are alive."""
        nodes = [node for node in ray.nodes() if node["Alive"]]
        n_cpu = sum(int(node["Resources"].get("CPU", 0)) for node in nodes)
        room = 0 if self._local else n_cpu - self._cpus_of_gpu_workers
        crew.update(ray.get(self._board.where.remote()), {n["NodeID"] for n in nodes}, room)

    def _sizes(self) -> tuple[int, int, dict[str, Any], int]:
        """How many GPU workers and CPU actors, the GPU workers' resources, and torch's threads."""
        resources = ray.cluster_resources()
        cpus = max(1, int(resources.get("CPU", 1)))
        gpus = int(resources.get("GPU", 0))
        asked = self._config.gpus
        if not self._config.predicts:
            return 0, cpus, {}, 1
        if gpus == 0 and (asked is None or self._local):
            if self._config.device == "cuda":
                raise DeviceError(
                    "--device cuda was given, but Ray finds no GPU",
                    hint="Check nvidia-smi, or run with --device cpu.",
                )
            self._check_for_gpus_that_ray_misses()
            # About four threads a worker: more in one process gain little on small networks.
            n_gpu = asked or max(1, cpus // 4)
            threads = max(1, cpus // n_gpu)
            return n_gpu, max(1, cpus - n_gpu), {"num_cpus": 1 if cpus > n_gpu else 0}, threads
        # More GPUs than there are now may be asked of a cluster that scales up.
        share = self._config.workers_per_gpu
        n_gpu = share * (asked if asked is not None else gpus)
        spare = cpus > n_gpu
        n_cpu = max(1, cpus - n_gpu) if spare else cpus
        # Ray puts shares that add up to one on the same GPU.
        options = {"num_gpus": 1 if share == 1 else 1 / share, "num_cpus": 1 if spare else 0}
        return n_gpu, n_cpu, options, max(1, cpus // n_gpu)

    def _check_for_gpus_that_ray_misses(self) -> None:
        """Stop where a GPU is there that Ray does not offer: nobody wants the CPU unasked."""
        from raypose.stages.infer.device import resolve_device

        if self._local and self._config.device == "auto" and self._config.gpus is None:
            device = resolve_device("auto")  # raises where torch can't use it either
            if device != "cpu":
                raise DeviceError(
                    "torch sees a GPU that Ray does not find",
                    hint="Say how many there are with --gpus, or run with --device cpu.",
                )

    def _describe(self, crew: Crew, slot: Slot | None, on_gpus: bool) -> None:
        assert self._connection is not None
        where = self._connection.name
        n_gpu = len(crew.gpu)
        if slot is None:
            n_cpu = len(crew.cpu)
            self._description = f"{where}, {n_cpu} CPU worker{'s' if n_cpu > 1 else ''}"
            return
        try:
            described = ray.get(slot.described)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"a worker could not be started ({first_line(error)})",
                hint="Check that raypose of the same version is installed on every node.",
            ) from error
        if isinstance(described, Failure):
            raise DeviceError(described.message, path=described.path, hint=described.hint)
        device = described[1]
        if device.startswith("cuda"):
            n_whole = -(-n_gpu // self._config.workers_per_gpu)
            what = f"{n_whole} GPU{'s' if n_whole > 1 else ''}"
        elif on_gpus:
            what = f"{n_gpu} logical GPU(s), computing on CPU since torch finds no GPU"
        else:
            what = f"CPU ({n_gpu} worker{'s' if n_gpu > 1 else ''}): there is no GPU to use"
        self._description = f"{where}, {what}"

    def close(self) -> None:
        if ray.is_initialized():
            self._tidy()
        if self._connection is None or self._connection.environment is None:
            self._kill()
        else:
            self._connection.close()
        self._connection = self._crew = self._board = None

    def _tidy(self) -> None:
        """Let the workers give back their scratch."""
        if self._uses_scratch:
            tidied = [slot.actor.tidy.remote() for slot in self._crew or ()]
            # What a worker does not give back by then goes when the next run starts there.
            ray.wait(tidied, num_returns=len(tidied), timeout=_GRACE_S)
            self._uses_scratch = False

    def _kill(self) -> None:
        for slot in self._crew or ():
            ray.kill(slot.actor)
        if self._board is not None:
            ray.kill(self._board)
            self._board = None

    # --- the run ---------------------------------------------------------------------------

    def run(self, sessions: Iterable[Sequence[Task]], observer: Observer) -> None:
        assert self._crew is not None, "start() comes first"
        crew, waiting = self._crew, deque(sessions)
        flight = Flight(crew, self._expect)
        watched = time.monotonic()
        places = places_of(task for tasks in waiting for task in tasks)
        self._uses_scratch = bool(places.in_stores.videos or places.in_stores.roots)
        with _terminated_like_interrupted(), ExitStack() as held:
            try:
                lookout = None if self._local else Lookout(places, held, crew)
                while waiting or not flight.is_empty:
                    if lookout is not None:
                        lookout.check()
                    flight.submit_again()
                    while waiting and flight.has_room():
                        flight.submit(waiting.popleft())
                    for summary in flight.wait(_POLL_S):
                        observer.finished(summary)
                    for progress in ray.get(self._board.drain.remote()):
                        if progress.task in flight.tasks:
                            observer.progress(progress)
                    if time.monotonic() - watched > _WATCH_S:
                        watched = time.monotonic()
                        self._watch(crew)
                        if crew.alone_s > wait_limit_s():
                            raise self._nobody("the cluster has lost all its workers")
            except KeyboardInterrupt:
                self._stop(flight)
                raise
            except ray.exceptions.RayError as error:
                raise ClusterError(
                    f"the run lost the Ray cluster ({first_line(error)})",
                    hint="Run the same command again: what is done is not done again.",
                ) from error

    def _expect(self, slot: Slot, path: str) -> None:
        if is_url(path):
            self._board.expect.remote(slot.number, path)

    def _stop(self, flight: Flight) -> None:
        """Let running tasks come to their next report and clean up; then end them."""
        ray.get(self._board.stop.remote())
        running = list(flight.references)
        if running:
            ray.wait(running, num_returns=len(running), timeout=_GRACE_S)
        self._tidy()
        self._kill()


def _ready(references: list[Any]) -> list[Any]:
    """Those of them that are ready, within a moment; Ray takes no empty list."""
    if not references:
        time.sleep(_POLL_S)
        return []
    ready: list[Any] = ray.wait(references, timeout=_POLL_S)[0]
    return ready


class _terminated_like_interrupted:
    """SIGTERM ends a run as Ctrl-C does. Set after `ray.init`, which installs a handler too."""

    def __enter__(self) -> None:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
