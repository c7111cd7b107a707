"""What is known of videos, kept on disk between planning and running, and between runs.

A video is found by its path or URL; what is kept of it is valid as long as the file's identity is
the same: a line of stats, and the frame index, of differences instead of times and positions.
Where all indexes take more than `MAX_BYTES`, those used longest ago are removed, and their stats
stay. A cache that can't be read or written is no error: the caller reads the video instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.storage import cache, regular_files
from raypose.storage.digests import digest_of_bytes
from raypose.storage.identity import Identity
from raypose.video.index import INDEX_VERSION, VideoIndex
from raypose.video.packets import Int64, PacketTable

MAX_BYTES = 4 << 30
"""Disk that indexes may take in all."""

_KIND = "videos"
_TRIM_EVERY_BYTES = 256 << 20
_FACTS = (
    "codec", "pix_fmt", "width", "height", "rotation", "n_frames", "fps", "duration_s", "is_vfr",
    "notes",
)  # fmt: skip
_TOLD = ("fingerprint", *_FACTS)
_STATS_BYTES = 4096  # nearly always enough for the line of stats
_BROKEN = (OSError, ValueError, KeyError, TypeError, RecursionError, zlib.error)
_NARROW = ((np.int8, 1 << 7), (np.int16, 1 << 15), (np.int32, 1 << 31))
_stored_bytes = _TRIM_EVERY_BYTES
_kept: dict[str, tuple[Identity, Int64]] = {}


def store_index(source: str, identity: Identity, index: VideoIndex, fingerprint: str) -> None:
    """Keep the index of a video, a path or URL, for as long as the file has this identity."""
    global _stored_bytes
    content = _encode(identity, index, fingerprint)
    if cache.store(_place(source), content):
        _stored_bytes += len(content)
    else:
        _kept[source] = identity, index.keyframes
    if _stored_bytes > _TRIM_EVERY_BYTES:
        _stored_bytes = 0
        trim()


def load_facts(source: str, identity: Identity) -> dict[str, Any] | None:
    """The facts that `facts_of` lists; None where they are not known."""
    try:
        stats = _read_stats(source, identity)
        return {name: stats[name] for name in _TOLD}
    except _BROKEN:
        return None


def facts_of(index: VideoIndex, fingerprint: str) -> dict[str, Any]:
    """The fields of a `VideoSpec` that an index and the fingerprint tell."""
    return {"fingerprint": fingerprint} | {name: getattr(index, name) for name in _FACTS}


def load_index(source: str, identity: Identity | None) -> VideoIndex | None:
    """The index of a video; None where none is kept of this very file."""
    try:
        index = _decode(source, *_read(source, identity))
    except _BROKEN:
        return None
    with contextlib.suppress(OSError):
        os.utime(_place(source))  # it is in use
    return index


def load_keyframes(source: str, identity: Identity | None) -> Int64 | None:
    """The keyframes of a video, also where the cache can't be written; None as in `load_index`."""
    if index := load_index(source, identity):
        return index.keyframes
    kept_of, keyframes = _kept.get(source, (None, None))
    return keyframes if kept_of == identity else None


def trim(max_bytes: int = MAX_BYTES) -> None:
    """Remove the indexes used longest ago, until all files take at most `max_bytes`."""
    found = []
    for place in cache.cache_dir(_KIND).glob("*/*.index"):
        with contextlib.suppress(OSError):
            status = place.stat()
            found.append((status.st_mtime_ns, status.st_size, place))
    excess = sum(size for _, size, _ in found) - max_bytes
    for time_ns, size, place in sorted(found):
        if excess <= 0:
            return
        with contextlib.suppress(OSError), regular_files.open_file(place) as file:
            stats = file.readline()
            if len(stats) < size and cache.store(place, stats):
                os.utime(place, ns=(time_ns, time_ns))
                excess -= size - len(stats)


def _place(source: str) -> Path:
    return Path(_place_name(source))


