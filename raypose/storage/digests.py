"""Which file this is: its identity at a glance, and digests of its content, remembered.

An `Identity` costs one request and changes with everything that a user can do to a file: editing
it, copying over it, replacing it by a copy of equal size and time. A digest costs a read of the
whole file, so it is remembered in the cache for as long as the identity stays the same.

Two digests are in use: `remembered_digest` (BLAKE2) for what decides by its content, such as
checkpoints, tables and calibrations, and `content_digest` (XXH3, ten times as quick) for videos.
`verified` is for whoever reads a file later than the plan: what is read is what the plan saw.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from raypose import storage
from raypose.errors import CancelledError, RayposeError, TableError
from raypose.storage import AnyPath
from raypose.storage import regular_files as regular
from raypose.storage.cache import cache_dir, store

RUN_AGAIN = "Run the same command again, once nothing writes to it any more."
"""What to do about a file that changed after the plan was made."""

_BLOCK_BYTES = 4 << 20
_CHANGE_MARKS = ("mtime_ns", "ctime_ns", "inode", "etag")
_contents: dict[tuple[str, Identity], str] = {}


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a file from what it was before, without reading it.

    The device is not part of it: two hosts give one network file system different numbers.

    Attributes:
        size: bytes.
        marks: names and values of what changes with the file: times of modification and of
            change in nanoseconds and the inode, or the ETag of an object.
    """

    size: int
    marks: tuple[tuple[str, int | str], ...]

    @classmethod
    def of(cls, path: AnyPath) -> Identity:
        """The identity of a file or an object as it is now.

        Raises:
            OSError: the file can't be found.
            StorageError: the store can't be asked.
        """
        if isinstance(path, Path):
            return cls.of_status(path.stat())
        stat = storage.stat(path)
        return cls(stat.size, tuple(stat.mark.items()))

    @classmethod
    def of_status(cls, status: os.stat_result) -> Identity:
        """The identity of a local file, from what the system says of it."""
        marks = (
            ("mtime_ns", status.st_mtime_ns),
            ("ctime_ns", status.st_ctime_ns),
            ("inode", status.st_ino),
        )
        return cls(status.st_size, marks)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Identity | None:
        """What `as_dict` gave, from among other values; None where it is not there."""
        size = values.get("size")
        marks = tuple((name, values[name]) for name in _CHANGE_MARKS if name in values)
        if type(size) is not int or not marks:
            return None
        return cls(size, marks) if all(type(v) in (int, str) for _, v in marks) else None

    def as_dict(self) -> dict[str, int | str]:
        """The same as plain values, for a file."""
        return {"size": self.size, **dict(self.marks)}

    def looks_like(self, other: Identity) -> bool:
        """Whether size and time of modification are equal.

        Some network file systems give a file another inode or time of change after a while:
        only the content can tell then.
        """
        mine, others = dict(self.marks), dict(other.marks)
        mtime = mine.get("mtime_ns")
        return self.size == other.size and mtime is not None and mtime == others.get("mtime_ns")


def remembered_digest(path: AnyPath) -> str:
    """Digest of a file's bytes, remembered by its path and identity.

    Raises:
        OSError: the file can't be read.
        StorageError: the object can't be read.
    """
    identity = Identity.of(path)
    note = _note("digests", path)
    known = _recall(note, identity)
    if known:
        return known
    digest = hashlib.blake2b(digest_size=16)
    for block in storage.blocks(path):
        digest.update(block)
    if Identity.of(path) == identity:
        _remember(note, identity, digest.hexdigest())
    return digest.hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """What `remembered_digest` gives for a file of this content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@contextmanager
def verified(
    path: str | os.PathLike[str], digest: str, what: str, error: type[RayposeError] = TableError
) -> Iterator[None]:
    """What is read of a local file in this block is what the plan saw.

    Args:
        path: the file.
        digest: its `remembered_digest` when the plan was made; empty where there was no plan.
        what: what it is, for the message (`the calibration`).
        error: what to raise where it is another now.

    Raises:
        RayposeError: of the kind of `error`.
        OSError: the file can't be read.
    """
    if not digest:
        yield
        return
    path = Path(path)
    changed = error(f"{what} changed after the run was planned", path=path, hint=RUN_AGAIN)
    before = Identity.of(path)
    found = hashlib.blake2b(digest_size=16)
    for block in storage.blocks(path):
        found.update(block)
    if found.hexdigest() != digest:
        raise changed
    yield
    if Identity.of(path) != before:
        raise changed


def known_content(path: str, identity: Identity) -> str:
    """The `content_digest` of a video if it is remembered, else empty."""
    key = (path, identity)
    if key not in _contents:
        known = _recall(_note("contents", path), identity)
        if not known:
            return ""
        _contents[key] = known
    return _contents[key]


def content_digest(
    path: AnyPath,
    identity: Identity,
    *,
    copy: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Digest of all bytes of a video, remembered.

    Args:
        path: the file or object.
        identity: what it is taken for.
        copy: a local copy of an object.
        should_stop: asked between the blocks.

    Returns:
        The digest; empty where the file is not, or does not stay, what `identity` says.

    Raises:
        OSError: the file can't be read.
        StorageError: the object can't be read.
        CancelledError: `should_stop` said so.
    """
    known = known_content(str(path), identity)
    if known:
        return known
    if copy is None and not isinstance(path, Path):
        with storage.speaking_of(path):
            if Identity.of(path) != identity:
                return ""
            digest = _xxh3(storage.blocks(path), should_stop)
            same = Identity.of(path) == identity
    else:
        local = copy or path
        assert isinstance(local, Path)
        with local.open("rb", buffering=0) as file:
            digest = digest_of_open(file, None if copy else identity, should_stop)
        same = bool(digest)
    if not same:
        return ""
    _contents[str(path), identity] = digest
    _remember(_note("contents", path), identity, digest)
    return digest


def digest_of_open(
    file: IO[bytes], identity: Identity | None, should_stop: Callable[[], bool] = lambda: False
) -> str:
    """As `content_digest`, of an open file, and not remembered.

    Args:
        file: is read from its beginning.
        identity: what it must be and stay; None for whatever it is.
        should_stop: asked between the blocks.
    """

    def is_same() -> bool:
        now = Identity.of_status(os.fstat(file.fileno()))
        return identity is None or now == identity

    if not is_same():
        return ""
    file.seek(0)
    digest = _xxh3(iter(lambda: file.read(_BLOCK_BYTES), b""), should_stop)
    return digest if is_same() else ""


def _xxh3(blocks: Iterable[bytes], should_stop: Callable[[], bool]) -> str:
    import xxhash

    digest = xxhash.xxh3_128()
    for block in blocks:
        if should_stop():
            raise CancelledError("the run was stopped")
        digest.update(block)
    return str(digest.hexdigest())


def _note(kind: str, path: object) -> Path:
    name = hashlib.blake2b(os.fsencode(str(path)), digest_size=16).hexdigest()
    return cache_dir(kind) / name[:2] / f"{name}.json"


def _recall(note: Path, identity: Identity) -> str:
    try:
        remembered = json.loads(regular.read_file(note))
        return str(remembered["digest"]) if remembered["of"] == identity.as_dict() else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _remember(note: Path, identity: Identity, digest: str) -> None:
    store(note, json.dumps({"of": identity.as_dict(), "digest": digest}).encode())
