"""Reading local files only if they are regular files.

A named pipe in place of a file makes a program wait for ever, and a device may never end. So
what raypose reads is opened here, or checked here before a library opens it. Links are followed.
Videos have rules of their own.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from raypose.errors import IrregularFileError

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
_KINDS |= {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def is_file(path: Path) -> bool:
    """Whether this is a regular file; False where that can't be found out."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False


def check(path: Path) -> os.stat_result:
    """The status of a regular file.

    Raises:
        IrregularFileError: a pipe, a socket or a device.
        OSError: a directory, or there is no such file.
    """
    try:
        status = os.stat(path)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "its name is not valid", os.fspath(path)) from error
    check_mode(status.st_mode, path)
    return status


def open_file(path: Path) -> IO[bytes]:
    """A regular file, opened for reading; never waits. Raises as `check` does."""
    check(path)  # first, since opening a device may already do something
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        check_mode(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def read_file(path: Path, max_bytes: int | None = None) -> bytes:
    """The content of a regular file; an `OSError` (EFBIG) where it is larger than `max_bytes`."""
    with open_file(path) as file:
        content = file.read() if max_bytes is None else file.read(max_bytes + 1)
    if max_bytes is not None and len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", os.fspath(path))
    return content


def check_mode(mode: int, path: Path | str) -> None:
    """Raises as `check` does unless a file of this mode is a regular one."""
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a directory, not a file", os.fspath(path))
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise IrregularFileError(errno.ENOTSUP, f"{kind}, not a file", os.fspath(path))
