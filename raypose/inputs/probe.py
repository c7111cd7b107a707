"""Describes one video for the plan, and remembers the description in a cache on this machine.

It is kept by the file's path and identity (`video.index_cache`), so planning again reads none of a
known video's packets. An object in a store is copied to scratch for that, once for each ETag. A
video that can't be used is not remembered: it may have been repaired by the next run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose import storage
from raypose.errors import RayposeError, VideoError
from raypose.specs import VideoSpec
from raypose.storage import AnyPath, scratch
from raypose.storage.identity import Identity

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex


@dataclass(frozen=True, slots=True)
class Unusable:
    """A video that can't be used."""

    path: str
    key: str  # of the outputs that it would have
    error: RayposeError


def recall(path: AnyPath, key: str = "", identity: Identity | None = None) -> VideoSpec | None:
    """What `probe` gave the last time; None where it is not known. Raises as `probe`."""
    from raypose.video.index_cache import load_facts

    identity = identity or _identity(path)
    stats = None if identity is None else load_facts(str(path), identity)
    return None if stats is None else _spec(path, key, identity, stats)


def _spec(path: AnyPath, key: str, identity: Identity | None, stats: dict[str, Any]) -> VideoSpec:
    stats["notes"] = tuple(stats["notes"])
    return VideoSpec(path=str(path), key=key, identity=identity, **stats)


def probe(path: AnyPath, key: str = "", identity: Identity | None = None) -> VideoSpec:
    """Index and fingerprint a video, or recall what that gave the last time.

    `identity` is that of an object, where it is known.

    Raises:
        VideoError: the video can't be used.
        StorageError: it can't be read from its store.
    """
    from raypose.video.index_cache import facts_of, store_index

    identity = identity or _identity(path)
    if (known := recall(path, key, identity)) is not None:
        return known
    index, fingerprint = _read(path, identity)
    # Where a file has changed meanwhile, its identity will tell the tasks.
    if identity is not None and (not isinstance(path, Path) or _identity(path) == identity):
        store_index(str(path), identity, index, fingerprint)
    return _spec(path, key, identity, facts_of(index, fingerprint))


def known_index(video: VideoSpec) -> VideoIndex | None:
    """The frame index that `probe` made of a video; None where the cache no longer holds it."""
    from raypose.video.index_cache import load_index

    return load_index(video.path, video.identity)


def known_keyframes(video: VideoSpec) -> Sequence[int]:
    """Frames at which a video can be cut at no cost; empty where the cache no longer says."""
    from raypose.video.index_cache import load_keyframes

    keyframes = load_keyframes(video.path, video.identity)
    return () if keyframes is None else keyframes.tolist()


def _identity(path: AnyPath) -> Identity | None:
    """What tells a video from what it was before; None where there is no such file.

    Raises:
        VideoError: it is a folder, a pipe or a device.
    """
    try:
        if isinstance(path, Path):
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise VideoError("is not a regular file", path=path, hint="Copy it to one.")
            return Identity.of_status(status)
        with storage.map_store_errors(path):
            return storage.identity_of(path)
    except OSError:
        return None


def _read(path: AnyPath, identity: Identity | None) -> tuple[VideoIndex, str]:
    from raypose.video.index import fingerprint_video, index_video

    if isinstance(path, Path):
        return index_video(path), fingerprint_video(path)
    with scratch.current().copy_of(path, identity=identity) as copy:
        return index_video(copy), fingerprint_video(copy)
