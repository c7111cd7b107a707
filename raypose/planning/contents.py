"""Whether outputs belong to the videos as they are now, byte for byte.

A provenance names a video by samples of its bytes. Beyond that, a record names the file that was
read. If that is still the file, nothing is read. If its identity differs (copied, touched, put on
another disk, replaced by an intact copy), the whole file is read once and compared with the
recorded digest; the cache remembers the result.

A result with damaged frames is not finished as soon as the file differs in any way: copying the
file again is what raypose advises, and reading it may have been at fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypose.errors import RayposeError
from raypose.specs import VideoSpec
from raypose.storage import as_path
from raypose.storage.digests import content_digest
from raypose.storage.origins import VideoRead, videos_of

_CHANGED = "made before the video changed"


class Contents:
    def __init__(self, videos: Sequence[VideoSpec]) -> None:
        self._videos = videos
        self.known: dict[str, str] = {}  # path → digest of all bytes, where comparing told it
        self._fitting: object = None  # what a record says that belongs to these videos

    def why_stale(self, record: Mapping[str, Any]) -> str:
        """Why the output of a record does not belong to these videos; empty where it does."""
        said = record.get("videos")
        if said and said == self._fitting:
            return ""  # the outputs of a video were made from the same file
        why = self._why_stale(record)
        if not why:
            self._fitting = said
        return why

    def _why_stale(self, record: Mapping[str, Any]) -> str:
        read = videos_of(record)
        if read is None:
            return "made by a version of raypose that did not record which file it read"
        for entry in read:
            reasons = [
                self._why_differs(entry, video)
                for video in self._videos
                if video.fingerprint == entry.fingerprint
            ]
            if not reasons or all(reasons):
                return reasons[0] if reasons else _CHANGED
        return ""

    def _why_differs(self, read: VideoRead, video: VideoSpec) -> str:
        if read.identity == video.identity:
            if read.content:
                self.known[video.path] = read.content
            return ""
        if read.n_bad:
            return f"{_CHANGED}, of which {read.n_bad} frames were damaged"
        if not read.content or video.identity is None or read.identity.size != video.identity.size:
            return _CHANGED
        try:
            content = content_digest(as_path(video.path), video.identity)
        except (OSError, RayposeError) as error:
            return f"made from a video that can't be compared with this one ({error})"
        self.known[video.path] = content
        return "" if content == read.content else _CHANGED
