"""The seam between raypose and the places where files lie: what can be asked of any of them.

`files.LocalStore` and `object_store.ObjectStore` implement it; `store_of` finds the right one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from raypose.storage.identity import Identity

if TYPE_CHECKING:
    from upath import UPath

P = TypeVar("P", Path, "UPath")


class Store(Protocol[P]):
    """Files of one kind of place. A default answer is that of a store of objects.

    A missing file is a `FileNotFoundError` wherever one is read. Whatever else goes wrong is an
    `OSError` of a local file, and a `StorageError` of an object.
    """

    def identity(self, path: P) -> Identity:
        """Size and marks of a file, from a single request."""

    def exists(self, path: P) -> bool:
        """Whether there is a file or a folder of this name."""

    def is_file(self, path: P) -> bool:
        """Whether this is a regular file, as opposed to a folder, a pipe or a device."""
        return True

    def is_folder(self, path: P) -> bool:
        """Whether a folder takes this name, so that no file can be written there."""
        return False

    def read(self, path: P) -> bytes:
        """The whole content."""

    def read_head(self, path: P, n_bytes: int) -> bytes:
        """The first `n_bytes`, or fewer where the file is shorter."""

    def blocks(self, path: P) -> Iterator[bytes]:
        """The content piece by piece."""

    def write(self, path: P, content: bytes) -> None:
        """Write a small file in one step: readers see the old content or the new."""

    def write_new(self, path: P, content: bytes) -> None:
        """As `write`; a FileExistsError where there is such a file already, and of two processes
        that try at once, one gets it."""

    def temporary_folder(self, output: P) -> Path | None:
        """Where an output is written before it is put in place; None for scratch."""
        return None

    def put(self, temporary: Path, output: P) -> Identity:
        """Put a complete local file in place, in one step, and tell the identity that it has
        there; the file may be moved away."""

    def back_up(self, path: P, backup: P) -> None:
        """Keep a file under another name, before another file takes its place."""

    def list_files(self, folder: P, *, recursive: bool = False) -> Sequence[P]:
        """The files in a folder, in order; none where there is no folder."""

    def remove(self, path: P) -> None:
        """Remove a file, if there is one."""

    def remove_folder(self, folder: P) -> None:
        """Remove a folder with all its files, and its parent if that is empty then."""

    def longest_name(self, folder: P) -> int:
        """Bytes that the name of a file in a folder may have."""

    def has_room_below(self, folder: P) -> bool:
        """Whether files of any valid name may be two levels below a folder."""
        return True

    def free_bytes(self, folder: P) -> int | None:
        """Bytes that are free where a folder is, or would be; None where there is no limit."""
        return None


AnyStore = Store[Any]
