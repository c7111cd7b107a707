"""What the shell completes values to: choices, trained models, videos.

Each function takes the word as far as it is typed. Where it finds nothing, the shell completes
file names by its own rules. A key press waits for it, so it looks at few directories and opens no
file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence

_MOST_ENTRIES = 2000
_DEPTH = 4  # of model directories below the one that is typed: models/NAME/DATE/TIME
_PLAIN = re.compile(r"[\w./~+,@%^=-]+")


def choices(words: Sequence[str]) -> Callable[[str], list[str]]:
    def begun(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return begun


def models(incomplete: str) -> list[str]:
    """Directories of trained models, below the typed one too."""
    budget = iter(range(_MOST_ENTRIES))
    found = _plain(_models_below(*_split(incomplete), _DEPTH, budget))
    return [] if next(budget, None) is None else found  # not all of them were seen


def videos(incomplete: str) -> list[str]:
    """Videos, and directories; of a single directory also what is in it, so that the shell adds no
    space after it."""
    from raypose.inputs.suffixes import VIDEO_SUFFIXES

    def listed(typed: str, start: str) -> list[str]:
        return [
            f"{typed}{entry.name}/" if _is_dir(entry) else f"{typed}{entry.name}"
            for entry in _entries(typed, start)
            if _is_dir(entry) or entry.name.lower().endswith(VIDEO_SUFFIXES)
        ]

    found = listed(*_split(incomplete))
    if len(found) == 1 and found[0].endswith("/"):
        found += listed(found[0], "")
    return _plain(found)


def _models_below(typed: str, start: str, depth: int, budget: Iterator[int]) -> Iterator[str]:
    for entry in _entries(typed, start):
        if next(budget, None) is None:
            return
        if not _is_dir(entry):
            continue
        path = f"{typed}{entry.name}"
        if _is_model(path):
            yield path
        elif depth > 1:
            yield from _models_below(f"{path}/", "", depth - 1, budget)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """False where that can't be found out, as of a link to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_model(path: str) -> bool:
    folder = os.path.expanduser(path)
    configs = (os.path.join(folder, *place) for place in (("config.yaml",), (".hydra",)))
    return any(map(os.path.exists, configs)) and os.path.isdir(os.path.join(folder, "tb_logs"))


def _entries(typed: str, start: str) -> list[os.DirEntry[str]]:
    """What is in a directory and begins like this, hidden files only if they are asked for."""
    try:
        with os.scandir(os.path.expanduser(typed) or ".") as entries:
            found = [entry for entry in entries if entry.name.startswith(start)]
    except OSError:
        return []
    seen = [entry for entry in found if start or not entry.name.startswith(".")]
    return sorted(seen, key=lambda entry: entry.name)


def _split(incomplete: str) -> tuple[str, str]:
    """The directory as it is typed, and the beginning of a name in it."""
    directory, slash, start = incomplete.rpartition("/")
    return directory + slash, start


def _plain(found: Iterator[str] | list[str]) -> list[str]:
    """All of them, or none if a name would have to be quoted, which the shell itself can do."""
    words = list(found)
    return words if all(map(_PLAIN.fullmatch, words)) else []
