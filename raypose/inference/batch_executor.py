"""Runs a function on batches: side by side on the cores of a CPU, one after the other on a GPU.

Splitting each of a network's many small layers over the cores makes them wait for each other after
every layer, and if something else (decoding, another worker) takes a core for a moment, all of
them stand still: measured, 400 frames/s become 20. So on a CPU each thread takes a whole batch and
one core. A GPU orders its work itself: it is fed from the caller's thread.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import cv2
import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")

# Batches that may wait in the GPU's queue; more would only hold memory.
_GPU_BATCHES_AHEAD = 3


def map_batches(
    function: Callable[[Batch], Result],
    batches: Iterable[Batch],
    devices: Iterable[torch.device],
    n_threads: int | None = None,
) -> Generator[Result]:
    """Results in the order of the batches; close the iterator to wait for running batches.

    `devices` are those of the networks. On a CPU there are `n_threads`, or as many as torch's.
    """
    gpus = {device for device in devices if device.type == "cuda"}
    if gpus:
        yield from _map_on_gpus(function, batches, gpus)
        return
    with _single_threaded() as n_cores:
        n_threads = n_threads or n_cores
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


def _map_on_gpus(
    function: Callable[[Batch], Result], batches: Iterable[Batch], gpus: set[torch.device]
) -> Generator[Result]:
    """Keeps the CPU from running far ahead of the GPU, without emptying the GPU's queue."""
    cuda: Any = torch.cuda  # its events have no types
    queued: deque[list[Any]] = deque()
    for batch in batches:
        result = function(batch)
        queued.append([cuda.current_stream(gpu).record_event() for gpu in gpus])
        if len(queued) > _GPU_BATCHES_AHEAD:
            for event in queued.popleft():
                event.synchronize()
        yield result


@contextlib.contextmanager
def on_own_stream(device: torch.device) -> Iterator[None]:
    """Let networks run on a stream of their own: FFmpeg decodes on the GPU's default stream."""
    if device.type != "cuda":
        yield
        return
    before, own = torch.cuda.current_stream(device), _stream(device)
    own.wait_stream(before)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        before.wait_stream(own)


@functools.cache
def _stream(device: torch.device) -> Any:
    """One for all videos: torch keeps free memory by stream."""
    cuda: Any = torch.cuda  # its streams have no types
    return cuda.Stream(device)


@functools.cache
def _thread_pool(n_threads: int) -> ThreadPoolExecutor:
    """A pool that lives as long as the process.

    What torch and the allocator keep for a thread is not given back when it ends: a pool per range
    of frames would make the memory of a worker grow with the length of a video.
    """
    return ThreadPoolExecutor(
        n_threads, "raypose-batch", initializer=torch.set_num_threads, initargs=(1,)
    )


_lock = threading.Lock()
_within: list[tuple[int, int]] = []


@contextlib.contextmanager
def _single_threaded() -> Iterator[int]:
    """While anyone is within, torch and OpenCV use one thread per call; gives the cores to use.

    Their numbers of threads belong to the whole process, so they are restored by the last to
    leave.
    """
    with _lock:
        before = (torch.get_num_threads(), cv2.getNumThreads())
        if _within:
            before = _within[0]
        else:
            torch.set_num_threads(1)
            cv2.setNumThreads(1)
        _within.append(before)
    try:
        yield before[0]
    finally:
        with _lock:
            _within.pop()
            if not _within:
                torch.set_num_threads(before[0])
                cv2.setNumThreads(before[1])
