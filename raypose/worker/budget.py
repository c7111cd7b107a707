"""How many threads and how much memory a worker may use.

A node runs several workers at a time: those that predict and those for what comes after.
`node_budgets` divides its cores and memory among them. Everything in a worker that starts threads
takes their number from its `Budget`; 1 always means that the caller's own thread does it.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from raypose.video.reader import ReaderThreads

_CGROUP = Path("/sys/fs/cgroup")
_MAX_DECODE, _MAX_CONVERT, _MAX_WRITE, _MAX_SMOOTH = 16, 4, 4, 4
_MAX_CPU_WORKER_THREADS = 4
_MEMORY_SHARE = 0.7  # the rest is for the driver, the object store and the page cache


@dataclass(frozen=True, slots=True)
class Budget:
    threads: int  # that run at a time, whatever the task
    memory_bytes: int  # that its tasks may take
    reader: ReaderThreads  # that read a video for the networks
    compute: int  # threads that run networks on the CPU
    draw: int  # threads that decode, draw and encode a labelled video or a snippet
    write: int  # threads that format a CSV file
    smooth: int  # threads that smooth an ensemble; few, since each takes memory

    @classmethod
    def of(
        cls, threads: int, memory_bytes: int, *, on_gpu: bool = False, ahead: bool = True
    ) -> Budget:
        """The budget of a worker with this many threads.

        A GPU leaves all but one of them to decoding. On a CPU all run networks; with `ahead`, one
        thread more decodes ahead of them. Otherwise frames are decoded between batches, which
        takes a tenth longer.
        """
        compute, reader = threads, ReaderThreads(ahead=ahead and threads > 1)
        if on_gpu:
            compute = 1
            convert = min(max(1, threads // 4), _MAX_CONVERT)
            decode = min(max(1, threads - convert - 1), _MAX_DECODE) if threads > 3 else 1
            reader = ReaderThreads(decode, convert, ahead=threads > 1)
        write, smooth = min(threads, _MAX_WRITE), min(threads, _MAX_SMOOTH)
        return cls(threads, memory_bytes, reader, compute, threads, write, smooth)

    @classmethod
    def of_process(cls, cpus: int | None = None, *, on_gpu: bool = False) -> Budget:
        """The budget of a process that has this machine, or `cpus` cores of it, to itself."""
        threads = min(cpus or usable_cores(), usable_cores())
        return cls.of(threads, int(_MEMORY_SHARE * usable_memory()), on_gpu=on_gpu)


def node_budgets(
    cores: int, memory_bytes: int, n_gpu_workers: int, n_cpu_workers: int, *, on_gpu: bool = True
) -> tuple[Budget, Budget]:
    """The budget of each GPU worker and of each CPU worker of a node.

    GPU workers, which run networks (`on_gpu`, or on the CPU), share the cores. CPU workers share
    what these leave, and half as many threads as there are cores besides: seldom do all workers
    have something to do.
    """
    memory = int(_MEMORY_SHARE * memory_bytes / max(1, n_gpu_workers + n_cpu_workers))
    for_gpu = _gpu_worker_threads(cores, n_gpu_workers, on_gpu)
    for_cpu = max(1, _left_for_cpu_workers(cores, n_gpu_workers, on_gpu) // max(1, n_cpu_workers))
    ahead = _decodes_ahead(cores, n_gpu_workers, for_gpu)
    return Budget.of(for_gpu, memory, on_gpu=on_gpu, ahead=ahead), Budget.of(for_cpu, memory)


def cpu_worker_threads(cores: int, n_gpu_workers: int, *, on_gpu: bool = True) -> int:
    """Threads that a CPU worker should have: several workers come first, up to four threads."""
    left = _left_for_cpu_workers(cores, n_gpu_workers, on_gpu)
    threads = min(math.isqrt(left), _MAX_CPU_WORKER_THREADS)
    return 1 if threads == 2 else threads  # two threads that encode need one that decodes


def n_cpu_workers(
    cores: int, n_gpu_workers: int, threads_each: int, *, on_gpu: bool = True
) -> int:
    """CPU workers of this size for which a node has room; at least one."""
    return max(1, _left_for_cpu_workers(cores, n_gpu_workers, on_gpu) // threads_each)


def _gpu_worker_threads(cores: int, n_gpu_workers: int, on_gpu: bool) -> int:
    most = _MAX_DECODE + _MAX_CONVERT + 1 if on_gpu else cores
    return max(1, min(most, cores // max(1, n_gpu_workers)))


def _left_for_cpu_workers(cores: int, n_gpu_workers: int, on_gpu: bool) -> int:
    """Threads of all CPU workers; each GPU worker keeps one core for itself."""
    threads = _gpu_worker_threads(cores, n_gpu_workers, on_gpu)
    each = threads + (not on_gpu and _decodes_ahead(cores, n_gpu_workers, threads))
    return max(1, min(cores * 3 // 2 - n_gpu_workers * each, cores - n_gpu_workers))


def _decodes_ahead(cores: int, n_gpu_workers: int, threads: int) -> bool:
    """Whether each worker that computes on the CPU may have one thread more, to decode.

    With fewer than four cores it may: the threads of post-processing are then few anyway.
    """
    return threads > 1 and (cores < 4 or cores * 3 // 2 > n_gpu_workers * (threads + 1))


def usable_cores() -> int:
    """Cores that this process may use, by its CPU affinity and its cgroup's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no Linux
        cores = os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _cpu_quotas())]))


def usable_memory() -> int:
    """Bytes of memory that this process may use, by the machine's size and its cgroup's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    texts = _cgroup_values("", "memory.max") + _cgroup_values("memory", "memory.limit_in_bytes")
    return min([machine, *(int(text) for text in texts if text.isdigit())])


def _cpu_quotas() -> list[float]:
    """Cores of each quota that holds for this process, of cgroup v2 and v1."""
    pairs = [text.split() for text in _cgroup_values("", "cpu.max")]
    quotas = _cgroup_values("cpu", "cpu.cfs_quota_us")
    pairs += map(list, zip(quotas, _cgroup_values("cpu", "cpu.cfs_period_us"), strict=False))
    return [
        int(pair[0]) / int(pair[1])
        for pair in pairs
        if len(pair) == 2 and all(text.isdigit() and int(text) for text in pair)
    ]


def _cgroup_values(controller: str, name: str) -> list[str]:
    """What a file says in the process's cgroup and in all above it; without controller, in v2."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    values: list[str] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        own = _CGROUP / controller / path.lstrip("/")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(_CGROUP / controller):
                break
            with contextlib.suppress(OSError):
                values.append((folder / name).read_text().strip())
    return values
