"""The folder in which a Ray on this machine keeps its sockets and logs.

The path of a socket has room for 107 bytes, of which Ray's own names take nearly 70. The temporary
folder of a batch job is often too long for that.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ray._common.utils import get_default_ray_temp_dir

from raypose.errors import UsageError

CHOSEN = "RAY_TMPDIR"

_LONGEST_SOCKET = 107  # bytes
_LONGEST_NAME = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_SHORT = Path("/tmp")


def ray_folder() -> Path:
    """Where Ray puts its session: Ray's own choice, or a private folder if that is too long.

    Raises:
        UsageError: the user has chosen a folder that is too long.
    """
    usual = Path(os.path.abspath(get_default_ray_temp_dir()))
    excess = len(os.fsencode(usual)) + len(_LONGEST_NAME) - _LONGEST_SOCKET
    if excess <= 0:
        return usual
    if chosen := os.environ.get(CHOSEN):
        raise UsageError(
            f"the path of {CHOSEN} is too long by {excess} bytes for Ray's sockets",
            path=chosen,
            hint=f"Set {CHOSEN} to a shorter path, or unset it.",
        )
    # Ray opens its folder to all users; the one around it stays private.
    return private_folder(_SHORT / f"raypose-{os.getuid()}") / "ray"


def private_folder(path: Path) -> Path:
    """This folder, which only its owner can enter; a new one beside it if that is someone else."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
        if found.st_mode & 0o077:
            path.chmod(0o700)
    return path
