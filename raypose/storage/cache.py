"""Cached files that raypose can compute again: network artifacts, indexes and digests.

A cache that can't be written (a read-only home, a full disk) is no error: the work is redone.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def cache_dir(kind: str) -> Path:
    """The directory for cached files of one kind; it may not exist yet.

    `$RAYPOSE_CACHE_DIR`, else `$XDG_CACHE_HOME/raypose`, else `~/.cache/raypose`.
    """
    chosen = os.environ.get("RAYPOSE_CACHE_DIR")
    if chosen:
        return Path(chosen) / kind
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "raypose" / kind


def is_writable() -> bool:
    """Whether files can be cached, so that other processes find them."""
    return store(cache_dir("written"), b"")


def store(path: Path, content: bytes) -> bool:
    """Write a cached file in one step; False where the cache can't be written."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True
