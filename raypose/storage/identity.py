"""What tells a file from an earlier or a later one, without reading it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MARKS = ("mtime_ns", "ctime_ns", "inode", "etag")


@dataclass(frozen=True, slots=True)
class Identity:
    """Changes with everything that a user can do to a file: edit it, copy over it, replace it.

    The device is not part of it: two hosts give the same network file system different numbers.

    Attributes:
        size: bytes.
        marks: the file's times of modification and of change in nanoseconds and its inode, or an
            object's ETag, by their names in `_MARKS`.
    """

    size: int
    marks: tuple[tuple[str, int | str], ...]

    @classmethod
    def of_status(cls, status: os.stat_result) -> Identity:
        """The identity of a local file from its `stat`."""
        values = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        return cls(status.st_size, tuple(zip(_MARKS, values, strict=False)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Identity | None:
        """The inverse of `as_dict`, other values are ignored; None where some are missing."""
        size = values.get("size")
        marks = tuple((name, values[name]) for name in _MARKS if name in values)
        if type(size) is not int or not marks:
            return None
        return cls(size, marks) if all(type(v) in (int, str) for _, v in marks) else None

    def as_dict(self) -> dict[str, int | str]:
        return {"size": self.size, **dict(self.marks)}

    def kept_by_rename(self) -> dict[str, int | str]:
        """The values that stay when a file is renamed, for its record."""
        return {name: v for name, v in self.as_dict().items() if name not in ("ctime_ns", "inode")}

    def looks_like(self, other: Identity) -> bool:
        """Whether size and time of modification are equal.

        Some network file systems change the inode or the time of change of a file by themselves:
        then only the content can tell.
        """
        mine, others = dict(self.marks), dict(other.marks)
        mtime = mine.get("mtime_ns")
        return self.size == other.size and mtime is not None and mtime == others.get("mtime_ns")
