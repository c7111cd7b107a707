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
    """What a table was made from.

    Attributes:
        provenance: digest of the provenance in its record.
        videos: several where a network sees several views at once, or views are smoothed together.
    """

    provenance: str
    videos: tuple[VideoRead, ...] = ()


def videos_of(record: Mapping[str, Any]) -> tuple[VideoRead, ...] | None:
    """The videos that a record names; None where it names none or one is malformed."""
    entries = record.get("videos")
    if not isinstance(entries, list) or not entries:
        return None
    known = [video for entry in entries if (video := VideoRead.from_dict(entry)) is not None]
    return tuple(known) if len(known) == len(entries) else None


def merged(videos: Iterable[VideoRead]) -> tuple[VideoRead, ...] | None:
    """One entry per video, from what several tasks have read of different frames of it; None where
    it is not certain that all have read the same content."""
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
    return tuple(dict.fromkeys(video for origin in origins if origin for video in origin.videos))
