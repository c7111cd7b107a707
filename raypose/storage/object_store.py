"""Objects in a store: read in ranges, written as a whole, known by the ETag that the store gives.

s3fs and gcsfs do the transfers, and retry what may pass by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.errors import CancelledError, StorageError
from raypose.limits import MAX_KEY_BYTES
from raypose.storage.connection import map_store_errors
from raypose.storage.identity import Identity
from raypose.storage.paths import AnyPath, open_url
from raypose.storage.store import Store

if TYPE_CHECKING:
    from upath import UPath

_BLOCK_BYTES = 16 << 20
_PARALLEL = 4


class ObjectStore(Store["UPath"]):
    """Objects; a file is written in scratch first."""

    def identity(self, path: UPath) -> Identity:
        with map_store_errors(path, missing_is_an_error=False):
            info = path.fs.info(path.path)
            if info["type"] != "file":
                raise FileNotFoundError(str(path))
            return _identity(info)

    def exists(self, path: UPath) -> bool:
        with suppress(FileNotFoundError):
            self.identity(path)
            return True
        return False

    def read(self, path: UPath) -> bytes:
        with map_store_errors(path, missing_is_an_error=False):
            return bytes(path.fs.cat_file(path.path))

    def read_head(self, path: UPath, n_bytes: int) -> bytes:
        with map_store_errors(path, missing_is_an_error=False):
            try:
                return bytes(path.fs.cat_file(path.path, start=0, end=n_bytes))
            except FileNotFoundError:
                raise
            except Exception:
                if self.identity(path).size == 0:
                    return b""  # stores refuse to give a range of an empty object
                raise

    def blocks(self, path: UPath) -> Iterator[bytes]:
        size = self.identity(path).size
        for start in range(0, size, _BLOCK_BYTES):
            yield _read_range(path, start, min(start + _BLOCK_BYTES, size))

    def write(self, path: UPath, content: bytes) -> None:
        with map_store_errors(path):
            path.fs.pipe_file(path.path, content)

    def write_new(self, path: UPath, content: bytes) -> None:
        with map_store_errors(path):
            try:
                path.fs.pipe_file(path.path, content, mode="create")
                return
            except Exception as error:
                if not _exists_already(error):
                    raise
        raise FileExistsError(str(path))

    def put(self, temporary: Path, output: UPath) -> Identity:
        # One PUT, or a multipart upload that is completed: either way one step for readers.
        with map_store_errors(output):
            concurrency = {"max_concurrency": _PARALLEL} if output.protocol == "s3" else {}
            output.fs.put_file(os.fspath(temporary), output.path, **concurrency)
            identity = self.identity(output)
        expected = temporary.stat().st_size
        if identity.size != expected:
            message = f"{identity.size} of {expected} bytes arrived"
            raise StorageError(message, path=str(output), hint="Run the same command again.")
        return identity

    def back_up(self, path: UPath, backup: UPath) -> None:
        # A copy is enough: the new object then replaces the old one.
        with map_store_errors(path):
            path.fs.cp_file(path.path, backup.path)

    def list_files(self, folder: UPath, *, recursive: bool = False) -> list[UPath]:
        with map_store_errors(folder):
            found = folder.fs.find(folder.path, maxdepth=None if recursive else 1)
            return [_same_store(folder, key) for key in sorted(found)]

    def remove(self, path: UPath) -> None:
        with map_store_errors(path, missing_is_an_error=False), suppress(FileNotFoundError):
            path.fs.rm_file(path.path)

    def remove_folder(self, folder: UPath) -> None:
        for path in self.list_files(folder, recursive=True):
            self.remove(path)

    def longest_name(self, folder: UPath) -> int:
        return MAX_KEY_BYTES - len(os.fsencode(folder.path)) - 1


def _exists_already(error: Exception) -> bool:
    """Whether a store refused to create an object because there is one, or is about to be."""
    answer = getattr(error.__cause__, "response", None) or {}  # of botocore's error
    code = answer.get("Error", {}).get("Code", "")
    refusals = ("PreconditionFailed", "ConditionalRequestConflict")
    return isinstance(error, FileExistsError) or code in refusals


def matching_objects(pattern: AnyPath) -> list[AnyPath]:
    """The objects that match a pattern, in order."""
    assert not isinstance(pattern, Path), "the pattern is a URL"
    with map_store_errors(pattern):
        found = pattern.fs.glob(pattern.path, detail=True)
        keys = sorted(key for key, info in found.items() if info["type"] == "file")
        return [_same_store(pattern, key) for key in keys]


def objects_in(folder: AnyPath, *, recursive: bool = True) -> dict[str, Identity]:
    """URL and identity of each object in a folder, in order, from requests that list a thousand
    each."""
    assert not isinstance(folder, Path), "the folder is a URL"
    with map_store_errors(folder):
        depth = None if recursive else 1
        found = folder.fs.find(folder.path, maxdepth=depth, detail=True)
    return {f"{folder.protocol}://{key}": _identity(found[key]) for key in sorted(found)}


def fetch(url: UPath, target: Path, expected: Identity, should_stop: Callable[[], bool]) -> None:
    """Copy an object of the expected identity into a local file, which is overwritten.

    Raises:
        StorageError: it can't be read, or has changed.
        CancelledError: `should_stop`, asked between the blocks, returned True.
    """

    def copy(start: int) -> None:
        if should_stop():
            raise CancelledError("the run was stopped", path=str(url))
        data = _read_range(url, start, min(start + _BLOCK_BYTES, expected.size))
        os.pwrite(file.fileno(), data, start)

    mode = "r+b" if target.exists() else "wb"
    with target.open(mode) as file, ThreadPoolExecutor(_PARALLEL, "fetch") as pool:
        file.truncate(expected.size)
        for _ in pool.map(copy, range(0, expected.size, _BLOCK_BYTES)):
            pass  # the first error cancels the others
    with map_store_errors(url):
        now = ObjectStore().identity(url)
    if now != expected:
        hint = "Run again when nothing writes to it."
        raise StorageError("it was changed while it was read", path=str(url), hint=hint)


def _read_range(url: UPath, start: int, stop: int) -> bytes:
    with map_store_errors(url):
        data: bytes = url.fs.cat_file(url.path, start=start, end=stop)
        if len(data) != stop - start:
            raise OSError(f"{len(data)} of {stop - start} bytes arrived")
        return data


def _identity(info: Mapping[str, Any]) -> Identity:
    """What a store says of an object, be it asked for this one or for a list."""
    etag = info.get("ETag") or info.get("etag") or info.get("generation") or ""
    return Identity(int(info["size"]), etag=str(etag).strip('"'))


def _same_store(path: UPath, key: str) -> UPath:
    return open_url(f"{path.protocol}://{key}")
