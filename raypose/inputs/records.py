"""Which files raypose has made: those with a record beside them (see `raypose.storage.ledger`).

Asked before a search's files become inputs, and when outputs are named. Only names are looked at:
one listing per folder, or the listing that the caller has already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from raypose import storage
from raypose.storage import AnyPath
from raypose.storage.layout import HIDDEN

_SUFFIX = ".json"


class Records:
    """Tells raypose's own files from others; each folder is listed once."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def __contains__(self, path: AnyPath) -> bool:
        folder = str(path.parent)
        if folder not in self._names:
            self._names[folder] = frozenset(_recorded(path.parent))
        return path.name in self._names[folder]

    def add_listing(self, paths: Iterable[AnyPath]) -> None:
        """Learn from a listing at all depths, which spares a listing of each of its folders."""
        names: dict[str, set[str]] = {}
        for path in map(str, paths):
            folder, _, name = path.rpartition("/")
            above, _, last = folder.rpartition("/")
            if last == HIDDEN:
                if name.endswith(_SUFFIX):
                    names.setdefault(above, set()).add(name.removesuffix(_SUFFIX))
            else:
                names.setdefault(folder, set())
        self._names |= {folder: frozenset(found) for folder, found in names.items()}


def _recorded(folder: AnyPath) -> list[str]:
    """Names of the files in a folder that have a record."""
    hidden = folder / HIDDEN
    if isinstance(hidden, Path):
        try:
            names = os.listdir(hidden)
        except OSError:
            return []  # not there
    else:
        names = [path.name for path in storage.list_files(hidden)]
    return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]


def recorded_below(folder: AnyPath) -> set[str]:
    """Paths below a folder, relative to it, of all files that have a record."""
    if isinstance(folder, Path):
        return {
            os.path.relpath(os.path.join(place, name.removesuffix(_SUFFIX)), folder)
            for place, names in _hidden_folders(folder)
            for name in names
            if name.endswith(_SUFFIX)
        }
    found = set()
    for path in storage.list_files(folder, recursive=True):
        below = str(path)[len(str(folder)) + 1 :].split("/")
        if len(below) > 1 and below[-2] == HIDDEN and below[-1].endswith(_SUFFIX):
            found.add("/".join((*below[:-2], below[-1].removesuffix(_SUFFIX))))
    return found


def _hidden_folders(folder: Path) -> Iterable[tuple[str, list[str]]]:
    """Each folder with records, and the names in its hidden folder."""
    for place, folders, _ in os.walk(folder):
        if HIDDEN in folders:
            folders.remove(HIDDEN)
            try:
                names = os.listdir(os.path.join(place, HIDDEN))
            except OSError:
                continue
            yield place, names
