"""Checks that the videos of a task are, and stay, what the plan saw.

Hours can pass between the plan and the task that opens a file. Tasks open their videos here: the
identity of a file is compared with the plan's when it is opened, and with that of the opened file
before anything is committed. A file that changed fails the task with a message that says so, also
where the decoder notices the change first. The result is a `VideoRead` for the record: the
identity of the file that was read and, if wanted, a digest of all its bytes, which a thread
computes while frames are decoded.

Size and a sample of the content decide whether a file is the planned one: copying it again or
touching it changes nothing. From then on the opened file counts: another time of change or inode,
which some network file systems invent, is accepted only where all bytes are the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from raypose.errors import RayposeError, VideoError
from raypose.specs import VideoSpec
from raypose.storage import as_path, identity_of, local_path, map_store_errors
from raypose.storage.digests import RUN_AGAIN, content_digest, digest_of_open, known_content
from raypose.storage.identity import Identity
from raypose.storage.origins import Origin, VideoRead
from raypose.worker.staging import Staging


@dataclass(slots=True)
class _Opened:
    """A video that the task reads.

    Attributes:
        video: as planned.
        path: of the file, or of the local copy of an object.
        identity: when it was opened.
        file: the open file, whatever replaces it under its name; None for a copy, which no one
            else changes.
        content: digest of all its bytes, where it is known.
        hashing: the digest that a thread computes.
    """

    video: VideoSpec
    path: Path
    identity: Identity
    file: IO[bytes] | None
    content: str = ""
    hashing: Future[str] | None = None


class VideoCheck:
    """The videos of one task at a time.

    Args:
        staging: where local copies of objects come from.
        should_stop: whether the run was stopped; asked while a digest is computed.
    """

    def __init__(self, staging: Staging, should_stop: Callable[[], bool]) -> None:
        self._staging = staging
        self._should_stop = should_stop
        self._opened: dict[str, _Opened] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ended = False

    @contextlib.contextmanager
    def task(self) -> Iterator[None]:
        """Videos that are opened in the block are closed when it ends."""
        self._ended = False
        try:
            yield
        finally:
            self._ended = True
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
                self._pool = None
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
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="digest")
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
        """What was read of these videos, for a record; called just before the commit.

        Args:
            videos: those that the task has opened.
            behind: the origin of the table that is drawn or cut; its other videos are named too.
            whole: whether digests of all bytes are wanted. A video that is not exactly the one
                that the plan saw has one in any case.

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
    return VideoError(
        "the video is gone: it was there when the run was planned",
        path=video.path,
        hint="Put it back, and run the same command again.",
    )
