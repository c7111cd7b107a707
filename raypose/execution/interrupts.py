"""SIGTERM, with which batch systems and service managers stop a program, as Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt.

    Only the main thread may set a handler; in others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        _set(previous)


@contextmanager
def sigterm_handler_kept() -> Iterator[None]:
    """What runs inside the block, as `ray.init`, may set a handler; after it the previous is back.

    Ray's handler exits. The previous one then gets the signal that came meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM:
            _set(previous)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        _set(previous)


def _set(handler: Any) -> None:
    if handler is not None:  # None where it was not set from Python
        signal.signal(signal.SIGTERM, handler)
