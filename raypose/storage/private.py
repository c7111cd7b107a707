"""Directories that only this user can enter, in places where others may write too."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a directory that only this user can enter; its name is known to everyone.

    Raises:
        PermissionError: it is another user's, or a link, which another user may have made.
        OSError: it can't be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(0, "it is not a directory of this user")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def belongs_to_someone_else(folder: Path) -> bool:
    """Whether something lies there that this user did not make, or a link."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid()
