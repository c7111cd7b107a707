"""`raypose doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from raypose.cli import completion
from raypose.cli.base import app, command, console
from raypose.cli.options import Device, ScratchDir, check_exists, check_settings
from raypose.text import json_text, markup

if TYPE_CHECKING:
    from rich.console import Console

    from raypose.doctor import Finding

_COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}
_WIDTH = max(map(len, _COLORS))
_NAME_WIDTH = 13


@app.command("doctor", epilog="raypose doctor\nraypose doctor models/a videos/one.mp4")
@command
def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Model directory to check.",
            show_default=False,
            autocompletion=completion.models,
        ),
    ] = None,
    video: Annotated[
        str | None,
        typer.Argument(
            metavar="VIDEO",
            autocompletion=completion.videos,
            help="Video to check; with a model, a ten-second trial measures how fast a run is.",
            show_default=False,
        ),
    ] = None,
    device: Device = None,
    scratch_dir: ScratchDir = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON for a bug report, without the names of user and machine."
        ),
    ] = False,
) -> int:
    """Check this machine (GPUs, Ray, disks, limits, versions), and time a model on a video."""
    from raypose import doctor

    check_settings(device=device, scratch_dir=scratch_dir)
    for place in filter(None, (model, video)):
        check_exists(place)
    asked = doctor.Asked(model or "", video or "", scratch_dir or "", device or "auto")
    findings = []
    out = console()
    for finding in doctor.examine(asked):
        findings.append(finding)
        if not as_json:
            _print(out, finding)
    n_problems = sum(finding.status == "problem" for finding in findings)
    if as_json:
        sys.stdout.write(json_text(doctor.as_json(findings), indent=1) + "\n")
    elif n_problems:
        out.print(f"[red]{n_problems} of {len(findings)} checks found a problem.[/]")
    return 1 if n_problems else 0


def _print(out: Console, finding: Finding) -> None:
    from rich.table import Table

    status = f"[{_COLORS[finding.status]}]{finding.status:<{_WIDTH}}[/]"
    name = f"{finding.name:<{_NAME_WIDTH}}"
    advice = f"→ {finding.advice}" if finding.advice else ""
    if not out.is_terminal:  # lines of a file are not broken
        out.print(f"{status}  {name}  {markup(finding.found)}")
        if advice:
            out.print(f"{'':<{_WIDTH}}  {'':<{_NAME_WIDTH}}  {markup(advice)}")
        return
    line = Table.grid(padding=(0, 2))
    line.add_row(status, name, markup(finding.found))
    if advice:
        line.add_row("", "", markup(advice))
    out.print(line)
