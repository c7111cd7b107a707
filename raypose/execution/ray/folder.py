"""The folder in which a Ray on this machine keeps its sockets and logs.

Ray opens its folder to every user of the machine, so that they could read the logs and take the
sockets away. The one around it is private. The path of a socket has room for 107 bytes, of which
Ray's own names take nearly 70: the temporary folder of a batch job is often too long for that.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from raypose.errors import UsageError
from raypose.storage.private import make_private

CHOSEN = "RAY_TMPDIR"

_LONGEST_SOCKET = 107  # bytes
_LONGEST_NAME = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_SHORT = Path("/tmp")


def ray_folder() -> Path:
    """Where Ray puts its session: the user's choice, or a folder in a private one, which is made.

    Raises:
        UsageError: the user has chosen a folder that is too long.
    """
    if chosen := os.environ.get(CHOSEN):
        folder = Path(os.path.abspath(chosen), "ray")
        if (excess := _excess_bytes(folder)) > 0:
            raise UsageError(
                f"the path of {CHOSEN} is too long by {excess} bytes for Ray's sockets",
                path=chosen,
                hint=f"Set {CHOSEN} to a shorter path, or unset it.",
            )
        return folder
    name = f"raypose-ray-{os.getuid()}"
    usual = Path(tempfile.gettempdir(), name)
    return _private(usual if _excess_bytes(usual / "ray") <= 0 else _SHORT / name) / "ray"


def _excess_bytes(folder: Path) -> int:
    return len(os.fsencode(folder)) + len(_LONGEST_NAME) - _LONGEST_SOCKET


def _private(path: Path) -> Path:
    """This folder, which only its owner can enter; a new one beside it if that is someone else."""
    try:
        make_private(path)
    except PermissionError:
        return Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
    return path
