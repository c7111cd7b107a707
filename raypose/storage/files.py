"""What is often asked of a store, by path or URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from raypose.storage.identity import Identity
from raypose.storage.local_store import LocalStore
from raypose.storage.object_store import ObjectStore
from raypose.storage.paths import AnyPath
from raypose.storage.store import AnyStore
from raypose.storage.store_errors import missing_object

_LOCAL = LocalStore()
_OBJECTS = ObjectStore()


def store_of(path: AnyPath) -> AnyStore:
    """The store that a file is in, or would be."""
    return _LOCAL if isinstance(path, Path) else _OBJECTS


def identity_of(path: AnyPath) -> Identity:
    """As `Store.identity`."""
    return store_of(path).identity(path)


def exists(path: AnyPath) -> bool:
    """As `Store.exists`."""
    return store_of(path).exists(path)


def read_bytes(path: AnyPath, max_bytes: int | None = None) -> bytes:
    """As `Store.read`, except that a missing object is a `StorageError`."""
    with _required(path):
        return store_of(path).read(path, max_bytes)


def read_head(path: AnyPath, n_bytes: int) -> bytes:
    """As `Store.read_head`, except that a missing object is a `StorageError`."""
    with _required(path):
        return store_of(path).read_head(path, n_bytes)


def blocks(path: AnyPath) -> Iterator[bytes]:
    """As `Store.blocks`, except that a missing object is a `StorageError`."""
    with _required(path):
        yield from store_of(path).blocks(path)


def write_text(path: AnyPath, text: str) -> None:
    """As `Store.write`; names of files in the text need not be UTF-8."""
    store_of(path).write(path, text.encode(errors="surrogateescape"))


def list_files(folder: AnyPath, *, recursive: bool = False) -> Sequence[AnyPath]:
    """As `Store.list_files`."""
    return store_of(folder).list_files(folder, recursive=recursive)


def remove(path: AnyPath) -> None:
    """As `Store.remove`."""
    store_of(path).remove(path)


@contextmanager
def _required(path: AnyPath) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if isinstance(path, Path):
            raise
        raise missing_object(path) from error
