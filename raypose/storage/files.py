"""Local files, and what is often asked of a store by path or URL."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from raypose.limits import MAX_NAME_BYTES, MAX_PATH_BYTES
from raypose.storage import regular_files
from raypose.storage.connection import map_store_errors
from raypose.storage.identity import Identity
from raypose.storage.layout import HIDDEN
from raypose.storage.object_store import ObjectStore
from raypose.storage.paths import AnyPath
from raypose.storage.store import AnyStore, Store
from raypose.storage.temporary_files import remove_if_empty, temporary_name

_BLOCK_BYTES = 4 << 20
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
"""What file systems without hard links answer; some of those in user space, the last."""


class LocalStore(Store[Path]):
    """Files on the file systems of this machine; reads nothing but regular ones."""

    def identity(self, path: Path) -> Identity:
        return Identity.of_status(path.stat())

    def exists(self, path: Path) -> bool:
        return path.exists()

    def is_file(self, path: Path) -> bool:
        return regular_files.is_file(path)

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def read(self, path: Path) -> bytes:
        return regular_files.read_file(path)

    def read_head(self, path: Path, n_bytes: int) -> bytes:
        with regular_files.open_file(path) as file:
            return file.read(n_bytes)

    def blocks(self, path: Path) -> Iterator[bytes]:
        with regular_files.open_file(path) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def write(self, path: Path, content: bytes) -> None:
        _write(path, content, os.replace)

    def write_new(self, path: Path, content: bytes) -> None:
        _write(path, content, _move_to_new)

    def temporary_folder(self, output: Path) -> Path:
        return output.parent / HIDDEN / "tmp"

    def put(self, temporary: Path, output: Path) -> Identity:
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # Asked before the rename: later, another run could have committed the same output.
        identity = self.identity(temporary)
        os.replace(temporary, output)
        return identity

    def back_up(self, path: Path, backup: Path) -> None:
        backup.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, backup)

    def list_files(self, folder: Path, *, recursive: bool = False) -> list[Path]:
        return sorted(map(Path, _files_in(folder, recursive)))

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        remove_if_empty(folder.parent)

    def longest_name(self, folder: Path) -> int:
        try:
            return os.pathconf(_nearest_folder(folder), "PC_NAME_MAX")
        except (OSError, ValueError):
            return MAX_NAME_BYTES

    def has_room_below(self, folder: Path) -> bool:
        return len(os.fsencode(folder)) + 2 * MAX_NAME_BYTES <= MAX_PATH_BYTES

    def free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(_nearest_folder(folder)).free


def store_of(path: AnyPath) -> AnyStore:
    """The store that a file is in, or would be."""
    return LocalStore() if isinstance(path, Path) else ObjectStore()


def identity_of(path: AnyPath) -> Identity:
    return store_of(path).identity(path)


def exists(path: AnyPath) -> bool:
    return store_of(path).exists(path)


def read_bytes(path: AnyPath) -> bytes:
    """As `Store.read`, except that a missing object is a `StorageError`."""
    with map_store_errors(path):
        return store_of(path).read(path)


def read_head(path: AnyPath, n_bytes: int) -> bytes:
    """As `Store.read_head`, except that a missing object is a `StorageError`."""
    with map_store_errors(path):
        return store_of(path).read_head(path, n_bytes)


def blocks(path: AnyPath) -> Iterator[bytes]:
    """As `Store.blocks`, except that a missing object is a `StorageError`."""
    with map_store_errors(path):
        yield from store_of(path).blocks(path)


def write_text(path: AnyPath, text: str) -> None:
    """As `Store.write`; names of files in the text need not be UTF-8."""
    store_of(path).write(path, text.encode(errors="surrogateescape"))


def write_new_text(path: Path, text: str) -> None:
    """As `write_text`, of a local file; a FileExistsError where there is one already."""
    LocalStore().write_new(path, text.encode(errors="surrogateescape"))


def list_files(folder: AnyPath, *, recursive: bool = False) -> Sequence[AnyPath]:
    return store_of(folder).list_files(folder, recursive=recursive)


def _write(path: Path, content: bytes, move: Callable[[Path, Path], None]) -> None:
    """Write a file in one step: `move` puts a finished temporary file in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    try:
        temporary.write_bytes(content)
        move(temporary, path)
    except OSError as error:  # which may name the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _move_to_new(temporary: Path, path: Path) -> None:
    """Rename a file to a name that no file has; a FileExistsError if one has it."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        path.open("x").close()  # which is empty for a moment
        os.replace(temporary, path)


def _files_in(folder: Path | str, recursive: bool) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # missing, or closed to this user
    for entry in entries:
        if os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():
            yield entry.path
        elif recursive and entry.is_dir(follow_symlinks=False):
            yield from _files_in(entry.path, recursive)


def _nearest_folder(folder: Path) -> Path:
    """The folder itself, or the one in which it would be made."""
    return next((place for place in (folder, *folder.parents) if place.is_dir()), folder)
