"""The look into one video, remembered: its index and its fingerprint, in a cache on this machine.

`look_into` stands behind `inspect_videos`. What it says is kept by the file's path and identity
(`raypose.storage.digests`), so that planning again over a thousand known videos reads none of
their packets; a file that was changed in any way is looked into anew. An object in a store is
copied to scratch for it, once for each ETag. What can't be used is not remembered: the next look
tells whether it was put right. No frame is decoded beyond what the index needs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, pairwise, repeat
from pathlib import Path
from typing import Any

from raypose import storage
from raypose.errors import VideoError
from raypose.storage import AnyPath, cache, identity_of, regular_files, scratch
from raypose.storage.digests import note_path
from raypose.storage.identity import Identity

_KIND = "videos"


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """How the frames of a video are coded and timed.

    Attributes:
        codec: FFmpeg's name of the codec (`h264`).
        pix_fmt: pixel format of the coded frames (`yuv420p`).
        rotation: degrees clockwise by which they are turned to be shown: 0, 90, 180 or 270.
        is_vfr: whether the time between frames varies.
    """

    codec: str
    pix_fmt: str
    rotation: int = 0
    is_vfr: bool = False

    def __str__(self) -> str:
        turned = f", turned {self.rotation}°" if self.rotation else ""
        return f"{self.codec} {self.pix_fmt}{turned}{', variable rate' if self.is_vfr else ''}"


@dataclass(frozen=True, slots=True)
class Look:
    """What the packets of a video say, as far as a plan needs it.

    Attributes:
        n_frames: frames that it shows.
        width: columns of a frame as it is shown.
        height: rows of a frame as it is shown.
        fps: average frame rate, in frames per second.
        duration_s: length in seconds.
        fingerprint: digest of samples of the file's content.
        format: how its frames are coded and timed.
        notes: what is odd about it, and what raypose does about that.
        keyframes: frames at which it can be cut.
        identity: of the file that was looked into.
    """

    n_frames: int
    width: int
    height: int
    fps: float
    duration_s: float
    fingerprint: str
    format: VideoFormat
    notes: tuple[str, ...] = ()
    keyframes: tuple[int, ...] = field(default=(), repr=False)
    identity: Identity | None = None


def look_into(path: AnyPath) -> Look:
    """Index and fingerprint a video, or recall what that said when it was last done.

    Raises:
        VideoError: the video can't be used.
        StorageError: it can't be read from its store.
    """
    local = storage.local_path(path)
    if local is None:
        return _look_into_object(path)
    try:
        before = identity_of(path)
    except OSError:
        return _read(local)  # which says what is wrong
    place = note_path(_KIND, path)
    look = _recall(place, before)
    if look is None:
        look = _read(local)
        # A file that is still being written is not what it was when the look began. Tasks see
        # that, by the identity.
        if _still(local, before):
            cache.store(place, _encode(look, before))
    return replace(look, identity=before)


def _look_into_object(url: AnyPath) -> Look:
    with storage.map_store_errors(url):
        before = identity_of(url)
    place = note_path(_KIND, url)
    look = _recall(place, before)
    if look is None:
        with scratch.current().copy_of(url, identity=before) as copy:
            look = _read(copy)
        cache.store(place, _encode(look, before))
    return replace(look, identity=before)


def _still(path: Path, before: Identity) -> bool:
    try:
        return identity_of(path) == before
    except OSError:
        return False  # it is gone


def _read(path: Path) -> Look:
    from raypose.video.index import fingerprint_video, index_video

    index = index_video(path, note_packets=False)
    if index.n_frames == 0:
        raise VideoError("has no frames", path=path, hint="Check how it was recorded.")
    return Look(
        n_frames=index.n_frames,
        width=index.width,
        height=index.height,
        fps=index.fps,
        duration_s=index.duration_s,
        fingerprint=fingerprint_video(path),
        format=VideoFormat(index.codec, index.pix_fmt, index.rotation, index.is_vfr),
        notes=tuple(index.problems),
        keyframes=tuple(index.keyframes.tolist()),
    )


def _basis(identity: Identity) -> dict[str, Any]:
    """What must be the same for a remembered look to hold."""
    from raypose.video.index import INDEX_VERSION

    return {"index": INDEX_VERSION, **identity.as_dict()}


def _recall(place: Path, identity: Identity) -> Look | None:
    try:
        stored = json.loads(regular_files.read_file(place))
        if stored["of"] != _basis(identity):
            return None
        values = stored["look"]
        values["format"] = VideoFormat(**values["format"])
        values["notes"] = tuple(values["notes"])
        values["keyframes"] = _expand(values["keyframes"])
        return Look(**values)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _encode(look: Look, identity: Identity) -> bytes:
    values = {**asdict(look), "keyframes": _compact(look.keyframes)}
    del values["identity"]
    return json.dumps({"of": _basis(identity), "look": values}).encode()


def _compact(keyframes: Sequence[int]) -> list[list[int]]:
    """Distances between keyframes as runs `[distance, times]`.

    They seldom change; of a video without anything but keyframes one run is left.
    """
    steps = (stop - start for start, stop in pairwise(keyframes))
    return [[step, len(list(same))] for step, same in groupby(steps)]


def _expand(runs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Keyframes from the distances between them; the first is always frame 0."""
    keyframes = [0]
    for step, times in runs:
        for distance in repeat(step, times):
            keyframes.append(keyframes[-1] + distance)
    return tuple(keyframes)
