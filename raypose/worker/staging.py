"""Videos from a store, on local disk while a task needs them.

A worker copies a video to scratch, holds it as long as its task runs, and meanwhile brings the
one it expects next, so that the GPU does not wait for the network. What is copied once serves all
workers of a machine (`raypose.storage.scratch`). Paths on a file system are used where they are.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from raypose.errors import Failure, RayposeError
from raypose.storage import as_path, is_url, scratch
from raypose.storage.digests import Identity


class Staging:
    """The copies that one worker holds and expects.

    Args:
        should_stop: whether the run was stopped; asked while an object comes.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._held = ExitStack()
        self._local: dict[str, str] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._expected: deque[str] = deque()
        self._brought: set[str] = set()
        self._closing = False

    @contextmanager
    def task(self) -> Iterator[None]:
        """What is asked for in this block is let go when it ends."""
        with ExitStack() as held:
            self._held = held
            try:
                yield
            finally:
                self._local = {}

    def local(self, path: str, identity: Identity | None = None) -> str:
        """The path itself, or that of a local copy, there until the task ends.

        Args:
            path: the path or URL.
            identity: what an object must be; None for whatever it is.

        Raises:
            StorageError: it can't be read, or there is no room for it.
            CancelledError: the run was stopped.
        """
        if not is_url(path):
            return path
        if path not in self._local:
            url = as_path(path)
            assert not isinstance(url, Path)
            copy = scratch.current().copy_of(url, should_stop=self._should_stop, identity=identity)
            self._local[path] = str(self._held.enter_context(copy))
            self._reached(path)
        return self._local[path]

    def named(self, result: Any) -> Any:
        """A result; where it is a failure, with URLs for the names of copies."""
        if isinstance(result, Failure):
            for url, copy in self._local.items():
                message = result.message.replace(copy, url)
                path = result.path.replace(copy, url)
                result = replace(result, message=message, path=path)
        return result

    def expect(self, paths: Sequence[str]) -> None:
        """Say what tasks will come, in order: the first is brought while the worker is busy.

        As many at a time as the task has that runs, one or the views of a recording: those after
        them may not fit beside them, and then be brought twice.
        """
        for path in paths:
            if is_url(path) and path not in self._expected and path not in self._local:
                self._expected.append(path)
        self._bring_next()

    def _reached(self, path: str) -> None:
        """A task has come to this one; what was expected before it will not come."""
        if path in self._expected:
            passed = ""
            while passed != path:
                passed = self._expected.popleft()
                self._brought.discard(passed)
        self._bring_next()

    def _bring_next(self) -> None:
        for path in islice(self._expected, max(1, len(self._local))):
            if path in self._brought or self._closing:
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="staging")
            self._brought.add(path)
            self._pool.submit(self._bring, path)

    def _bring(self, path: str) -> None:
        url = as_path(path)
        assert not isinstance(url, Path)
        # What fails here fails again, and then by name, when a task needs it.
        with (
            contextlib.suppress(RayposeError),
            scratch.current().copy_of(url, should_stop=self._stopping, wait=False),
        ):
            return

    def _stopping(self) -> bool:
        return self._closing or self._should_stop()

    def close(self) -> None:
        """Bring nothing more."""
        self._closing = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
