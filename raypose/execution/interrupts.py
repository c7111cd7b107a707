"""SIGTERM, with which batch systems and service managers stop a program, as Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt.

    Enter it after `ray.init`, which installs a handler too. Only the main thread may set one; in
    others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if previous is not None:  # None where it was not set from Python
            signal.signal(signal.SIGTERM, previous)
