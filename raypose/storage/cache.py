"""Cached files that raypose can compute again: network artifacts, indexes and digests.

A cache that can't be written (a read-only home, a full disk) is no error: the work is redone. The
folder of each kind is this user's alone: networks are loaded from it, and names of files are in
it. One that another user has made, and a link, is neither read nor written.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from pathlib import Path

from raypose.storage.private import belongs_to_someone_else, make_private

_NOWHERE = Path(os.devnull)  # nothing can be below it


def cache_dir(kind: str) -> Path:
    """The directory for cached files of one kind; it may not exist yet, or not be usable.

    `$RAYPOSE_CACHE_DIR`, else `$XDG_CACHE_HOME/raypose`, else `~/.cache/raypose`.
    """
    folder = cache_root() / kind
    return _NOWHERE / kind if _belongs_to_someone_else(folder) else folder


def cache_root() -> Path:
    """The directory with those of all kinds."""
    chosen = os.environ.get("RAYPOSE_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "raypose"


_belongs_to_someone_else = functools.cache(belongs_to_someone_else)  # each cached file asks
_make_private = functools.cache(make_private)


def is_writable() -> bool:
    """Whether files can be cached, so that other processes find them."""
    return store(cache_dir("written") / "at", b"")


def store(path: Path, content: bytes) -> bool:
    """Write a cached file in one step; False where the cache can't be written."""
    temporary = ""
    try:
        _make_private(cache_root() / path.relative_to(cache_root()).parts[0])
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except (OSError, ValueError):  # ValueError: below `_NOWHERE`
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True
