"""What a table was made from, as it was read rather than as it was planned.

A plan knows a video by samples of its bytes, which is quick; a record holds the identity of the
file that was read and a digest of all of it. An `Origin` travels with a table from the task that
predicts to those that draw, measure and smooth, so that the record of each output names the
videos behind it and the settings that were used, which a plan can't know in full.

Nothing is read from disk here: see `worker.video_check` and `planning.contents`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raypose.storage.identity import Identity


@dataclass(frozen=True, slots=True)
class VideoRead:
    """A video as a task has read it.

    Attributes:
        fingerprint: as in `VideoSpec`.
        identity: of the file that was read.
        content: digest of all its bytes; empty where the task did not need to know.
        n_bad: frames whose status is not ok: suspect, corrupt or missing.
    """

    fingerprint: str
    identity: Identity
    content: str = ""
    n_bad: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a record."""
        return {
            "fingerprint": self.fingerprint,
            **self.identity.as_dict(),
            "content": self.content,
            "n_bad": self.n_bad,
        }

    @classmethod
    def from_dict(cls, values: object) -> VideoRead | None:
        """The inverse of `as_dict`; None for any other value."""
        if not isinstance(values, Mapping):
            return None
        identity = Identity.from_dict(values)
        fingerprint, content = values.get("fingerprint"), values.get("content")
        n_bad = values.get("n_bad")
        if identity is None or not isinstance(fingerprint, str) or not isinstance(content, str):
            return None
        return cls(fingerprint, identity, content, n_bad) if type(n_bad) is int else None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a table was made from.

    Attributes:
        provenance: digest of the provenance in its record.
        videos: the videos behind it; several where a network looks at several views at once,
            or where views were smoothed together.
    """

    provenance: str
    videos: tuple[VideoRead, ...] = ()


def videos_of(record: Mapping[str, Any]) -> tuple[VideoRead, ...] | None:
    """The videos that a record names; None where it names none or one is malformed."""
    entries = record.get("videos")
    if not isinstance(entries, list) or not entries:
        return None
    videos = [VideoRead.from_dict(entry) for entry in entries]
    known = [video for video in videos if video is not None]
    return tuple(known) if len(known) == len(videos) else None


def merged(videos: Iterable[VideoRead]) -> tuple[VideoRead, ...] | None:
    """One entry per video, from what several tasks have read of it.

    Their counts of bad frames are added up, since the tasks have read different frames.

    Returns:
        None where it is not certain that all have read the same content.
    """
    of_each: dict[str, list[VideoRead]] = {}
    for video in videos:
        of_each.setdefault(video.fingerprint, []).append(video)
    together = []
    for reads in of_each.values():
        first = _of_one_content(reads)
        if first is None:
            return None
        together.append(replace(first, n_bad=sum(read.n_bad for read in reads)))
    return tuple(together)


def _of_one_content(reads: Sequence[VideoRead]) -> VideoRead | None:
    """The most complete entry, if all are of one file or of files with the same bytes."""
    known = [read for read in reads if read.content]
    if len({read.content for read in known}) > 1:
        return None
    identities = {read.identity for read in reads}
    if len(identities) > 1 and identities != {read.identity for read in known}:
        return None
    return known[0] if known else reads[0]


def union(origins: Iterable[Origin | None]) -> tuple[VideoRead, ...]:
    """The videos behind several tables, each once."""
    videos: dict[VideoRead, None] = {}
    for origin in origins:
        videos.update(dict.fromkeys(origin.videos if origin is not None else ()))
    return tuple(videos)
