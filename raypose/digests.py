"""Digests of large files, remembered as long as the file stays the same."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from raypose import storage
from raypose.cache import cache_dir, store
from raypose.storage import AnyPath


def remembered_digest(path: AnyPath) -> str:
    """Digest of a file's bytes, remembered by its path, size and time of change.

    Raises:
        OSError: the file can't be read.
        StorageError: the object can't be read.
    """
    now = storage.stat(path)
    key = hashlib.blake2b(os.fsencode(str(path)), digest_size=16).hexdigest()
    note = cache_dir("digests") / f"{key}.json"
    state = {"size": now.size, **now.mark}
    if isinstance(path, Path):
        state["inode"] = path.stat().st_ino
    try:
        remembered = json.loads(note.read_text())
        if remembered["state"] == state:
            return str(remembered["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = hashlib.blake2b(digest_size=16)
    for block in storage.blocks(path):
        digest.update(block)
    store(note, json.dumps({"state": state, "digest": digest.hexdigest()}).encode())
    return digest.hexdigest()
