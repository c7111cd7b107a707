"""What a table was made from, as it was read rather than as it was planned.

An `Origin` travels with a table from the task that predicts to those that draw, measure and
smooth, so that the record of each output names the videos behind it and the settings that were
used. Nothing is read from disk here: see `worker.video_check` and `planning.contents`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raypose.storage.identity import Identity


@dataclass(frozen=True, slots=True)
class VideoRead:
    """A video as a task has read it."""

    fingerprint: str  # as in `VideoSpec`
    identity: Identity  # of the file that was read
    content: str = ""  # digest of all its bytes; empty where the task did not need to know
    n_bad: int = 0  # frames whose status is not ok: suspect, corrupt or missing

    def as_dict(self) -> dict[str, Any]:
        read = {"content": self.content, "n_bad": self.n_bad}
        return {"fingerprint": self.fingerprint, **self.identity.as_dict(), **read}

    @classmethod
    def from_dict(cls, values: object) -> VideoRead | None:
        """The inverse of `as_dict`; None for any other value."""
        if not isinstance(values, Mapping):
            return None
        identity = Identity.from_dict(values)
        rest: list[Any] = [values.get(name) for name in ("fingerprint", "content", "n_bad")]
        if identity is None or [type(value) for value in rest] != [str, str, int]:
            return None
        fingerprint, content, n_bad = rest
        return cls(fingerprint, identity, content, n_bad)


@dataclass(frozen=True, slots=True)
class Origin:
    provenance: str  # digest of the provenance in its record
    # Several where a network sees several views at once, or views are smoothed together.
    videos: tuple[VideoRead, ...] = ()


def videos_of(record: Mapping[str, Any]) -> tuple[VideoRead, ...] | None:
    """The videos that a record names; None where it names none or one is malformed."""
    entries = record.get("videos")
    videos = map(VideoRead.from_dict, entries if isinstance(entries, list) else ())
    known = tuple(video for video in videos if video is not None)
    return known if known and len(known) == len(record["videos"]) else None


def merged(videos: Iterable[VideoRead]) -> tuple[VideoRead, ...] | None:
    """One entry per video, from what several tasks have read of different frames of it; None where
    it is not certain that all have read the same content."""
    of_each: dict[str, list[VideoRead]] = {}
    for video in videos:
        of_each.setdefault(video.fingerprint, []).append(video)
    together = []
    for reads in of_each.values():
        if (first := _of_one_content(reads)) is None:
            return None
        together.append(replace(first, n_bad=sum(read.n_bad for read in reads)))
    return tuple(together)


def _of_one_content(reads: Sequence[VideoRead]) -> VideoRead | None:
    """The most complete entry, if all are of one file or of files with the same bytes."""
    known = [read for read in reads if read.content]
    identities = {read.identity for read in reads}
    is_certain = len(identities) == 1 or identities == {read.identity for read in known}
    if len({read.content for read in known}) > 1 or not is_certain:
        return None
    return known[0] if known else reads[0]


def union(origins: Iterable[Origin | None]) -> tuple[VideoRead, ...]:
    """The videos behind several tables, each once."""
    return tuple(dict.fromkeys(video for origin in origins if origin for video in origin.videos))
