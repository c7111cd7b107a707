"""Where raypose keeps what it can make again: network graphs and digests of checkpoints.

The lowest room beside `errors`: it knows a directory, and how to put a file there so that
another process sees all of it or nothing. It does not know what the files mean. A cache that
can't be written (a read-only home, a full disk) is no error: the work is then done again.
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


def store(path: Path, content: bytes) -> bool:
    """Write a cached file in one step; False where the cache can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True
