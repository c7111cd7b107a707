"""How many workers a cluster gets, and what Ray is told that each takes."""

from __future__ import annotations

from typing import Any

import pytest

from raypose.config import RunConfig
from raypose.execution.ray import sizes as module
from raypose.execution.ray.sizes import Sizes, sizes_of

GIB = 1 << 30
Node = dict[str, float]


def node(cpus: int, gpus: int = 0, memory: int = 256 * GIB) -> Node:
    return {"CPU": cpus, "memory": memory, **({"GPU": gpus} if gpus else {})}


def sizes(*nodes: Node, is_local: bool = False, task_bytes: int = 0, **settings: Any) -> Sizes:
    config = RunConfig(videos=("a.mp4",), models=("m",), **settings)
    return sizes_of(nodes, config, is_local=is_local, task_bytes=task_bytes)


@pytest.mark.parametrize(
    ("nodes", "n_gpu", "n_cpu", "threads"),
    [
        ([node(2)], 1, 1, 1),
        ([node(4)], 1, 1, 1),
        ([node(16)], 4, 4, 1),
        ([node(64)], 16, 4, 4),
        ([node(16, 1)], 1, 8, 1),
        ([node(16, 2)], 2, 8, 1),
        ([node(64, 1)], 1, 15, 4),
        ([node(128, 8)], 8, 16, 4),
        ([node(4, 4)], 4, 1, 1),
        # Workers are of a size that fits on every node.
        ([node(2), node(64, 4), node(64, 4)], 8, 66, 1),
        ([node(0), node(64, 4)], 4, 8, 4),
    ],
)
def test_numbers_of_workers(nodes: list[Node], n_gpu: int, n_cpu: int, threads: int) -> None:
    found = sizes(*nodes)
    assert (found.n_gpu, found.n_cpu(nodes), found.cpu_worker_threads) == (n_gpu, n_cpu, threads)


@pytest.mark.parametrize("cores", [2, 4, 16, 64, 128])
@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
@pytest.mark.parametrize("memory", [4 * GIB, 256 * GIB])
def test_a_node_has_room_for_all_its_workers(cores: int, gpus: int, memory: int) -> None:
    here = node(cores, gpus, memory)
    found = sizes(here)
    n_cpu = found.n_cpu([here])
    for_gpu, for_cpu = found.options(gpu=True), found.options(gpu=False)
    taken = found.n_gpu * for_gpu["num_cpus"] + n_cpu * for_cpu["num_cpus"]
    assert taken <= max(cores, 1)
    assert found.n_gpu * for_gpu["memory"] + n_cpu * for_cpu["memory"] <= memory
    assert for_cpu["num_cpus"] == found.cpu_worker_threads
    assert for_gpu.get("num_gpus", 0) == (1 if gpus else 0)


def test_a_worker_uses_what_it_has_told_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 64)
    here = node(64, 4)
    found = sizes(here)
    of_cpu_worker = found.budget(here, gpu=False, on_gpu=True)
    assert of_cpu_worker.draw == found.options(gpu=False)["num_cpus"] == 4
    of_gpu_worker = found.budget(here, gpu=True, on_gpu=True)
    assert of_gpu_worker.reader.ahead and of_gpu_worker.compute == 1
    assert found.budget(here, gpu=True, on_gpu=False).compute == 16


def test_fewer_cores_are_used_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 64)
    nodes = [node(64), node(64)]
    found = sizes(*nodes, cpus=16)
    assert (found.n_gpu, found.n_cpu(nodes)) == (4, 4)
    for gpu, threads in ((True, 4), (False, 1)):
        assert found.budget(nodes[0], gpu=gpu, on_gpu=False).threads == threads


def test_workers_that_share_a_gpu() -> None:
    found = sizes(node(16, 2), workers_per_gpu=2)
    assert found.n_gpu == 4 and found.options(gpu=True)["num_gpus"] == 0.5


def test_gpus_of_a_cluster_that_scales_up() -> None:
    nodes = [node(4)]
    found = sizes(*nodes, gpus=8)
    assert found.n_gpu == 8 and found.on_gpus and found.options(gpu=True)["num_gpus"] == 1
    assert found.n_cpu([*nodes, node(16, 1)]) > found.n_cpu(nodes)


def test_without_networks_all_cores_are_for_the_rest() -> None:
    from raypose.config import SmoothConfig

    nodes = [node(16)]
    found = sizes_of(nodes, SmoothConfig(tables=("a",), eks_dir="out"), is_local=True)
    assert found.n_gpu == 0
    assert found.n_cpu(nodes) * found.cpu_worker_threads == 16


@pytest.mark.parametrize(
    ("memory", "task", "n_cpu", "asked"),
    [
        (64 * GIB, 0, 8, 1 * GIB),
        (64 * GIB, 8 * GIB, 7, 8 * GIB),  # GPU workers keep theirs
        (64 * GIB, 200 * GIB, 1, 60 * GIB),  # more than there is: tried all the same
    ],
)
def test_large_tasks_get_fewer_workers(memory: int, task: int, n_cpu: int, asked: int) -> None:
    here = node(64, 4, memory)
    found = sizes(here, is_local=True, task_bytes=task)
    assert found.n_cpu([here]) == n_cpu
    assert found.options(gpu=False)["memory"] == asked
    assert found.options(gpu=True)["memory"] == GIB
    assert 4 * GIB + n_cpu * asked <= memory


def test_gpu_workers_of_a_cluster_ask_for_no_memory() -> None:
    """A node type for which an autoscaler knows no memory would never be started."""
    assert sizes(node(64, 4)).options(gpu=True)["memory"] == 0
