"""Ray's exceptions in raypose's messages."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """An error from Ray without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
