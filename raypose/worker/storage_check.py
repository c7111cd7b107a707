"""Whether this process can get at what a run reads and writes: asked before anything is computed.

A worker on another machine may not see the driver's disk, or may lack the rights to a bucket.
Without being asked it would say so after an hour of predicting, or write its tables to a disk of
its own that nobody looks at. So the driver leaves a mark in every output directory, each worker
looks for it and for the videos, and tries to write where outputs go to a store.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raypose import storage
from raypose.errors import ClusterError, Failure, RayposeError
from raypose.specs import VideoSpec
from raypose.storage import as_path, is_url
from raypose.storage.layout import HIDDEN


class SupportsPlaces(Protocol):
    """A step, as far as it matters here."""

    @property
    def videos(self) -> tuple[VideoSpec, ...]:
        """The videos that it reads."""

    @property
    def root(self) -> str:
        """Directory of its outputs; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Places:
    """What the tasks of a run need.

    Attributes:
        videos: paths and URLs that are read.
        roots: directories and URLs that outputs go below.
        mark: name of the file that the driver leaves in the directories.
    """

    videos: tuple[str, ...]
    roots: tuple[str, ...]
    mark: str

    @property
    def in_stores(self) -> Places:
        """Those that are URLs."""
        videos = tuple(path for path in self.videos if is_url(path))
        return Places(videos, tuple(path for path in self.roots if is_url(path)), self.mark)


def places_of(steps: Iterable[SupportsPlaces]) -> Places:
    """What these steps read and write."""
    videos: dict[str, None] = {}
    roots: dict[str, None] = {}
    for step in steps:
        videos.update((video.path, None) for video in step.videos)
        if step.root:
            roots[step.root] = None
    return Places(tuple(videos), tuple(roots), f"seen-{secrets.token_hex(8)}")


@contextmanager
def marked(places: Places) -> Iterator[None]:
    """Leave the mark in every output directory, as long as the block lasts.

    Raises:
        OSError: a directory can't be written.
    """
    marks = [_mark(root, places.mark) for root in places.roots if not is_url(root)]
    try:
        for mark in marks:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        yield
    finally:
        for mark in marks:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)
                mark.parent.rmdir()  # unless other things are in it


def _mark(root: str, name: str) -> Path:
    return Path(root, HIDDEN, name)


def refusal(places: Places) -> Failure | None:
    """Why this process can't do the tasks; None where it can."""
    here = socket.gethostname()
    try:
        for video in places.videos:
            if not is_url(video) and not os.path.exists(video):
                return _unseen(video, here, "the video")
        for root in places.roots:
            if not is_url(root) and not _mark(root, places.mark).exists():
                return _unseen(root, here, "the output directory")
        for video in _one_of_each_bucket(places.videos):
            storage.check_readable(as_path(video))
        for root in places.roots:
            if is_url(root):
                storage.check_writable(as_path(root) / HIDDEN / places.mark)
    except RayposeError as error:
        message = f"{error.message} (asked from {here})"
        return Failure("start", message, error.path, error.hint, type(error).__name__)
    return None


def _one_of_each_bucket(videos: Iterable[str]) -> list[str]:
    return list({video.split("/")[2]: video for video in videos if is_url(video)}.values())


def _unseen(path: str, host: str, what: str) -> Failure:
    return Failure(
        "start",
        f"{what} is on this machine's disk alone: the worker on {host} does not see it",
        path,
        "Give paths that all nodes see, or URLs (s3://, gs://).",
        ClusterError.__name__,
    )
