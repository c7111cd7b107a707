"""Digests of files, remembered in the cache for as long as a file's identity stays the same.

Two kinds are in use: BLAKE2 for what decides by its content, such as checkpoints, tables and
calibrations, and XXH3, ten times as fast, for videos (`content_digest`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from raypose.errors import CancelledError, RayposeError, TableError
from raypose.storage import regular_files
from raypose.storage.cache import cache_dir, store
from raypose.storage.connection import map_store_errors
from raypose.storage.files import blocks, identity_of
from raypose.storage.identity import Identity
from raypose.storage.paths import AnyPath

RUN_AGAIN = "Run the same command again, once nothing writes to it any more."
"""What to do about a file that changed after the plan was made."""

_BLOCK_BYTES = 4 << 20
_AS_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_contents: dict[tuple[str, Identity], str] = {}


def digest_of_blocks(blocks: Iterable[bytes]) -> str:
    """The BLAKE2 digest (128 bits, hexadecimal) of bytes that come in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def digest_of_bytes(content: bytes) -> str:
    return digest_of_blocks([content])


def digest_of_file(path: AnyPath) -> str:
    return digest_of_blocks(blocks(path))


def digest_of_json(value: Any) -> str:
    """Digest of a value as JSON; the order of keys does not matter."""
    text = _AS_JSON(value).encode(errors="surrogatepass")  # file names need not be UTF-8
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def remembered_digest(path: AnyPath) -> str:
    """As `digest_of_file`, remembered by path and identity.

    Raises:
        OSError: the file can't be read.
        StorageError: the object can't be read.
    """
    identity = identity_of(path)
    note = note_path("digests", path)
    if known := _recall(note, identity):
        return known
    digest = digest_of_file(path)
    if identity_of(path) == identity:
        _remember(note, identity, digest)
    return digest


@contextmanager
def verified(
    path: str | os.PathLike[str], digest: str, what: str, error: type[RayposeError] = TableError
) -> Iterator[None]:
    """Check that what the block reads from a local file is what the plan saw.

    Args:
        path: of the file.
        digest: its `remembered_digest` when the plan was made; empty where there was no plan.
        what: names the file in the message (`the calibration`).
        error: the class to raise where it has changed.
    """
    if not digest:
        yield
        return
    path = Path(path)
    changed = error(f"{what} changed after the run was planned", path=path, hint=RUN_AGAIN)
    before = identity_of(path)
    if digest_of_file(path) != digest:
        raise changed
    yield
    if identity_of(path) != before:
        raise changed


def known_content(path: str, identity: Identity) -> str:
    """The `content_digest` of a video if it is remembered, else empty."""
    key = (path, identity)
    if not _contents.get(key):
        _contents[key] = _recall(note_path("contents", path), identity)
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
        identity: what it should have and keep; otherwise the digest is empty.
        copy: a local copy of an object.
        should_stop: asked between the blocks.

    Raises:
        OSError: the file can't be read.
        StorageError: the object can't be read.
        CancelledError: `should_stop` returned True.
    """
    if known := known_content(str(path), identity):
        return known
    local = copy or path
    if isinstance(local, Path):
        with local.open("rb", buffering=0) as file:
            digest = digest_of_open(file, None if copy else identity, should_stop)
    else:
        with map_store_errors(path):
            is_same = identity_of(path) == identity
            digest = _xxh3(blocks(path), should_stop) if is_same else ""
            if identity_of(path) != identity:
                digest = ""
    if digest:
        _contents[str(path), identity] = digest
        _remember(note_path("contents", path), identity, digest)
    return digest


def digest_of_open(
    file: IO[bytes], identity: Identity | None, should_stop: Callable[[], bool] = lambda: False
) -> str:
    """As `content_digest`, of an open file of any identity if it is None, and not remembered."""

    before = Identity.of_status(os.fstat(file.fileno()))
    if identity not in (None, before):
        return ""
    file.seek(0)
    digest = _xxh3(iter(lambda: file.read(_BLOCK_BYTES), b""), should_stop)
    after = Identity.of_status(os.fstat(file.fileno()))
    return digest if identity in (None, after) else ""


def note_path(kind: str, path: object) -> Path:
    """The cached file of one kind about a file; a changed file keeps it."""
    name = digest_of_bytes(os.fsencode(str(path)))
    return cache_dir(kind) / name[:2] / f"{name}.json"


def _xxh3(blocks: Iterable[bytes], should_stop: Callable[[], bool]) -> str:
    import xxhash

    digest = xxhash.xxh3_128()
    for block in blocks:
        if should_stop():
            raise CancelledError("the run was stopped")
        digest.update(block)
    return str(digest.hexdigest())


def _recall(note: Path, identity: Identity) -> str:
    try:
        remembered = json.loads(regular_files.read_file(note))
        return str(remembered["digest"]) if remembered["of"] == identity.as_dict() else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _remember(note: Path, identity: Identity, digest: str) -> None:
    store(note, json.dumps({"of": identity.as_dict(), "digest": digest}).encode())
