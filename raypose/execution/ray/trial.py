"""Starts Ray on this machine as a run does, runs one task on a worker, and stops it."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

import ray
from ray.exceptions import RayError

from raypose.errors import ClusterError
from raypose.execution.ray.connection import connect
from raypose.execution.ray.isolation import start_actor


@dataclass(frozen=True, slots=True)
class RayTrial:
    """How it went.

    Attributes:
        version: of Ray.
        start_s: seconds until the task had run.
        cores, gpus: that Ray counts.
        object_store_bytes: shared memory for results.
    """

    version: str
    start_s: float
    cores: int
    gpus: int
    object_store_bytes: int


def start_and_stop() -> RayTrial:
    """Start, run a task, and stop.

    Raises:
        ClusterError: Ray can't be started, or runs no task.
    """
    began = time.perf_counter()
    with closing(connect(None, None)):
        try:
            ray.get(start_actor(_Worker, num_cpus=1).answer.remote())
        except RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            logs = ray._private.worker._global_node.get_logs_dir_path()
            raise ClusterError(
                f"Ray started, but its worker could not run a task ({lines[-1]})",
                hint=f"See Ray's logs in {logs}.",
            ) from error
        took_s = time.perf_counter() - began
        has = ray.cluster_resources()
    cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    return RayTrial(ray.__version__, took_s, cores, gpus, int(has.get("object_store_memory", 0)))


class _Worker:
    """Runs the task."""

    def answer(self) -> bool:
        return True
