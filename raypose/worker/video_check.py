"""The videos that a task reads: local copies of objects, and the check that none has changed.

A worker copies a video of a store to scratch, holds it while its task runs, and meanwhile
downloads the one that it expects next, so that the GPU does not wait for the network. All workers
of a machine share the copies (`storage.scratch`). Other files are used where they are.

Hours can pass between the plan and the task that opens a file. So its identity is compared with
the plan's when it is opened, and with that of the opened file before anything is committed; a file
that changed fails the task with a message that says so, also where the decoder notices first. Size
and a sample of the content decide whether a file is the planned one: copying it again or touching
it changes nothing. From then on another time of change or inode, which some network file systems
invent, is accepted only where all bytes are the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from raypose.errors import Failure, RayposeError, VideoError
from raypose.specs import VideoSpec
from raypose.storage import as_path, identity_of, local_path, map_store_errors, scratch
from raypose.storage.digests import RUN_AGAIN, content_digest, digest_of_open, known_content
from raypose.storage.identity import Identity
from raypose.storage.origins import Origin, VideoRead


class Staging:
    """The copies that one worker holds and expects; `should_stop` is asked during downloads."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._held = ExitStack()
        self._copies: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(1, "staging")
        self._expected: dict[str, bool] = {}  # in order; whether the download is requested
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

        Raises:
            StorageError: it can't be read, has another identity than this, or there is no room.
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
                message, path = (text.replace(copy, url) for text in (result.message, result.path))
                result = replace(result, message=message, path=path)
        return result

    def expect(self, paths: Sequence[str]) -> None:
        """Announce the videos of coming tasks, in order; the first are downloaded meanwhile.

        As many at a time as the running task reads, one or the views of a recording. There may be
        no room for more, and then they would be downloaded twice.
        """
        for path in paths:
            if path not in self._copies and local_path(path) is None:
                self._expected.setdefault(path, False)
        self._download_next()

    def _skip_to(self, path: str) -> None:
        """A task has reached this video: those expected before it are no longer needed."""
        for skipped in list(self._expected) if path in self._expected else ():
            del self._expected[skipped]
            if skipped == path:
                break
        self._download_next()

    def _download_next(self) -> None:
        for path in islice(self._expected, max(1, len(self._copies))):
            if not self._expected[path] and not self._closing:
                self._expected[path] = True
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
        self._pool.shutdown(cancel_futures=True)


@dataclass(slots=True)
class _Opened:
    video: VideoSpec  # as planned
    path: Path  # of the file, or of the local copy of an object
    identity: Identity  # when it was opened
    # The open file, whatever replaces it under its name; None for a copy, which no one changes.
    file: IO[bytes] | None
    content: str = ""  # digest of all its bytes, where it is known
    hashing: Future[str] | None = None  # the digest that a thread computes


