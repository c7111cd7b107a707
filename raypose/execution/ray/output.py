"""What Ray prints goes to a file, so that a terminal shows raypose's sentences alone.

Ray's native code writes to the standard error of the driver whatever its settings, hundreds of
lines where a worker hangs; and a thread of it prints the log of a node that has died.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

_STDERR = 2


class RayOutput:
    """Takes over the standard error of this process from `redirect` to `restore`.

    Args:
        path: file that the lines are appended to; None drops them.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stderr: int | None = None
        self._print: Callable[..., None] | None = None

    def redirect(self) -> None:
        """From now on; without a standard error there is nothing to do."""
        place = os.devnull if self._path is None else self._path
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                self._stderr = os.dup(_STDERR)
                os.dup2(target, _STDERR)
            finally:
                os.close(target)
        worker = ray._private.worker
        self._print, worker.print_to_stdstream = worker.print_to_stdstream, _print_to_stderr

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The standard error is as it was, inside the block."""
        if self._stderr is None:
            yield
            return
        target = os.dup(_STDERR)
        os.dup2(self._stderr, _STDERR)
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(target, _STDERR)
            os.close(target)

    def restore(self) -> None:
        """Give the standard error back; may be called at any time, and more than once."""
        if self._print is not None:
            ray._private.worker.print_to_stdstream = self._print
            self._print = None
        if self._stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(self._stderr, _STDERR)
            os.close(self._stderr)
            self._stderr = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                if self._path.stat().st_size == 0:
                    self._path.unlink()


def _print_to_stderr(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    text = "".join(f"{line}\n" for line in data["lines"])
    with contextlib.suppress(OSError):
        os.write(_STDERR, text.encode(errors="backslashreplace"))
