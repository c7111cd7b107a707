"""Local copies of the videos that a worker reads from a store.

A worker copies a video to scratch, holds it while its task runs, and meanwhile downloads the one
that it expects next, so that the GPU does not wait for the network. All workers of a machine share
the copies (`raypose.storage.scratch`). Files on a file system are used where they are.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from raypose.errors import Failure, RayposeError
from raypose.storage import as_path, local_path, scratch
from raypose.storage.identity import Identity


class Staging:
    """The copies that one worker holds and expects.

    Args:
        should_stop: whether the run was stopped; asked during downloads.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._held = ExitStack()
        self._copies: dict[str, str] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._expected: deque[str] = deque()
        self._requested: set[str] = set()
        self._closing = False

    @contextmanager
    def task(self) -> Iterator[None]:
        """Copies that are asked for in the block are released when it ends."""
        with ExitStack() as held:
            self._held = held
            try:
                yield
            finally:
                self._copies = {}

    def local(self, path: str, identity: Identity | None = None) -> str:
        """The path itself, or that of a local copy, which stays until the task ends.

        Args:
            path: the path or URL.
            identity: the identity that an object must have; None for any.

        Raises:
            StorageError: it can't be read, or there is no room for it.
            CancelledError: the run was stopped.
        """
        if local_path(path) is not None:
            return path
        if path not in self._copies:
            copy = scratch.current().copy_of(
                as_path(path), should_stop=self._should_stop, identity=identity
            )
            self._copies[path] = str(self._held.enter_context(copy))
            self._skip_to(path)
        return self._copies[path]

    def named(self, result: Any) -> Any:
        """A result; if it is a failure, with the URLs in place of their copies' names."""
        if isinstance(result, Failure):
            for url, copy in self._copies.items():
                message = result.message.replace(copy, url)
                path = result.path.replace(copy, url)
                result = replace(result, message=message, path=path)
        return result

    def expect(self, paths: Sequence[str]) -> None:
        """Announce the videos of coming tasks, in order; the first are downloaded meanwhile.

        As many at a time as the running task reads, one or the views of a recording. There may be
        no room for more, and then they would be downloaded twice.
        """
        for path in paths:
            known = path in self._expected or path in self._copies
            if not known and local_path(path) is None:
                self._expected.append(path)
        self._download_next()

    def _skip_to(self, path: str) -> None:
        """A task has reached this video: those expected before it are no longer needed."""
        if path in self._expected:
            skipped = ""
            while skipped != path:
                skipped = self._expected.popleft()
                self._requested.discard(skipped)
        self._download_next()

    def _download_next(self) -> None:
        for path in islice(self._expected, max(1, len(self._copies))):
            if path in self._requested or self._closing:
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="staging")
            self._requested.add(path)
            self._pool.submit(self._download, path)

    def _download(self, path: str) -> None:
        # What fails here fails again when a task needs it, and is reported then.
        with (
            contextlib.suppress(RayposeError),
            scratch.current().copy_of(as_path(path), should_stop=self._stopping, wait=False),
        ):
            return

    def _stopping(self) -> bool:
        return self._closing or self._should_stop()

    def close(self) -> None:
        """Download nothing more."""
        self._closing = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
