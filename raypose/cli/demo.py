"""`raypose demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raypose.cli.base import app, command, console
from raypose.cli.options import Device, Inline, given
from raypose.text import markup


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
    result = run_demo(
        directory,
        display=display,
        say=lambda line: out.print(markup(line)),
        **given({"inline": inline, "device": device}),
    )
    print_result(out, result.result, display.told_failures)
    for line in result.lines():
        out.print(markup(line))
    return result.result.exit_code
