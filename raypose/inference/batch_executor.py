"""Lanes: batches of frames that are worked on side by side on the CPU.

Used by `loop` alone. A network is small and has many layers; splitting each of them over the
cores makes the cores wait for each other after every layer, and where something else (decoding,
another worker) takes a core for a moment, they all stand still: measured, 400 frames/s become
20. So each lane takes a whole batch and one core. A GPU orders its work itself, and has one
lane that does not leave the caller's thread.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, TypeVar

import cv2
import torch

T = TypeVar("T")


class Lanes:
    """Runs functions side by side, each on one core.

    torch's and OpenCV's numbers of threads belong to the whole process; they are put back when
    the last lanes of the process are left.

    Args:
        on_gpu: run everything in the caller's thread.
        n: lanes; by default as many as torch would use threads.
    """

    _lock = threading.Lock()
    _users = 0
    _before = (1, 1)

    def __init__(self, *, on_gpu: bool, n: int | None = None) -> None:
        self.n = 1 if on_gpu else max(1, n or _cores_to_use())
        self._pool: ThreadPoolExecutor | None = None
        self._submitted: list[Future[Any]] = []
        self._on_gpu = on_gpu

    def __enter__(self) -> Lanes:
        if not self._on_gpu:
            _enter_single_threaded()
            self._pool = _threads(self.n)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            for future in self._submitted:
                future.cancel()
            wait(self._submitted)
            self._submitted.clear()
            _leave_single_threaded()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have the function run; its result or error is in the future."""
        if self._pool is not None:
            self._submitted = [future for future in self._submitted if not future.done()]
            submitted = self._pool.submit(function)
            self._submitted.append(submitted)
            return submitted
        future: Future[T] = Future()
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)
        return future


@functools.cache
def _threads(n: int) -> ThreadPoolExecutor:
    """The lanes' threads, which live as long as the process.

    What torch and the allocator keep for a thread is not given back when it ends: lanes of a
    range each would make the memory of a worker grow with the length of a video.
    """
    return ThreadPoolExecutor(n, "raypose-lane", initializer=torch.set_num_threads, initargs=(1,))


def _cores_to_use() -> int:
    with Lanes._lock:
        return Lanes._before[0] if Lanes._users else torch.get_num_threads()


def _enter_single_threaded() -> None:
    with Lanes._lock:
        if Lanes._users == 0:
            Lanes._before = (torch.get_num_threads(), cv2.getNumThreads())
            torch.set_num_threads(1)
            cv2.setNumThreads(1)
        Lanes._users += 1


def _leave_single_threaded() -> None:
    with Lanes._lock:
        Lanes._users -= 1
        if Lanes._users == 0:
            torch.set_num_threads(Lanes._before[0])
            cv2.setNumThreads(Lanes._before[1])
