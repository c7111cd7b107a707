"""Builds `preload.c`, where there is a C compiler, and says how to load it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("preload.c")


def build(folder: Path) -> bool:
    """Compile the library into a folder; False where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", _library(folder), _SOURCE, "-ldl"]
    return subprocess.run(command, capture_output=True).returncode == 0


def preloaded(folder: Path, **values: str) -> dict[str, str]:
    """The environment of a process that loads the library built in the folder."""
    return {"LD_PRELOAD": str(_library(folder)), **values}


def _library(folder: Path) -> Path:
    return folder / "preload.so"
