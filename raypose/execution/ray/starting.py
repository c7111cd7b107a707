"""Starts Ray on this machine, also where that is slow because the machine is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import ray

from raypose.execution.base import Wait
from raypose.execution.interrupts import sigterm_handler_kept
from raypose.execution.ray.guard import Guard

_SLOW_S = 20.0

Started = TypeVar("Started")


def start_ray(on_wait: Wait, **options: Any) -> Guard:
    """`ray.init` for a new cluster; tries once more if it fails because it takes too long.

    Args:
        on_wait: is told what is waited for.
        options: of `ray.init`.

    Returns:
        The guard of that cluster, to be closed after `ray.shutdown`.

    Raises:
        Exception: what Ray raises. Nothing of it runs any more.
    """
    return twice_if_slow(lambda: _start(on_wait, options), on_wait)


def twice_if_slow(
    start: Callable[[], Started], on_wait: Wait, clock: Callable[[], float] = time.monotonic
) -> Started:
    """What `start` returns; it is called once more if it fails late, which may be a timeout."""
    on_wait("Starting Ray")
    began = clock()
    try:
        return start()
    except Exception:
        if clock() - began < _SLOW_S:
            raise
    on_wait("Starting Ray once more: it was not ready in time, since the machine is busy")
    return start()


def _start(on_wait: Wait, options: dict[str, Any]) -> Guard:
    guard = Guard()
    try:
        with sigterm_handler_kept(), _said_when_slow(on_wait):
            ray.init(address="local", include_dashboard=False, **options)
    except BaseException:
        try:
            ray.shutdown()
        finally:
            guard.close()
        raise
    return guard


@contextmanager
def _said_when_slow(on_wait: Wait) -> Iterator[None]:
    """Say so if what runs inside the block takes long."""
    timer = threading.Timer(_SLOW_S, on_wait, ["Starting Ray, which is slow on a busy machine"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
