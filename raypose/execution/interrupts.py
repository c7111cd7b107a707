"""Signals that stop a program as Ctrl-C does: SIGTERM, of batch systems and service managers, and
SIGHUP, of a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise KeyboardInterrupt.

    A signal that is ignored, as SIGHUP under `nohup`, stays so. In a block within another one
    nothing changes, and neither in other threads than the main one, which alone may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {one: signal.getsignal(one) for one in _SIGNALS}
    previous = {one: h for one, h in found.items() if h not in (signal.SIG_IGN, _interrupt)}
    for one in previous:
        signal.signal(one, _interrupt)
    try:
        yield
    finally:
        for one, handler in previous.items():
            _set(one, handler)


def _interrupt(*_: object) -> None:
    # A terminal that is closed sends SIGHUP twice; the second must not stop the clean-up.
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


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
            _set(signal.SIGTERM, previous)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        _set(signal.SIGTERM, previous)


def _set(one: signal.Signals, handler: Any) -> None:
    if handler is not None:  # None where it was not set from Python
        signal.signal(one, handler)
