"""The executor: joins or starts a cluster, starts the actors, and drives the run."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypose.config import RunConfig
from raypose.errors import ClusterError, DeviceError, Failure
from raypose.executors.base import Observer
from raypose.executors.graphs import GraphBuilder
from raypose.executors.ray.actors import Board, Worker
from raypose.executors.ray.flight import Flight, Slot, first_line
from raypose.tasks import ModelSpec, Task

_POLL_S = 0.25
_GRACE_S = 5.0


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
        self._gpu_slots: list[Slot] = []
        self._cpu_slots: list[Slot] = []
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
        # Workers find the board by its name: a handle among their arguments is a reference, and
        # an actor that depends on references can't always be started again.
        name = f"raypose-board-{secrets.token_hex(8)}"
        self._board = (
            ray.remote(Board)
            .options(
                name=name,
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
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
            actor = worker.options(**options).remote(name, device, threads, unsafe)
            self._gpu_slots.append(Slot(actor, actor.describe.remote()))
        for _ in range(n_cpu):
            actor = worker.options(**common, num_cpus=1).remote(name, "cpu", 1, unsafe)
            self._cpu_slots.append(Slot(actor))
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
        except Exception as error:  # Ray raises bare ones too, where a node is slow to start
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
            self._check_for_gpus_that_ray_misses()
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

    def _describe(self, n_gpu: int, on_gpus: bool) -> None:
        try:
            described = ray.get(self._gpu_slots[0].described)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"a worker could not be started ({first_line(error)})",
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
        flight = Flight(self._gpu_slots, self._cpu_slots)
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
                    f"the run lost the Ray cluster ({first_line(error)})",
                    hint="Run the same command again: what is done is not done again.",
                ) from error

    def _stop(self, flight: Flight) -> None:
        """Let running tasks come to their next report and clean up; then end them."""
        ray.get(self._board.stop.remote())
        running = list(flight.references)
        if running:
            ray.wait(running, num_returns=len(running), timeout=_GRACE_S)
        self._kill()


def _has_token() -> bool:
    return (
        "RAY_AUTH_TOKEN" in os.environ
        or "RAY_AUTH_TOKEN_PATH" in os.environ
        or (Path.home() / ".ray" / "auth_token").exists()
    )


def _cluster_error(error: Exception, address: str | None) -> ClusterError:
    if address in (None, "local"):
        return ClusterError(
            f"Ray could not be started on this machine ({first_line(error)})",
            hint="Try again when the machine is less busy; --inline runs without Ray.",
        )
    return ClusterError(
        f"the Ray cluster at {address} can't be reached ({first_line(error)})",
        hint="Check that it runs, and that its token is in ~/.ray/auth_token or RAY_AUTH_TOKEN.",
    )


class _terminated_like_interrupted:
    """SIGTERM ends a run as Ctrl-C does. Set after `ray.init`, which installs a handler too."""

    def __enter__(self) -> None:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
