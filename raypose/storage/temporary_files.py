"""Temporary files: names that say whose they are, and removal of those whose process is gone."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from raypose.storage.layout import HIDDEN
from raypose.storage.paths import AnyPath
from raypose.storage.processes import has_ended, this_machine

_TEMPORARY = re.compile(r"\.tmp-(?P<host>[A-Za-z0-9_]+)-(?P<pid>\d+)-\d+(\.[^.]+)?$")
_STALE_S = 24 * 3600.0
_counter = itertools.count(1)


def temporary_name(stem: str, suffix: str = "") -> str:
    """A name for a temporary file that no other has: `<stem>.tmp-<host>-<pid>-<n><suffix>`."""
    return f"{shortened(stem)}.tmp-{_host()}-{os.getpid()}-{next(_counter)}{suffix}"


def shortened(name: str, n_bytes: int = 40) -> str:
    """The beginning of a name, which leaves room for more: names have a greatest length."""
    encoded = os.fsencode(name)
    if len(encoded) <= n_bytes:
        return name
    # No character is cut in half: some libraries accept only UTF-8.
    return encoded[:n_bytes].decode(errors="ignore")


def touch(temporary: Path) -> None:
    """Make an empty temporary file, so that no other run removes its folder as empty."""
    for attempt in range(4):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch()
            return
        except FileNotFoundError:  # another run has just removed the empty folder
            if attempt == 3:
                raise


def remove_leftovers(folders: Iterable[AnyPath]) -> None:
    """Remove temporary files from the hidden folders of output folders: those of processes of
    this host that are gone, and those that have not been touched for a day."""
    for folder in folders:
        if not isinstance(folder, Path):
            continue  # temporary files of objects are in scratch
        hidden = folder / HIDDEN
        for path in (*hidden.glob("*.tmp-*"), *(hidden / "tmp").glob("*.tmp-*")):
            with contextlib.suppress(OSError):  # another user's, or gone meanwhile
                if _is_left_over(path):
                    path.unlink()
        remove_if_empty(hidden / "tmp")


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless it is missing or in use."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _is_left_over(path: Path) -> bool:
    match = _TEMPORARY.search(path.name)
    if match is None:
        return False
    if time.time() - path.stat().st_mtime > _STALE_S:
        return True
    return match["host"] == _host() and has_ended(int(match["pid"]))


@functools.cache
def _host() -> str:
    """This machine, as a part of a name."""
    name = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
    return f"{name}_{hashlib.sha256(this_machine().encode()).hexdigest()[:8]}"
