"""`raypose run` and `raypose plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raypose.cli.base import app, console
from raypose.cli.options import with_run_options

if TYPE_CHECKING:
    from raypose.config import RunConfig
    from raypose.pipeline import RunResult


def run_and_show(config: RunConfig) -> RunResult:
    """A run with its progress and its end table on the standard output."""
    from raypose.pipeline import run
    from raypose.report.tables import print_result
    from raypose.report.terminal import live_display

    out = console()
    result = run(config, display=live_display(out))
    print_result(out, result)
    return result


def _run(config: RunConfig) -> int:
    """Run every model on every video: predictions, metrics, labelled videos, EKS."""
    return run_and_show(config).exit_code


def _plan(config: RunConfig) -> int:
    """Show what run would do with the same arguments, without changing anything."""
    from raypose.pipeline import plan
    from raypose.report.tables import print_plan

    made = plan(config)
    print_plan(console(), made)
    return 1 if any(problem.fatal for problem in made.problems) else 0


app.command("run")(with_run_options(_run))
app.command("plan")(with_run_options(_plan))
