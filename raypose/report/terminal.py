"""Consoles: of the terminal, and of a prompt or notebook; and what all tables and displays print.

`live_display` gives bars where the output is a terminal and plain lines where it is none. Both
are told what happens through the `Display` contract and know nothing of executors.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from raypose.report.folding import Folded
from raypose.text import shown

if TYPE_CHECKING:
    from raypose.planning import Plan, Problem
    from raypose.report.display import RunDisplay
    from raypose.report.names import ShortNames

_WIDTH = 160
_MOST_ALIKE = 5  # files with the same problem that have a line each
_MOST_NAMED = 200
_HTML = (
    "<pre style='white-space:pre; overflow-x:auto; line-height:normal; "
    "font-family:Menlo,DejaVu Sans Mono,consolas,Courier New,monospace'>{code}</pre>"
)


def stdout_console() -> Console:
    """The console of the standard output; in a file, lines are never broken."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=1000)


def as_text(print_to: Callable[[Console], None]) -> str:
    """What a function prints to a console, without colours and trailing spaces."""
    file = io.StringIO()
    print_to(_console_on(file))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")


def as_html(print_to: Callable[[Console], None]) -> str:
    """What a function prints to a console, as a fragment of HTML."""
    console = _console_on(io.StringIO(), record=True)
    print_to(console)
    return console.export_html(inline_styles=True, code_format=_HTML)


def _console_on(file: io.StringIO, *, record: bool = False) -> Console:
    """A console that prints to a file, even in a notebook, where Rich would display it too."""
    return Console(
        file=file,
        width=_WIDTH,
        highlight=False,
        record=record,
        force_jupyter=False,
        _environ={},
    )


def live_display(console: Console) -> RunDisplay:
    """Bars on a terminal; lines in a file and in a notebook."""
    from raypose.report.live import LiveDisplay
    from raypose.report.plain import PlainDisplay

    bars = console.is_terminal and not console.is_jupyter
    return LiveDisplay(console) if bars else PlainDisplay(console)


def print_problems(
    console: Console, problems: Sequence[Problem], names: ShortNames | None = None
) -> None:
    """Errors, and notes with what raypose does about them.

    What many files have in common is told once: how many, what, and which.
    """
    groups: dict[tuple[bool, str, str], list[str]] = {}
    for problem in problems:
        subject = problem.subject if names is None else names.path(problem.subject)
        groups.setdefault((problem.fatal, problem.message, problem.hint), []).append(subject)
    for (fatal, message, hint), subjects in groups.items():
        word, style = ("error", "red") if fatal else ("note", "yellow")
        said = f"{message}. {hint}" if hint else message
        if len(subjects) <= _MOST_ALIKE:
            for subject in subjects:
                console.print(sentence(word, style, f"{subject}: {said}"))
            continue
        more = len(subjects) - _MOST_NAMED
        listed = ", ".join(subjects[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        console.print(sentence(word, style, f"{len(subjects):,} inputs: {said} ({listed})"))


def without_some(plan: Plan) -> str:
    """Which of the given videos a plan leaves out: ` (3 can't be read)`; empty where none."""
    parts = left_out(plan)
    return f" ({parts})" if parts else ""


def left_out(plan: Plan) -> str:
    """The same without parentheses."""
    others = plan.n_given - plan.n_videos - plan.n_unreadable
    counted = ((plan.n_unreadable, "can't be read"), (others, "left out"))
    return ", ".join(f"{n:,} {why}" for n, why in counted if n > 0)


def sentence(word: str, style: str, text: str) -> Folded:
    """One coloured word and a sentence; further lines of it are indented."""
    return Folded(Text.assemble((word, style), f" {shown(text)}"), hanging=True)


def duration(seconds: float) -> str:
    """Seconds for people: `3 s`, `2 min 05 s`, `1 h 10 min`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute:02d} min"
    return f"{minute} min {second:02d} s" if minute else f"{second} s"
