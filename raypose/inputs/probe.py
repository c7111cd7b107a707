"""Describes one video for the plan, and remembers the description in a cache on this machine.

A `VideoSpec` and a `VideoIndex` are kept by the file's path and identity
(`raypose.storage.digests`), so planning again reads none of a known video's packets; a file that
was changed in any way is read anew. An object in a store is copied to scratch for that, once for
each ETag. A video that can't be used is not remembered: it may have been repaired by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose import storage
from raypose.specs import VideoSpec
from raypose.storage import AnyPath, cache, scratch
from raypose.storage import regular_files as regular
from raypose.storage.digests import Identity

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex

_KIND = "videos"
_OF_THE_PLAN = ("path", "key", "view", "identity", "content")
"""Fields of a `VideoSpec` that are not kept."""


def probe(path: AnyPath, key: str = "") -> VideoSpec:
    """Index and fingerprint a video, or recall what that gave the last time.

    Args:
        path: absolute path or URL.
        key: of its outputs.

    Raises:
        VideoError: the video can't be used.
        StorageError: it can't be read from its store.
    """
    if not isinstance(path, Path):
        with storage.speaking_of(path):
            identity = Identity.of(path)
        found = _recall(path, identity)
        if found is None:
            with scratch.current().copy_of(path, identity=identity) as copy:
                found, index = _read(copy)
            _remember(path, identity, found, index)
    else:
        try:
            identity = Identity.of(path)
        except OSError:
            return replace(_read(path)[0], key=key)  # which says what is wrong
        found = _recall(path, identity)
        if found is None:
            found, index = _read(path)
            if _is_still(path, identity):  # else the tasks will see that it has changed
                _remember(path, identity, found, index)
    return replace(found, path=str(path), key=key, identity=identity)


def known_index(video: VideoSpec) -> VideoIndex | None:
    """The frame index that `probe` made of a video; None where the cache no longer holds it."""
    from raypose.video.index_cache import load_index

    return load_index(video.path, video.identity)


def known_keyframes(video: VideoSpec) -> Sequence[int]:
    """Frames at which a video can be cut at no cost; empty where the cache no longer says."""
    from raypose.video.index_cache import load_keyframes

    keyframes = load_keyframes(video.path, video.identity)
    return () if keyframes is None else keyframes.tolist()


def _is_still(path: Path, identity: Identity) -> bool:
    try:
        return Identity.of(path) == identity
    except OSError:
        return False


def _read(path: Path) -> tuple[VideoSpec, VideoIndex]:
    from raypose.video.index import fingerprint_video, index_video

    index = index_video(path)
    video = VideoSpec(
        path=str(path),
        key="",
        n_frames=index.n_frames,
        width=index.width,
        height=index.height,
        fps=index.fps,
        duration_s=index.duration_s,
        fingerprint=fingerprint_video(path),
        codec=index.codec,
        pix_fmt=index.pix_fmt,
        rotation=index.rotation,
        is_vfr=index.is_vfr,
        notes=index.problems,
    )
    return video, index


def _place(path: AnyPath) -> Path:
    """The cached file of a video; a changed video replaces what it was."""
    name = hashlib.blake2b(os.fsencode(str(path)), digest_size=16).hexdigest()
    return cache.cache_dir(_KIND) / name[:2] / f"{name}.json"


def _basis(identity: Identity) -> dict[str, Any]:
    """What must be equal for a remembered video to be valid."""
    from raypose.video.index import INDEX_VERSION

    return {"index": INDEX_VERSION, **identity.as_dict()}


def _recall(path: AnyPath, identity: Identity) -> VideoSpec | None:
    try:
        stored = json.loads(regular.read_file(_place(path)))
        if stored["of"] != _basis(identity):
            return None
        values = stored["video"]
        return VideoSpec(path="", key="", **{**values, "notes": tuple(values["notes"])})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _remember(path: AnyPath, identity: Identity, video: VideoSpec, index: VideoIndex) -> None:
    from raypose.video.index_cache import store_index

    values = {name: v for name, v in asdict(video).items() if name not in _OF_THE_PLAN}
    store_index(str(path), identity, index)
    cache.store(_place(path), json.dumps({"of": _basis(identity), "video": values}).encode())
