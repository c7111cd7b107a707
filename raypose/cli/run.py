"""`raypose run`, `plan`, `smooth` and `watch`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from raypose.cli.base import app, complain, console
from raypose.cli.options import SHOWN, with_options
from raypose.config import RunConfig, SmoothConfig
from raypose.errors import RayposeError, UsageError

if TYPE_CHECKING:
    from raypose.results import Display, RunResult


class Output:
    """What a command shows of its runs: bars or lines and tables, events, or errors alone."""

    def __init__(self, json_lines: bool, quiet: bool) -> None:
        if json_lines and quiet:
            raise UsageError("--json writes events and --quiet writes nothing: give one of them")
        self._json, self._quiet = json_lines, quiet

    def display(self) -> Display | None:
        """The display of one run; None for none."""
        if self._quiet:
            return None
        if self._json:
            from raypose.report.events import JsonDisplay

            return JsonDisplay(sys.stdout)
        from raypose.report.terminal import live_display

        return live_display(console())

    def result(self, result: RunResult) -> None:
        """What came of a run."""
        if self._quiet:
            for failure in result.failures:
                complain("failed", f"{failure.step} {failure.subject}: {failure}")
        elif self._json:
            from raypose.report import events

            events.JsonDisplay(sys.stdout).write("result", events.result(result))
        else:
            from raypose.report.tables import print_result

            print_result(console(), result)

    def error(self, error: BaseException) -> None:
        """Why there is no result; the command says it in words."""
        if self._json:
            from raypose.report.events import JsonDisplay

            stopped = isinstance(error, KeyboardInterrupt)
            content = {} if stopped else {"message": str(error), "kind": type(error).__name__}
            JsonDisplay(sys.stdout).write("stopped" if stopped else "error", content)


def _show(execute: Callable[..., RunResult], config: RunConfig | SmoothConfig, out: Output) -> int:
    """Execute, and show it; returns the exit code."""
    display = out.display()
    try:
        result = execute(config, display=display, quiet=display is None)
    except BrokenPipeError as error:
        hint = "Finished outputs are kept; run the same command again."
        raise RayposeError(
            "the run was stopped because the program that reads its output ended", hint=hint
        ) from error
    except BaseException as error:
        out.error(error)
        raise
    out.result(result)
    return result.exit_code


def run_and_show(config: RunConfig, json_lines: bool = False, quiet: bool = False) -> int:
    """Run every model on every video: predictions, metrics, labelled videos, EKS."""
    from raypose.pipeline import run

    return _show(run, config, Output(json_lines, quiet))


def _plan(config: RunConfig) -> int:
    """Show what run would do with the same arguments, without changing anything."""
    from raypose.pipeline import plan
    from raypose.report.tables import print_plan

    made = plan(config)
    print_plan(console(), made)
    return 1 if any(problem.fatal for problem in made.problems) else 0


def _smooth(config: SmoothConfig, json_lines: bool = False, quiet: bool = False) -> int:
    """Smooth existing prediction tables of Lightning Pose, DeepLabCut or SLEAP with EKS."""
    from raypose.pipeline import smooth

    return _show(smooth, config, Output(json_lines, quiet))


_SETTLE = "A video is complete when its file has not changed for this long. [dim]\\[30][/]"
_Settle = Annotated[float | None, typer.Option("--settle", metavar="SECONDS", help=_SETTLE, min=0)]


def _watch(
    config: RunConfig, json_lines: bool = False, quiet: bool = False, settle: float | None = None
) -> int:
    """Keep running, and run every model on each new video once it is complete."""
    from raypose.watching import SETTLE_S, watch

    out = Output(json_lines, quiet)
    try:
        watch(
            config,
            settle_s=SETTLE_S if settle is None else settle,
            display=out.display,
            on_result=out.result,
        )
    except BaseException as error:
        out.error(error)
        raise
    return 0


app.command("run")(with_options(RunConfig, run_and_show, SHOWN))
app.command("plan")(with_options(RunConfig, _plan))
app.command("smooth")(with_options(SmoothConfig, _smooth, SHOWN))
app.command("watch")(with_options(RunConfig, _watch, {**SHOWN, "settle": _Settle}))
