"""Whether a process can reach what a run reads and writes: checked before anything is computed.

A worker on another machine may not see the driver's disk, or lack the rights to a bucket. So the
driver leaves a marker file in every output directory; each worker looks for it and for the videos,
and tries to write to the stores.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raypose import storage
from raypose.errors import ClusterError, Failure, RayposeError, StorageError
from raypose.storage import as_path, local_path
from raypose.storage.layout import HIDDEN


@dataclass(frozen=True, slots=True)
class IoPaths:
    videos: tuple[str, ...]  # paths and URLs of the videos
    roots: tuple[str, ...]  # directories and URLs that contain all outputs
    marker: str  # name of the file that the driver leaves in the directories

    @property
    def in_stores(self) -> IoPaths | None:
        """Those that are objects; None where there are none."""
        videos = tuple(path for path in self.videos if local_path(path) is None)
        roots = tuple(path for path in self.roots if local_path(path) is None)
        return IoPaths(videos, roots, self.marker) if videos or roots else None


@contextmanager
def marker_files(paths: IoPaths) -> Iterator[None]:
    """Leave the marker in every output directory for as long as the block lasts.

    Raises:
        OSError: a directory can't be written.
    """
    folders = [folder for folder in map(local_path, paths.roots) if folder is not None]
    markers = [folder / HIDDEN / paths.marker for folder in folders]
    try:
        for marker in markers:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        yield
    finally:
        for marker in markers:
            with contextlib.suppress(OSError):
                marker.unlink(missing_ok=True)
                marker.parent.rmdir()  # unless it holds other files


def check_storage(paths: IoPaths) -> Failure | None:
    """Why this process can't do the tasks; None where it can."""
    host = socket.gethostname()
    buckets: dict[str, str] = {}
    try:
        for video in paths.videos:
            if local_path(video) is None:
                buckets[video.split("/")[2]] = video
            elif not os.path.exists(video):
                return _not_visible(video, host, "the video")
        for video in buckets.values():
            storage.read_head(as_path(video), 1)
        for root in paths.roots:
            if local_path(root) is None:
                marker = as_path(root) / HIDDEN / paths.marker
                storage.write_text(marker, "")
                with contextlib.suppress(StorageError):  # some may write but not remove
                    storage.store_of(marker).remove(marker)
            elif not Path(root, HIDDEN, paths.marker).exists():
                return _not_visible(root, host, "the output directory")
    except RayposeError as error:
        message = f"{error.message} (checked on {host})"
        return Failure("start", message, error.path, error.hint, type(error).__name__)
    return None


def _not_visible(path: str, host: str, what: str) -> Failure:
    return Failure(
        "start",
        f"{what} is only on this machine's disk: the worker on {host} does not see it",
        path,
        "Give paths that all nodes see, or URLs (s3://, gs://).",
        ClusterError.__name__,
    )
