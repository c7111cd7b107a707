"""Runs a function on batches: side by side on the cores of a CPU, one after the other on a GPU.

A network is small and has many layers. Splitting each layer over the cores makes the cores wait
for each other after every layer, and if something else (decoding, another worker) takes a core for
a moment, all of them stand still: measured, 400 frames/s become 20. So on a CPU each thread takes
a whole batch and one core. A GPU orders its work itself: it is fed from the caller's thread.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ClassVar, TypeVar

import cv2
import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")

# Batches that may wait in the GPU's queue; more would only hold memory.
_GPU_BATCHES_AHEAD = 3


class BatchExecutor:
    """Runs a function on batches and gives the results in order.

    Args:
        devices: of the networks.
        n_threads: on a CPU; by default as many as torch would use.
    """

    def __init__(self, devices: Iterable[torch.device], n_threads: int | None = None) -> None:
        self._gpus = {device for device in devices if device.type == "cuda"}
        self._n_threads = n_threads

    def map(
        self, function: Callable[[Batch], Result], batches: Iterable[Batch]
    ) -> Generator[Result]:
        """Results in the order of the batches; close the iterator to wait for running batches."""
        if self._gpus:
            yield from self._map_on_gpu(function, batches)
            return
        with _SingleThreaded() as n_cores:
            n_threads = self._n_threads or n_cores
            pool = _thread_pool(n_threads)
            running: deque[Future[Result]] = deque()
            try:
                for batch in batches:
                    running.append(pool.submit(function, batch))
                    if len(running) > n_threads:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                for future in running:
                    future.cancel()
                wait(running)

    def _map_on_gpu(
        self, function: Callable[[Batch], Result], batches: Iterable[Batch]
    ) -> Generator[Result]:
        """Keeps the CPU from running far ahead of the GPU, without emptying the GPU's queue."""
        cuda: Any = torch.cuda  # its events have no types
        queued: deque[list[Any]] = deque()
        for batch in batches:
            result = function(batch)
            events = [cuda.Event() for _ in self._gpus]
            for event, gpu in zip(events, self._gpus, strict=True):
                event.record(cuda.current_stream(gpu))
            queued.append(events)
            if len(queued) > _GPU_BATCHES_AHEAD:
                for event in queued.popleft():
                    event.synchronize()
            yield result


@functools.cache
def _thread_pool(n_threads: int) -> ThreadPoolExecutor:
    """A pool that lives as long as the process.

    What torch and the allocator keep for a thread is not given back when it ends: a pool per range
    of frames would make the memory of a worker grow with the length of a video.
    """
    return ThreadPoolExecutor(
        n_threads, "raypose-batch", initializer=torch.set_num_threads, initargs=(1,)
    )


class _SingleThreaded:
    """While anyone is within, torch and OpenCV use one thread per call; gives the cores to use.

    Their numbers of threads belong to the whole process, so they are restored by the last to
    leave.
    """

    _lock: ClassVar = threading.Lock()
    _n_users: ClassVar = 0
    _before: ClassVar = (1, 1)

    def __enter__(self) -> int:
        cls = _SingleThreaded
        with cls._lock:
            if cls._n_users == 0:
                cls._before = (torch.get_num_threads(), cv2.getNumThreads())
                torch.set_num_threads(1)
                cv2.setNumThreads(1)
            cls._n_users += 1
            return cls._before[0]

    def __exit__(self, *_: object) -> None:
        cls = _SingleThreaded
        with cls._lock:
            cls._n_users -= 1
            if cls._n_users == 0:
                torch.set_num_threads(cls._before[0])
                cv2.setNumThreads(cls._before[1])
