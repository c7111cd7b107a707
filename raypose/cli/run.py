"""`raypose run`, `plan`, `smooth` and `watch`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from raypose.cli.base import app, complain, console, discard_output
from raypose.cli.options import SHOWN, checked_option, with_options
from raypose.config import RunConfig, SmoothConfig
from raypose.config.types import Delay
from raypose.errors import RayposeError, UsageError

if TYPE_CHECKING:
    from raypose.report.display import RunDisplay
    from raypose.results import Display, RunResult


class Output:
    """What a command shows of its runs: bars or lines and tables, events, or errors alone."""

    def __init__(self, json_lines: bool, quiet: bool) -> None:
        if json_lines and quiet:
            raise UsageError("--json writes events and --quiet writes nothing: give one of them")
        self._json, self._quiet = json_lines, quiet
        self._shown: RunDisplay | None = None  # of the last run

    def display(self) -> Display | None:
        """The display of one run; None for none."""
        if self._quiet:
            return None
        if self._json:
            from raypose.report.events import JsonDisplay

            return JsonDisplay(sys.stdout)
        from raypose.report.terminal import live_display

        self._shown = live_display(console())
        return self._shown

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

            told = () if self._shown is None else self._shown.told_failures
            print_result(console(), result, told)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Inside the block, errors are shown as events; the command says them in words."""
        try:
            yield
        except BrokenPipeError as error:
            hint = "Finished outputs are kept; run the same command again."
            raise RayposeError(
                "the run was stopped because the program that reads its output ended", hint=hint
            ) from error
        except BaseException as error:
            self._error(error)
            raise

    def _error(self, error: BaseException) -> None:
        if self._json:
            from raypose.report.events import JsonDisplay

            stopped = isinstance(error, KeyboardInterrupt)
            content = {} if stopped else {"message": str(error), "kind": type(error).__name__}
            JsonDisplay(sys.stdout).write("stopped" if stopped else "error", content)


def _show(execute: Callable[..., RunResult], config: RunConfig | SmoothConfig, out: Output) -> int:
    """Execute, and show it; returns the exit code."""
    with out.errors():
        display = out.display()
        result = execute(config, display=display, quiet=display is None)
    try:
        out.result(result)
    except BrokenPipeError:
        discard_output()
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


_SETTLE = "A video is complete when its file has not changed for this long. "
_SETTLE += "[dim]\\[default: 30][/]"
_Settle = Annotated[float | None, checked_option(Delay, "--settle", help=_SETTLE)]


def _watch(
    config: RunConfig, json_lines: bool = False, quiet: bool = False, settle: float | None = None
) -> int:
    """Keep running, and run every model on each new video once it is complete."""
    from raypose.watching import SETTLE_S, watch

    out = Output(json_lines, quiet)
    with out.errors():
        watch(
            config,
            settle_s=SETTLE_S if settle is None else settle,
            display=out.display,
            on_result=out.result,
        )
    return 0


_EXAMPLES = {
    "run": """raypose run videos/ -m models/a -o out --label snippet
        raypose run videos/ -m models/a -m models/b --eks -o out""",
    "plan": """raypose plan videos/ -m models/a -m models/b --eks -o out
        raypose plan --config run.yaml""",
    "smooth": """raypose smooth network1/ network2/ network3/ -o smoothed
        raypose smooth a/ b/ c/ --views top,side --calibration lab.toml -o smoothed""",
    "watch": "raypose watch videos/ -m models/a -o out --settle 60",
}
app.command("run", epilog=_EXAMPLES["run"])(with_options(RunConfig, run_and_show, SHOWN))
app.command("plan", epilog=_EXAMPLES["plan"])(with_options(RunConfig, _plan))
app.command("smooth", epilog=_EXAMPLES["smooth"])(with_options(SmoothConfig, _smooth, SHOWN))
_OF_WATCH = {**SHOWN, "settle": _Settle}
app.command("watch", epilog=_EXAMPLES["watch"])(with_options(RunConfig, _watch, _OF_WATCH))