class VideoCheck:
    """The videos of one task at a time; `should_stop` is asked while a digest is computed."""

    def __init__(self, staging: Staging, should_stop: Callable[[], bool]) -> None:
        self._staging = staging
        self._should_stop = should_stop
        self._opened: dict[str, _Opened] = {}
        self._pool = ThreadPoolExecutor(1, "digest")
        self._ended = False

    @contextmanager
    def task(self) -> Iterator[None]:
        """Videos that are opened in the block are closed when it ends."""
        self._ended = False
        try:
            yield
        finally:
            self._ended = True
            self._pool.shutdown(cancel_futures=True)
            self._pool = ThreadPoolExecutor(1, "digest")
            for opened in self._opened.values():
                if opened.file is not None:
                    opened.file.close()
            self._opened = {}

    def open(self, video: VideoSpec) -> tuple[Path, Identity]:
        """The local file of a video, and its identity.

        Raises:
            VideoError: it is not what the plan saw, or is gone.
            StorageError: it can't be downloaded.
            CancelledError: the run was stopped.
        """
        opened = self._opened.get(video.path)
        if opened is None:
            local = local_path(video.path)
            opened = self._open_object(video) if local is None else _open_file(video, local)
            self._opened[video.path] = opened
        return opened.path, opened.identity

    def _open_object(self, video: VideoSpec) -> _Opened:
        with map_store_errors(video.path):
            now = identity_of(as_path(video.path))
        if video.identity is not None and now != video.identity:
            raise _changed(video, "after the run was planned")
        copy = Path(self._staging.local(video.path, now))
        content = video.content or known_content(video.path, now)
        return _Opened(video, copy, now, None, content)

    def hash_along(self, video: VideoSpec) -> None:
        """Start to compute the digest of a video's content, while it is read for other things."""
        self.open(video)
        opened = self._opened[video.path]
        if opened.content or opened.hashing is not None:
            return
        opened.hashing = self._pool.submit(self._digest, opened)

    def _digest(self, opened: _Opened) -> str:
        path = as_path(opened.video.path)
        copy = opened.path if opened.file is None else None
        return content_digest(path, opened.identity, copy=copy, should_stop=self._stopping)

    def _stopping(self) -> bool:
        return self._ended or self._should_stop()

    def seen(
        self, videos: Sequence[VideoSpec], *, behind: Origin | None = None, whole: bool = True
    ) -> tuple[VideoRead, ...]:
        """What was read of these videos, which the task has opened; called just before the commit.

        The other videos of `behind`, the origin of the table that is drawn or cut, are named too.
        Digests of all bytes are computed if `whole`, and for a video that is not exactly the one
        that the plan saw.

        Raises:
            VideoError: one has changed since it was opened, or is gone.
        """
        known = {read.fingerprint: read for read in (behind.videos if behind is not None else ())}
        for video in videos:
            opened = self._opened[video.path]
            self._check(opened)
            read = known.get(video.fingerprint)
            if read is not None and read.identity == opened.identity:
                opened.content = opened.content or read.content
            if opened.hashing is not None:
                opened.content = opened.hashing.result() or opened.content
            elif not opened.content and (whole or opened.identity != video.identity):
                opened.content = self._digest(opened)
            self._check(opened)
            if read is not None and read.content and opened.content != read.content:
                raise _changed(video, "after its keypoints were predicted")
            now = VideoRead(video.fingerprint, opened.identity, opened.content)
            known[video.fingerprint] = replace(now, n_bad=read.n_bad if read is not None else 0)
        return tuple(known.values())

    def explained(self, error: Exception) -> Exception:
        """The error, or the `VideoError` behind it where a video has changed meanwhile."""
        for opened in self._opened.values():
            try:
                self._check(opened)
            except VideoError as changed:
                return changed
            except (OSError, RayposeError):
                continue
        return error

    def _check(self, opened: _Opened) -> None:
        """Check that the name still leads to what was opened."""
        if opened.file is None:
            return  # the copy belongs to this run
        video, path = opened.video, opened.path
        try:
            now = identity_of(path)
        except FileNotFoundError:
            raise _gone(video) from None
        if now == opened.identity:
            return
        if now.looks_like(opened.identity):
            before = opened.content or known_content(video.path, opened.identity)
            # Even if another file has replaced it, the one that was opened can still be read.
            before = before or digest_of_open(opened.file, opened.identity)
            if before and content_digest(path, now) == before:
                opened.content = before
                return
        raise _changed(video, "while it was read")


def _open_file(video: VideoSpec, path: Path) -> _Opened:
    from raypose.video.container import check_file
    from raypose.video.index import fingerprint_video

    planned = video.identity
    if planned is not None and not path.exists():
        raise _gone(video)
    check_file(video.path)
    identity = identity_of(path)
    if planned is not None and identity != planned:
        same_size = identity.size == planned.size
        if not same_size or fingerprint_video(path) != video.fingerprint:
            raise _changed(video, "after the run was planned")
    file = path.open("rb", buffering=0)
    if Identity.of_status(os.fstat(file.fileno())) != identity:
        file.close()
        raise _changed(video, "while it was read")
    content = video.content if identity == planned else ""
    return _Opened(video, path, identity, file, content or known_content(video.path, identity))


def _changed(video: VideoSpec, when: str) -> VideoError:
    return VideoError(f"the video changed {when}", path=video.path, hint=RUN_AGAIN)


def _gone(video: VideoSpec) -> VideoError:
    message = "the video is gone: it was there when the run was planned"
    hint = "Put it back, and run the same command again."
    return VideoError(message, path=video.path, hint=hint)
