"""Checks before a job starts that its node can run it; standard library only.

`raypose.cluster.submit` sends the text of this file, and whatever `python` the cluster has runs it
there, so it must be valid Python 3.6.
Arguments: the oldest Python that works, the oldest that is too new, and the version of raypose
that the image must have (empty where the job brings its code).
"""

import sys
from importlib.util import find_spec

NEEDED = (
    "av", "cv2", "eks", "lightning_pose", "pandas", "pyarrow", "pydantic", "pynvml", "torch",
    "typer",
)  # fmt: skip


def problem(oldest: str, too_new: str, version: str) -> str:
    """The problem as a sentence; empty if there is none."""
    here = sys.version_info[:2]
    if not _numbers(oldest) <= here < _numbers(too_new):
        running = ".".join(map(str, here))
        needed = f"{oldest} or newer and older than {too_new}"
        return f"the cluster runs Python {running}, raypose needs {needed}"
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return f"the cluster's Python lacks {', '.join(missing)}"
    if version:
        if find_spec("raypose") is None:
            return "the cluster has no raypose"
        from raypose import __version__

        if __version__ != version:
            return (
                f"the cluster has raypose {__version__}, but the job was submitted with {version}"
            )
    return ""


def _numbers(text: str) -> "tuple":  # type: ignore[type-arg]
    return tuple(int(number) for number in text.split("."))


if __name__ == "__main__":
    found = problem(*sys.argv[1:])
    if found:
        sys.exit(f"error: {found}. Use the image of cluster/Dockerfile of this version.")
