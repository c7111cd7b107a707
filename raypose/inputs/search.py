"""Finds files below directories and by globs, each once; no file is opened.

Links to directories are followed; a directory is searched once, whatever its names, so that
circular links end. Hidden files and directories are skipped.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path

from raypose.errors import VideoError

# `day3` and `2026.11.01` may be directories, `notes.txt` hardly is one.
_FILE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")


class Search:
    """A search for files that are `wanted` by their names; links and directories that can't be
    followed or searched are collected in `broken`."""

    def __init__(self, wanted: Callable[[str], bool], *, recursive: bool) -> None:
        self.broken: list[VideoError] = []
        self._wanted = wanted
        self._recursive = recursive
        self._contents: dict[Path, tuple[list[Path], list[Path], list[Path]]] = {}

    def below(self, root: Path) -> list[Path]:
        """The wanted files in a directory, and below it if the search is recursive, in order."""
        folders = self._tree(root) if self._recursive else [root]
        return sorted(path for folder in folders for path in self._files(folder))

    def matching(self, pattern: str) -> list[Path]:
        """The wanted files that match an absolute glob, in order.

        A directory that matches stands for the files in it.
        """
        parts = Path(pattern).parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        places = [Path(*parts[:fixed])]
        for i, part in enumerate(parts[fixed:], fixed + 1):
            if part == "**":
                places = [p for place in places if os.path.isdir(place) for p in self._tree(place)]
            elif glob.has_magic(part):
                places = [child for place in places for child in self._children(place, part)]
            else:
                places = [place / part for place in places if os.path.lexists(place / part)]
            if i < len(parts):
                # Only a directory has anything below it.
                places = [place for place in places if os.path.isdir(place)]
        found: set[Path] = set()
        for place in dict.fromkeys(places):
            if os.path.isdir(place):
                # `**` has found all directories below: only their own files are missing.
                found.update(self._files(place) if parts[-1] == "**" else self.below(place))
            elif not self.is_broken_link(place) and self._wanted(place.name):
                found.add(place)
        return sorted(found)

    def is_broken_link(self, path: Path) -> bool:
        """Whether this is a broken link; if it may be a video, that becomes an error."""
        if not os.path.islink(path) or os.path.exists(path):
            return False
        target = os.readlink(path)
        may_be_folder = self._recursive and not _FILE_SUFFIX.search(path.name)
        if self._wanted(path.name) or self._wanted(os.path.basename(target)) or may_be_folder:
            hint = "Restore its target, or remove the link."
            error = VideoError(f"is a broken link (to {target})", path=path, hint=hint)
            if all(known.path != error.path for known in self.broken):
                self.broken.append(error)
        return True

    def _children(self, folder: Path, pattern: str) -> list[Path]:
        children = [path for paths in self._content(folder) for path in paths]
        seen = [path for path in children if _is_visible(path) or pattern.startswith(".")]
        return [path for path in seen if fnmatch.fnmatchcase(path.name, pattern)]

    def _files(self, folder: Path) -> list[Path]:
        files, _, others = self._content(folder)
        for path in filter(_is_visible, others):
            self.is_broken_link(path)
        return [path for path in files if _is_visible(path) and self._wanted(path.name)]

    def _tree(self, root: Path) -> list[Path]:
        """A directory and all below it, each once: real ones before targets of links."""
        real, links = [root], deque[Path]()
        seen: set[tuple[int, int]] = set()
        found = []
        while real or links:
            folder = real.pop() if real else links.popleft()
            try:
                status = os.stat(folder)
            except OSError as error:
                self._note(folder, error)
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            found.append(folder)
            for child in filter(_is_visible, self._content(folder)[1]):
                (links if os.path.islink(child) else real).append(child)
        return found

    def _content(self, folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
        """Files, directories, and broken links, in order of their names."""
        if folder not in self._contents:
            kinds: dict[str, list[Path]] = {"file": [], "folder": [], "broken": []}
            try:
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        kinds[_kind(entry)].append(folder / entry.name)
            except OSError as error:
                self._note(folder, error)
            self._contents[folder] = kinds["file"], kinds["folder"], kinds["broken"]
        return self._contents[folder]

    def _note(self, folder: Path, error: OSError) -> None:
        message = f"this directory can't be searched ({error.strerror})"
        hint = "Ask its owner for read permission, or leave it out."
        self.broken.append(VideoError(message, path=folder, hint=hint))


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _kind(entry: os.DirEntry[str]) -> str:
    if not entry.is_symlink():
        return "folder" if entry.is_dir(follow_symlinks=False) else "file"
    try:
        return "folder" if stat.S_ISDIR(entry.stat().st_mode) else "file"
    except OSError:
        # No target, a circle, or a directory that may not be entered.
        return "broken"
