"""What tells a file from an earlier or a later one, without reading it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMES = ("size", "mtime_ns", "ctime_ns", "inode", "etag")


@dataclass(frozen=True, slots=True)
class Identity:
    """Changes with everything that a user can do to a file: edit it, copy over it, replace it.

    The device is not part of it: two hosts give the same network file system different numbers.
    """

    size: int  # bytes
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    inode: int | None = None
    etag: str | None = None  # of an object, which has nothing else

    @classmethod
    def of_status(cls, status: os.stat_result) -> Identity:
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Identity | None:
        """The inverse of `as_dict`, other values are ignored; None where some are missing."""
        known = {name: values[name] for name in _NAMES if name in values}
        fit = type(known.get("size")) is int and all(type(v) in (int, str) for v in known.values())
        return cls(**known) if fit and len(known) > 1 else None

    def as_dict(self) -> dict[str, int | str]:
        values = (self.size, self.mtime_ns, self.ctime_ns, self.inode, self.etag)
        named = zip(_NAMES, values, strict=True)
        return {name: value for name, value in named if value is not None}

    def kept_by_rename(self) -> dict[str, int | str]:
        """The values that stay when a file is renamed, for its record."""
        named = (("size", self.size), ("mtime_ns", self.mtime_ns), ("etag", self.etag))
        return {name: value for name, value in named if value is not None}

    def looks_like(self, other: Identity) -> bool:
        """Whether size and time of modification are equal.

        Some network file systems change the inode or the time of change of a file by themselves:
        then only the content can tell.
        """
        is_known = self.mtime_ns is not None
        return is_known and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)
