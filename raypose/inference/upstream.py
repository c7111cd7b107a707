"""Which Lightning Pose builds networks: its code, and that it is the installed one.

A version says little about a clone under development, so artifacts are cached by the code itself.
A script or notebook beside a clone imports the clone, while our own processes import the installed
package; it must not build what they will use.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

from raypose.errors import ModelError
from raypose.import_path import installed_folder
from raypose.storage.digests import digest_of_blocks

_PACKAGE = "lightning_pose"


@functools.cache
def installed_code() -> str:
    """A digest of the code of the installed Lightning Pose; empty if there is none."""
    folder = installed_folder(_PACKAGE)
    if folder is None:
        return ""
    files = ((path, path.read_bytes()) for path in sorted(Path(folder).rglob("*.py")))
    return digest_of_blocks(
        f"{path.relative_to(folder)}\\0{len(content)}\\0".encode() + content
        for path, content in files
    )


def check_imported() -> None:
    """Check that this process imports the installed Lightning Pose, if it finds any.

    Raises:
        ModelError: it imports another one.
    """
    found = find_spec(_PACKAGE)
    here = next(iter(found.submodule_search_locations or ()), None) if found else None
    installed = installed_folder(_PACKAGE)
    if here is None or (installed and Path(here).resolve() == Path(installed).resolve()):
        return
    raise ModelError(
        "this process imports Lightning Pose from here, and not the installed one"
        + (f" ({installed})" if installed else ""),
        path=here,
        hint="Start it in another directory; or install this one with pip install -e.",
    )
