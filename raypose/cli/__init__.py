"""The command line: parse, call, print, exit code; nothing else.

Heavy imports live inside the commands, so that `--help` answers at once. Each module adds its
commands to the app when it is imported, in the order in which `--help` shows them.
"""

from __future__ import annotations

import io
import sys

from raypose.cli.base import app

# isort: off
from raypose.cli import run  # noqa: F401
from raypose.cli import pose_app  # noqa: F401
from raypose.cli import report  # noqa: F401
from raypose.cli import cluster  # noqa: F401
from raypose.cli import demo  # noqa: F401
# isort: on

__all__ = ["app", "main"]


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A name that is no text, or a terminal of few characters, must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
