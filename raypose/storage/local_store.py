"""Files on the file systems of this machine."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from raypose.storage import regular_files
from raypose.storage.identity import Identity
from raypose.storage.layout import HIDDEN
from raypose.storage.store import Store
from raypose.storage.temporary_files import remove_if_empty, temporary_name

_BLOCK_BYTES = 4 << 20
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 4095


class LocalStore(Store[Path]):
    """Implements `Store` with local files; reads nothing but regular ones."""

    def identity(self, path: Path) -> Identity:
        return Identity.of_status(path.stat())

    def exists(self, path: Path) -> bool:
        return path.exists()

    def is_file(self, path: Path) -> bool:
        return regular_files.is_file(path)

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def read(self, path: Path, max_bytes: int | None = None) -> bytes:
        return regular_files.read_file(path, max_bytes)

    def read_head(self, path: Path, n_bytes: int) -> bytes:
        with regular_files.open_file(path) as file:
            return file.read(n_bytes)

    def blocks(self, path: Path) -> Iterator[bytes]:
        with regular_files.open_file(path) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(temporary_name(path.name))
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

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

    def glob(self, pattern: Path) -> list[Path]:
        found = sorted(glob.glob(str(pattern), recursive=True))
        return [path for path in map(Path, found) if path.is_file()]

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        remove_if_empty(folder.parent)

    def excess_bytes(self, path: Path) -> int:
        try:
            longest = os.pathconf(_nearest_folder(path.parent), "PC_NAME_MAX")
        except (OSError, ValueError):
            longest = _MAX_NAME_BYTES
        return len(os.fsencode(path.name)) - longest

    def has_room_below(self, folder: Path) -> bool:
        return len(os.fsencode(folder)) + 2 * _MAX_NAME_BYTES <= _MAX_PATH_BYTES

    def free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(_nearest_folder(folder)).free


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
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
