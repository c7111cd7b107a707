"""Text in lines of a given width that are broken between words or after a slash.

Rich breaks only at spaces, and a path that is longer than the rest of its line anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

_WORDS = re.compile(r"(?<=[/\s])(?=[^/\s])")
_PARTS = re.compile(r"(?<=[_.\-])(?=[^_.\-])")
_INDENT = "  "


def fold(text: str, width: int, *, first: int | None = None) -> list[str]:
    """The lines of a text; joined, they are the text.

    Args:
        text: one line.
        width: of a line, in cells.
        first: width of the first line, if it is another.
    """
    lines = [""]
    room = width if first is None else first
    for piece in _pieces(text, width):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > room:
            lines.append("")
            room = width
        lines[-1] += piece
    return lines


def _pieces(text: str, width: int) -> Iterator[str]:
    """What must stay together: words, or parts of those that are longer than a line."""
    for word in _WORDS.split(text):
        if cell_len(word.rstrip()) <= width:
            yield word
            continue
        for part in _PARTS.split(word):
            yield from [part] if cell_len(part.rstrip()) <= width else chop_cells(part, width)


class Folded:
    """A text for a console or a cell of a table; further lines are indented if it is `hanging`."""

    def __init__(self, text: str | Text, *, hanging: bool = False) -> None:
        self._text = text if isinstance(text, Text) else Text(text)
        self._indent = _INDENT if hanging else ""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widths = [cell_len(word.rstrip()) for word in _WORDS.split(self._text.plain)]
        whole = cell_len(self._text.plain)
        return Measurement(min(max(widths), options.max_width), min(whole, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.no_wrap and options.overflow == "ignore":  # for a file
            yield self._text
            return
        width = options.max_width - len(self._indent)
        lines = fold(self._text.plain, max(1, width), first=options.max_width)
        ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines) - 1)]
        for i, line in enumerate(self._text.divide(ends)):
            line.rstrip()
            whole = Text(self._indent if i else "").append_text(line)
            whole.no_wrap, whole.overflow = True, "crop"
            yield whole
