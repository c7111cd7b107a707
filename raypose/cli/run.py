"""`raypose run`, `plan` and `smooth`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raypose.cli.base import app, console
from raypose.cli.options import with_options
from raypose.config import RunConfig, SmoothConfig


def _show(execute: Callable[..., Any], config: RunConfig | SmoothConfig) -> int:
    """Execute with progress and the end table on the standard output; returns the exit code."""
    from raypose.report.tables import print_result
    from raypose.report.terminal import live_display

    out = console()
    result = execute(config, display=live_display(out))
    print_result(out, result)
    return int(result.exit_code)


def run_and_show(config: RunConfig) -> int:
    """Run every model on every video: predictions, metrics, labelled videos, EKS."""
    from raypose.pipeline import run

    return _show(run, config)


def _plan(config: RunConfig) -> int:
    """Show what run would do with the same arguments, without changing anything."""
    from raypose.pipeline import plan
    from raypose.report.tables import print_plan

    made = plan(config)
    print_plan(console(), made)
    return 1 if any(problem.fatal for problem in made.problems) else 0


def _smooth(config: SmoothConfig) -> int:
    """Smooth existing tables of predictions, of any tool, with EKS."""
    from raypose.pipeline import smooth

    return _show(smooth, config)


app.command("run")(with_options(RunConfig, run_and_show))
app.command("plan")(with_options(RunConfig, _plan))
app.command("smooth")(with_options(SmoothConfig, _smooth))
