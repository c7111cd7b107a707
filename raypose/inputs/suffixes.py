"""Which files in directories and globs are looked at, by the ends of their names."""

from __future__ import annotations

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".ts", ".mts",
    ".m2ts",
)  # fmt: skip
