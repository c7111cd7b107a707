"""A node's cores and memory, divided among its workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raypose.worker import budget as module
from raypose.worker.budget import (
    Budget,
    cpu_worker_threads,
    n_cpu_workers,
    node_budgets,
    usable_cores,
    usable_memory,
)

GIB = 1 << 30


def predicting(budget: Budget) -> int:
    reader = budget.reader
    beside = reader.decode + reader.convert if reader.decode * reader.convert > 1 else 1
    return budget.compute + (beside if reader.ahead else 0)


def afterwards(budget: Budget) -> int:
    # See tests of labelled videos: two threads encode, and one decodes ahead.
    return max(3 if budget.draw == 2 else budget.draw, budget.write, budget.smooth)


@pytest.mark.parametrize("on_gpu", [True, False])
@pytest.mark.parametrize("cores", [4, 16, 64, 128])
@pytest.mark.parametrize("n_gpu", [0, 1, 2, 4, 8])
def test_threads_of_all_workers_exceed_the_cores_by_half_at_most(
    cores: int, n_gpu: int, on_gpu: bool
) -> None:
    if n_gpu >= cores:
        pytest.skip("each worker needs a thread")
    each = cpu_worker_threads(cores, n_gpu, on_gpu=on_gpu)
    n_cpu = n_cpu_workers(cores, n_gpu, each, on_gpu=on_gpu)
    for_gpu, for_cpu = node_budgets(cores, 64 * GIB, n_gpu, n_cpu, on_gpu=on_gpu)
    assert for_cpu.threads >= each
    total = n_gpu * predicting(for_gpu) + n_cpu * afterwards(for_cpu)
    assert total <= 1.5 * cores
    assert n_gpu * for_gpu.memory_bytes + n_cpu * for_cpu.memory_bytes <= 64 * GIB
    for budget in (for_gpu, for_cpu):
        reader = budget.reader
        counts = (reader.decode, reader.convert, budget.compute, budget.draw, budget.write)
        assert min(*counts, budget.smooth) >= 1
        assert max(predicting(budget), afterwards(budget)) <= 1.5 * budget.threads


@pytest.mark.parametrize("cores", [2, 4, 16, 64, 128])
def test_no_core_is_left_over(cores: int) -> None:
    each = cpu_worker_threads(cores, 1)
    n_cpu = n_cpu_workers(cores, 1, each)
    for_gpu, for_cpu = node_budgets(cores, GIB, 1, n_cpu)
    assert for_gpu.threads + n_cpu * for_cpu.threads >= cores
    alone = Budget.of(cores, GIB)
    assert alone.compute == cores and alone.draw == cores


def test_what_a_gpu_worker_does_with_its_threads() -> None:
    seen = [Budget.of(n, GIB, on_gpu=True).reader for n in (1, 2, 4, 8, 64)]
    assert [(r.decode, r.convert, r.ahead) for r in seen] == [
        (1, 1, False),
        (1, 1, True),
        (2, 1, True),
        (5, 2, True),
        (16, 4, True),
    ]


@pytest.mark.parametrize(
    ("cores", "n_workers", "ahead"), [(2, 1, True), (4, 1, True), (4, 2, False)]
)
def test_networks_on_a_cpu_do_not_wait_for_frames_where_a_thread_is_left(
    cores: int, n_workers: int, ahead: bool
) -> None:
    for_gpu, _ = node_budgets(cores, GIB, n_workers, 1, on_gpu=False)
    assert for_gpu.reader.ahead == ahead and for_gpu.compute == cores // n_workers
    assert Budget.of(1, GIB).reader.ahead is False


def test_more_workers_than_cores_have_a_thread_each() -> None:
    for_gpu, for_cpu = node_budgets(4, 64 * GIB, 8, 1)
    assert for_gpu.threads == for_cpu.threads == 1


class TestMachine:
    @pytest.fixture(autouse=True)
    def a_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_CGROUP", tmp_path)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
        cgroup = tmp_path / "proc"
        cgroup.write_text("4:cpu,cpuacct:/job\n2:memory:/job/step\n0::/job/step\n")
        read_text = Path.read_text
        monkeypatch.setattr(
            Path,
            "read_text",
            lambda path, *args, **options: read_text(
                cgroup if str(path) == "/proc/self/cgroup" else path, *args, **options
            ),
        )

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_affinity(self) -> None:
        assert usable_cores() == 12

    @pytest.mark.parametrize(
        ("text", "cores"), [("max 100000", 12), ("350000 100000", 4), ("50000 100000", 1)]
    )
    def test_a_quota(self, text: str, cores: int, tmp_path: Path) -> None:
        self.write(tmp_path / "job" / "cpu.max", text + "\n")
        assert usable_cores() == cores
        assert Budget.of_process().threads == cores
        assert Budget.of_process(3).threads == min(3, cores)
        assert Budget.of_process(99).threads == cores

    def test_a_quota_of_the_first_version(self, tmp_path: Path) -> None:
        self.write(tmp_path / "cpu" / "job" / "cpu.cfs_quota_us", "600000\n")
        self.write(tmp_path / "cpu" / "job" / "cpu.cfs_period_us", "100000\n")
        self.write(tmp_path / "cpu" / "cpu.cfs_quota_us", "-1\n")
        self.write(tmp_path / "cpu" / "cpu.cfs_period_us", "100000\n")
        assert usable_cores() == 6

    @pytest.mark.parametrize("name", ["memory.max", "memory/job/memory.limit_in_bytes"])
    def test_a_memory_limit(self, name: str, tmp_path: Path) -> None:
        machine = usable_memory()
        self.write(tmp_path / name, "max\n")
        assert usable_memory() == machine
        self.write(tmp_path / name, f"{64 << 20}\n")
        assert usable_memory() == 64 << 20
