"""Locks between processes on files (`flock`): however a process ends, its locks end with it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_lock(path: Path) -> int:
    """A handle of a lock file, made if it is missing; the lock itself is not taken."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def try_lock(handle: int, *, shared: bool = False) -> bool:
    """Take a lock, or change its kind, if that is possible at once; else hold none."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(handle, fcntl.LOCK_UN)
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock in the block, alone; waits for it."""
    handle = open_lock(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold an existing lock in the block, alone, if it is free; yields whether it is."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        yield try_lock(handle)
    finally:
        os.close(handle)
