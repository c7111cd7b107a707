"""`raypose demo`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raypose.cli.base import app, command, console
from raypose.cli.options import Device, Inline, given
from raypose.text import markup

if TYPE_CHECKING:
    from rich.console import Console

    from raypose.demo import Report

_LINE_EVERY_S = 10.0


@app.command("demo", epilog="raypose demo\nraypose demo my-demo --inline")
@command
def demo(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory for the example project.")
    ] = Path("raypose-demo"),
    inline: Inline = None,
    device: Device = None,
) -> int:
    """Make a small example project, train two models, and run everything on it."""
    from raypose.demo import run_demo
    from raypose.report.tables import print_result
    from raypose.report.terminal import live_display

    out = console()
    display = live_display(out)
    with _preparation(out) as report:
        result = run_demo(
            directory,
            display=display,
            report=report,
            **given({"inline": inline, "device": device}),
        )
    print_result(out, result.result, display.told_failures)
    for line in result.lines():
        out.print(markup(line))
    return result.result.exit_code


@contextlib.contextmanager
def _preparation(out: Console) -> Iterator[Report]:
    """Shows the preparation: on a terminal as a bar with the time that is left, else in lines."""
    if not out.is_terminal:
        yield _lines(out)
        return
    from rich import progress

    columns = progress.BarColumn(), progress.TaskProgressColumn(), progress.TimeRemainingColumn()
    words = progress.TextColumn("{task.description}")
    bar = progress.Progress(words, *columns, console=out, transient=True)
    task = bar.add_task("", total=1.0)

    def report(text: str, done: float) -> None:
        bar.update(task, description=text, completed=done)
        if done < 1:
            bar.start()
        else:  # the run has a display of its own
            bar.stop()

    try:
        yield report
    finally:
        bar.stop()


def _lines(out: Console) -> Report:
    told, last = "", 0.0

    def report(text: str, done: float) -> None:
        nonlocal told, last
        now = time.monotonic()
        if text != told or now - last >= _LINE_EVERY_S:
            told, last = text, now
            out.print(f"{text}: {done:.0%}")

    return report
