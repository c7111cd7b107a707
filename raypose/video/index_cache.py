"""Frame indexes kept on disk between planning and running, and between runs.

An index is found by the video's path or URL, and is valid as long as the file's identity is the
same. It takes some bytes per frame: differences are stored instead of times and positions. The
indexes that were used longest ago are removed when all of them take more than `MAX_BYTES`. A cache
that can't be read or written is no error: the caller reads the video instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.storage import cache
from raypose.storage import regular_files as regular
from raypose.storage.digests import Identity
from raypose.video.index import INDEX_VERSION, VideoIndex
from raypose.video.packets import PacketTable

MAX_BYTES = 4 << 30
"""Disk that indexes may take in all."""

_KIND = "indexes"
_TRIM_EVERY_BYTES = 256 << 20
_FIELDS = (
    "codec", "pix_fmt", "width", "height", "rotation", "n_frames", "fps", "duration_s", "is_vfr",
    "seekable", "problems",
)  # fmt: skip
_BROKEN = (
    OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_stored_bytes = _TRIM_EVERY_BYTES


def store_index(source: str, identity: Identity, index: VideoIndex) -> None:
    """Keep the index of a video.

    Args:
        source: path or URL of the video.
        identity: of the file that was indexed.
        index: its index.
    """
    global _stored_bytes
    content = _encode(identity, index)
    if cache.store(_place(source), content):
        _stored_bytes += len(content)
    if _stored_bytes > _TRIM_EVERY_BYTES:
        _stored_bytes = 0
        trim()


def load_index(source: str, identity: Identity | None) -> VideoIndex | None:
    """The index of a video, None where none is kept of this very file."""
    place = _place(source)
    try:
        arrays, meta = _open(place, identity)
        index = _decode(source, arrays, meta)
    except _BROKEN:
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # it is in use
    return index


def load_keyframes(source: str, identity: Identity | None) -> NDArray[np.int64] | None:
    """The keyframes of a video alone; None as in `load_index`."""
    try:
        arrays, _ = _open(_place(source), identity)
        return _summed(arrays["keyframes"])
    except _BROKEN:
        return None


def trim(max_bytes: int = MAX_BYTES) -> None:
    """Remove the indexes that were used longest ago, until the others take at most `max_bytes`."""
    found = []
    for place in cache.cache_dir(_KIND).glob("*/*"):
        with contextlib.suppress(OSError):
            status = place.stat()
            found.append((status.st_mtime, status.st_size, place))
    excess = sum(size for _, size, _ in found) - max_bytes
    for _, size, place in sorted(found):
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            place.unlink()
            excess -= size


def _place(source: str) -> Path:
    name = hashlib.blake2b(os.fsencode(source), digest_size=16).hexdigest()
    return cache.cache_dir(_KIND) / name[:2] / f"{name}.npz"


def _basis(identity: Identity) -> dict[str, int | str]:
    """What must be equal for a kept index to be valid."""
    return {"index": INDEX_VERSION, **identity.as_dict()}


def _open(place: Path, identity: Identity | None) -> tuple[Any, dict[str, Any]]:
    """The arrays of a kept index, read on demand, and all else that it says."""
    if identity is None:
        raise KeyError("a video without an identity has no index")
    arrays = np.load(io.BytesIO(regular.read_file(place)), allow_pickle=False)
    meta = json.loads(bytes(arrays["meta"]))
    if meta["of"] != _basis(identity):
        raise KeyError("the index is of another file")
    return arrays, meta


def _encode(identity: Identity, index: VideoIndex) -> bytes:
    meta = {name: getattr(index, name) for name in _FIELDS}
    meta |= {"of": _basis(identity), "time_base": index.time_base.as_integer_ratio()}
    arrays = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "keyframes": _differences(index.keyframes),
        "pts": _differences(index.pts),
    }
    if index.keyframe_positions is not None:
        arrays["keyframe_positions"] = _differences(index.keyframe_positions)
    if index.packets is not None:
        packets = index.packets
        ends = packets.position + packets.size
        arrays["packet_pts"] = _differences(packets.pts)
        # Mostly 0, since most packets lie one behind the other.
        arrays["packet_gaps"] = _narrow(packets.position - np.append(0, ends[:-1]))
        arrays["packet_sizes"] = packets.size
        arrays["head"] = np.frombuffer(packets.head, np.uint8)
    buffer = io.BytesIO()
    # As `np.savez_compressed`, in a fifth of the time.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            packed = zipfile.ZIP_STORED if name == "head" else None
            archive.writestr(f"{name}.npy", member.getvalue(), packed)
    return buffer.getvalue()


def _decode(source: str, arrays: Any, meta: dict[str, Any]) -> VideoIndex:
    packets = None
    if "head" in arrays:
        size = arrays["packet_sizes"]
        ends = np.cumsum(arrays["packet_gaps"].astype(np.int64) + size)
        packets = PacketTable(
            _summed(arrays["packet_pts"]), ends - size, size, arrays["head"].tobytes()
        )
    fields = {name: meta[name] for name in _FIELDS}
    return VideoIndex(
        path=source,
        keyframes=_summed(arrays["keyframes"]),
        pts=_summed(arrays["pts"]),
        time_base=Fraction(*meta["time_base"]),
        packets=packets,
        keyframe_positions=(
            _summed(arrays["keyframe_positions"]) if "keyframe_positions" in arrays else None
        ),
        **{**fields, "problems": tuple(fields["problems"])},
    )


def _differences(values: NDArray[np.int64]) -> NDArray[Any]:
    return _narrow(np.diff(values, prepend=0))


def _summed(differences: NDArray[Any]) -> NDArray[np.int64]:
    return np.cumsum(differences, dtype=np.int64)


def _narrow(values: NDArray[np.int64]) -> NDArray[Any]:
    """The same numbers in the smallest type that holds them."""
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= int(values.min()) and int(values.max()) <= limits.max:
            return values.astype(kind)
    return values
