"""Plans and results as text and as HTML, for a Python prompt and for a notebook."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

_WIDTH = 160
_HTML = (
    "<pre style='white-space:pre; overflow-x:auto; line-height:normal; "
    "font-family:Menlo,DejaVu Sans Mono,consolas,Courier New,monospace'>{code}</pre>"
)


def as_text(print_to: Callable[[Console], None]) -> str:
    """What a function prints to a console, without colours and trailing spaces."""
    file = io.StringIO()
    print_to(Console(file=file, width=_WIDTH, highlight=False, _environ={}))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")


def as_html(print_to: Callable[[Console], None]) -> str:
    """What a function prints to a console, as a fragment of HTML."""
    console = Console(file=io.StringIO(), width=_WIDTH, highlight=False, record=True, _environ={})
    print_to(console)
    return console.export_html(inline_styles=True, code_format=_HTML)