def _place_name(source: str) -> str:
    name = digest_of_bytes(os.fsencode(source))
    return f"{cache.cache_dir(_KIND)}/{name[:2]}/{name}.index"


def _basis(identity: Identity) -> dict[str, int | str]:
    return {"index": INDEX_VERSION, **identity.as_dict()}


def _read_stats(source: str, identity: Identity) -> dict[str, Any]:
    """The stats alone, in as few steps as possible: a plan reads those of all its videos."""
    handle = os.open(_place_name(source), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        line, found, _ = os.read(handle, _STATS_BYTES).partition(b"\n")
    finally:
        os.close(handle)
    if not found:
        return _read(source, identity)[0]
    stats: dict[str, Any] = json.loads(line)
    if stats["of"] != _basis(identity):
        raise KeyError("the index is of another file")
    return stats


def _read(source: str, identity: Identity | None) -> tuple[dict[str, Any], bytes]:
    """The stats, and the packed arrays."""
    if identity is None:
        raise KeyError("a video without an identity has no index")
    with regular_files.open_file(_place(source)) as file:
        stats: dict[str, Any] = json.loads(file.readline())
        if stats["of"] != _basis(identity):
            raise KeyError("the index is of another file")
        return stats, file.read()


def _encode(identity: Identity, index: VideoIndex, fingerprint: str) -> bytes:
    arrays = {"keyframes": _differences(index.keyframes), "pts": _differences(index.pts)}
    if index.keyframe_positions is not None:
        arrays["keyframe_positions"] = _differences(index.keyframe_positions)
    packets = index.packets
    if packets is not None:
        ends = packets.position + packets.size
        arrays["packet_pts"] = _differences(packets.pts)
        # Mostly 0, since most packets lie one behind the other.
        arrays["packet_gaps"] = _narrow(packets.position - np.append(0, ends[:-1]))
        arrays["packet_sizes"] = packets.size
        arrays["head"] = np.frombuffer(packets.head, np.uint8)
    stats = facts_of(index, fingerprint) | {
        "of": _basis(identity),
        "seekable": index.seekable,
        "time_base": index.time_base.as_integer_ratio(),
        "arrays": [(name, array.dtype.str, len(array)) for name, array in arrays.items()],
    }
    packed = zlib.compress(b"".join(array.tobytes() for array in arrays.values()), 1)
    return json.dumps(stats).encode() + b"\n" + packed


def _decode(source: str, stats: dict[str, Any], packed: bytes) -> VideoIndex:
    content = zlib.decompress(packed)
    arrays, at = {}, 0
    for name, kind, n in stats["arrays"]:
        arrays[name] = np.frombuffer(content, kind, n, at)
        at += arrays[name].nbytes
    packets = None
    if "head" in arrays:
        size = arrays["packet_sizes"].copy()
        ends = np.cumsum(arrays["packet_gaps"].astype(np.int64) + size)
        packets = PacketTable(
            _summed(arrays["packet_pts"]), ends - size, size, arrays["head"].tobytes()
        )
    positions = arrays.get("keyframe_positions")
    fields = {name: stats[name] for name in (*_FACTS, "seekable")}
    return VideoIndex(
        path=source,
        keyframes=_summed(arrays["keyframes"]),
        pts=_summed(arrays["pts"]),
        time_base=Fraction(*stats["time_base"]),
        packets=packets,
        keyframe_positions=None if positions is None else _summed(positions),
        **{**fields, "notes": tuple(fields["notes"])},
    )


def _differences(values: Int64) -> NDArray[Any]:
    differences = values.copy()
    differences[1:] -= values[:-1]
    return _narrow(differences)


def _summed(differences: NDArray[Any]) -> Int64:
    return np.cumsum(differences, dtype=np.int64)


def _narrow(values: Int64) -> NDArray[Any]:
    """The same numbers in the smallest type that holds them."""
    least, most = int(values.min()), int(values.max())
    for kind, above in _NARROW:
        if -above <= least and most < above:
            return values.astype(kind)
    return values
