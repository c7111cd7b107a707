"""What lies in folders, each listed once, for a plan that asks for hundreds of thousands of files.

Asking for each file by itself costs one or two system calls on a disk and a request in a store; a
folder is listed with one call per few hundred files, and a store names a thousand objects in one
request, with the size and the ETag of each. Whoever needs to know what another run writes
meanwhile takes a `NoListing`.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from enum import Enum

from raypose.storage.identity import Identity
from raypose.storage.layout import FOLDERS
from raypose.storage.object_store import objects_in
from raypose.storage.paths import AnyPath, as_path


class Kind(Enum):
    """What a listing says of a name."""

    MISSING = "missing"
    FILE = "file"  # a regular file, or an object
    OTHER = "other"  # a folder, a link, …: only the store can tell


_Names = Mapping[str, Identity | Kind]

_UNLISTABLE: _Names = {"": Kind.OTHER}
"""A folder that can't be listed: each file in it is asked for by itself."""


class Listing:
    """Names of files, by the folders they are in; paths are strings."""

    def __init__(self) -> None:
        self._folders: dict[str, _Names] = {}
        self._trees: set[str] = set()
        self._lock = threading.Lock()

    def kind(self, path: str) -> Kind:
        """What lies at a path.

        Raises:
            StorageError: the store can't be asked.
        """
        folder, _, name = path.rpartition("/")
        names = self._names(folder)
        if names is _UNLISTABLE:
            return Kind.OTHER
        entry = names.get(name, Kind.MISSING)
        return entry if isinstance(entry, Kind) else Kind.FILE

    def identity(self, path: str) -> Identity:
        """Size and marks of a file whose kind is `FILE`.

        Raises:
            OSError: it is gone by now.
        """
        folder, _, name = path.rpartition("/")
        entry = self._names(folder).get(name)
        return entry if isinstance(entry, Identity) else Identity.of_status(os.stat(path))

    def files_below(self, folder: AnyPath) -> Iterator[str]:
        """The paths of all files in a folder and below it; none where there is no folder."""
        root = str(folder)
        with self._lock:
            if root not in self._trees:
                self._list_tree(root)
        for place, names in list(self._folders.items()):
            if place == root or place.startswith(f"{root}/"):
                for name, entry in names.items():
                    path = f"{place}/{name}"
                    if entry is not Kind.OTHER or os.path.isfile(path):  # a link to a file
                        yield path

    def _names(self, folder: str) -> _Names:
        names = self._folders.get(folder)
        if names is not None:
            return names
        with self._lock:
            if folder not in self._folders:
                if folder.startswith("/"):  # one below a link is in no tree
                    self._folders[folder] = _names_in(folder)
                elif self._is_below_a_tree(folder):
                    self._folders[folder] = {}
                else:
                    self._list_tree(_root_of(folder))
            return self._folders.setdefault(folder, {})

    def _is_below_a_tree(self, folder: str) -> bool:
        return any(folder == tree or folder.startswith(f"{tree}/") for tree in self._trees)

    def _list_tree(self, root: str) -> None:
        if root.startswith("/"):
            waiting = [root]
            while waiting:
                folder = waiting.pop()
                self._folders[folder] = names = _names_in(folder)
                below = (f"{folder}/{n}" for n, kind in names.items() if kind is Kind.OTHER)
                waiting += (place for place in below if not os.path.islink(place))
        else:
            found: dict[str, dict[str, Identity | Kind]] = {root: {}}
            for path, identity in objects_in(as_path(root)).items():
                folder, _, name = path.rpartition("/")
                found.setdefault(folder, {})[name] = identity
            for folder in [place for place in found if place != root]:
                while len(folder) > len(root):
                    folder, _, name = folder.rpartition("/")
                    found.setdefault(folder, {}).setdefault(name, Kind.OTHER)
            self._folders |= found
        self._trees.add(root)


class NoListing(Listing):
    """Asks for each file by itself: for a few of them, at any time."""

    def kind(self, path: str) -> Kind:
        if not path.startswith("/"):
            return Kind.OTHER
        try:
            status = os.lstat(path)
        except OSError:
            return Kind.MISSING
        return Kind.FILE if stat.S_ISREG(status.st_mode) else Kind.OTHER

    def identity(self, path: str) -> Identity:
        return Identity.of_status(os.stat(path))


def _names_in(folder: str) -> _Names:
    """The names in one local folder; none where there is none."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name: Kind.FILE if entry.is_file(follow_symlinks=False) else Kind.OTHER
                for entry in entries
            }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError:  # it is closed to this user, or the disk fails
        return _UNLISTABLE


def _root_of(folder: str) -> str:
    """The folder of a store that is listed to learn of this one: with all tables of an owner."""
    parts = folder.split("/")
    depth = next((i for i, part in enumerate(parts) if part in FOLDERS), len(parts))
    return "/".join(parts[: depth + 1])
