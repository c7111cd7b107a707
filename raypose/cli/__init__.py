"""The command line: parse, call, print, exit code; nothing else.

Heavy imports live inside the commands. A module adds its commands to the app when it is imported,
which `base.COMMANDS` says when to do.
"""

from __future__ import annotations

import io
import sys

from raypose.cli.base import app

__all__ = ["app", "main"]


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A name that is no text, or a terminal of few characters, must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="raypose")
