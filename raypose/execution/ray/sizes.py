"""How many workers a cluster gets, and what each of them takes; starts nothing.

What a node's workers share is decided by `raypose.worker.budget`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from raypose.config import Settings
from raypose.worker.budget import (
    Budget,
    cpu_worker_threads,
    n_cpu_workers,
    node_budgets,
    usable_cores,
    usable_memory,
)

Resources = Mapping[str, float]
"""What a node of Ray has: `CPU`, `GPU`, `memory` in bytes."""

_WORKER_BYTES = 1 << 30
"""Memory that a worker asks Ray for, where nodes have as much for each."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers and sizes of a run's workers."""

    n_gpu: int  # workers that run networks
    on_gpus: bool  # whether Ray gives these GPUs
    workers_per_gpu: int  # that share a GPU
    share: float  # of each node's cores that the run may use
    per_core: float  # GPU workers per core, where they have no GPUs
    cpu_worker_threads: int = 1  # threads, and cores as Ray counts them, of each worker without
    # Cores, as Ray counts them, of each GPU worker. More than one would keep it off nodes with
    # few cores, which may join later.
    gpu_worker_cpus: int = 0
    # Memory that each GPU worker asks Ray for. On a cluster none: a node type for which an
    # autoscaler knows no memory would never be started.
    memory_bytes: int = 0
    cpu_worker_bytes: int = 0  # that each worker without asks Ray for

    def options(self, gpu: bool) -> dict[str, Any]:
        """Resources that Ray gives a worker."""
        cpus = self.gpu_worker_cpus if gpu else self.cpu_worker_threads
        memory = self.memory_bytes if gpu else self.cpu_worker_bytes
        options: dict[str, Any] = {"num_cpus": cpus, "memory": memory}
        if gpu and self.on_gpus:
            # Ray puts shares that add up to one on the same GPU.
            options["num_gpus"] = 1 if self.workers_per_gpu == 1 else 1 / self.workers_per_gpu
        return options

    def n_cpu(self, nodes: Sequence[Resources]) -> int:
        """Workers without GPUs for which these nodes have room."""
        return max(1, sum(self._cpu_workers(node) for node in nodes))

    def budget(self, node: Resources, *, gpu: bool, on_gpu: bool) -> Budget:
        """The budget of a worker of this process, on a node whose networks run on GPUs or not."""
        cores = max(1, min(int(self.share * usable_cores()), self._cores(node)))
        workers = self._gpu_workers(node), self._cpu_workers(node)
        for_gpu, for_cpu = node_budgets(cores, usable_memory(), *workers, on_gpu=on_gpu)
        return for_gpu if gpu else for_cpu

    def _cores(self, node: Resources) -> int:
        return int(self.share * node.get("CPU", 0))

    def _gpu_workers(self, node: Resources) -> int:
        if self.on_gpus:
            return min(self.n_gpu, math.ceil(node.get("GPU", 0)) * self.workers_per_gpu)
        return math.ceil(self.per_core * node.get("CPU", 0))

    def _cpu_workers(self, node: Resources) -> int:
        if not (cores := self._cores(node)):
            return 0
        n_gpu, threads = self._gpu_workers(node), self.cpu_worker_threads
        by_cores = n_cpu_workers(cores, n_gpu, threads, on_gpu=self.on_gpus)
        if "memory" not in node or not self.cpu_worker_bytes:
            return by_cores
        left = int(node["memory"]) - n_gpu * self.memory_bytes
        return max(1, min(by_cores, left // self.cpu_worker_bytes))


def node_resources() -> dict[str, Resources]:
    """The resources of the nodes that are alive, by id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def sizes_of(
    nodes: Sequence[Resources], config: Settings, *, is_local: bool, task_bytes: int = 0
) -> Sizes:
    """Decide on the workers of a run, by the nodes that the cluster has now.

    Args:
        is_local: whether Ray runs on this machine alone.
        task_bytes: memory that the largest task of a CPU worker needs. There are fewer CPU workers
            where a node has no room for as many as it has cores.
    """
    total = max(1, sum(int(node.get("CPU", 0)) for node in nodes))
    share = min(1.0, (config.cpus or total) / total)
    cpus = max(1, round(share * total))
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    n_gpu, on_gpus = 0, False
    if config.predicts and gpus == 0 and (config.gpus is None or is_local):
        # About four threads a worker: more in one process gain little on small networks.
        n_gpu = config.gpus or max(1, cpus // 4)
    elif config.predicts:
        # More GPUs than there are now may be asked of a cluster that scales up.
        on_gpus = True
        n_gpu = config.workers_per_gpu * (gpus if config.gpus is None else config.gpus)
    first = Sizes(n_gpu, on_gpus, config.workers_per_gpu, share, n_gpu / total)
    used = [node for node in nodes if first._cores(node)]
    # Every node takes workers of the same size, as large as the smallest node likes them.
    threads = [
        cpu_worker_threads(first._cores(node), first._gpu_workers(node), on_gpu=on_gpus)
        for node in used
    ]
    sized = replace(
        first, cpu_worker_threads=min(threads, default=1), gpu_worker_cpus=int(cpus > n_gpu)
    )
    memory = [
        int(node["memory"] // max(1, sized._gpu_workers(node) + sized._cpu_workers(node)))
        for node in used
        if "memory" in node
    ]
    least = min([_WORKER_BYTES, *memory])
    # A task that needs more than a node has is tried all the same.
    left = [
        int(node["memory"]) - sized._gpu_workers(node) * least for node in used if "memory" in node
    ]
    cpu_worker_bytes = max(least, min([task_bytes, *left]))
    gpu_worker_bytes = least if is_local else 0
    return replace(sized, memory_bytes=gpu_worker_bytes, cpu_worker_bytes=cpu_worker_bytes)
