"""What all commands share: the app, errors as one line with an exit code, the console.

Exit codes: 0 success, 1 something failed, 2 the command line is wrong, 130 stopped by Ctrl-C,
SIGTERM or SIGHUP.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup

from raypose._version import __version__
from raypose.errors import Failure, UsageError

if TYPE_CHECKING:
    from rich.console import Console

COMMANDS = {
    "run": ("run", "Run every model on every video: predictions, metrics, labelled videos, EKS."),
    "plan": ("run", "Show what run would do with the same arguments, without changing anything."),
    "smooth": (
        "run",
        "Smooth existing prediction tables of Lightning Pose, DeepLabCut or SLEAP with EKS.",
    ),
    "watch": ("run", "Keep running, and run every model on each new video once it is complete."),
    "process-videos": (
        "pose_app",
        "Run one model on a directory of videos, with the Pose-app's arguments and file names.",
    ),
    "process-videos-ensemble": (
        "pose_app",
        "Run an ensemble on a directory of videos, with the Pose-app's arguments and file names.",
    ),
    "status": ("cluster", "Show the progress of a run, on this machine or another."),
    "report": (
        "report",
        "Rewrite the report of a run: one HTML file with the videos and moments that need a look.",
    ),
    "export": (
        "export",
        "Write the tables of a finished run as Parquet, NWB, SLEAP, DeepLabCut or COCO files too.",
    ),
    "suggest": (
        "labels",
        "Choose the frames of a finished run whose labels would help most, and write them as a "
        "labelling project with predictions as first guesses.",
    ),
    "evaluate": (
        "labels",
        "Compute pixel errors of each model and of the smoothed ensemble on labelled frames.",
    ),
    "submit": (
        "cluster",
        "Send a run to a Ray cluster as a job, and follow it: submit --address URL -- run …",
    ),
    "jobs": ("cluster", "List the jobs of a cluster, newest first."),
    "stop": ("cluster", "Stop a job on a cluster. Finished outputs are kept."),
    "config": (
        "config",
        "Print a settings file for --config, with every setting and its default commented out.",
    ),
    "doctor": (
        "doctor",
        "Check this machine (GPUs, Ray, disks, limits, versions), and time a model on a video.",
    ),
    "demo": (
        "demo",
        "Make a small example project, train two models, and run everything on it.",
    ),
}
"""Each command's module and what `raypose --help` says about it, in the order shown there."""


_HEADINGS = {
    "run": "Run models",
    "status": "Look at results",
    "submit": "Use a cluster",
    "config": "Set up",
}
"""Headings of `raypose --help`, by the first command below each."""


class Command(TyperCommand):
    """A command with raypose's own help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from raypose.cli.help import print_help

        print_help(self, ctx)


class _Commands(TyperGroup):
    """Imports a command's module when the command is called, so that `--help` answers at once.
    Every mistake on the command line is reported in one line, with exit code 2."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        stubs = {name: Command(name, help=text) for name, (_, text) in COMMANDS.items()}
        self.commands = {**stubs, **self.commands}
        heading = ""
        command: Any
        for name, command in self.commands.items():
            heading = command.rich_help_panel = _HEADINGS.get(name, heading)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if module := COMMANDS.get(args[0]):
            importlib.import_module(f"raypose.cli.{module[0]}")
            for found in app.registered_commands:
                found.cls = Command
            # With the module's commands, which have been added to the app.
            self.commands.update(typer.main.get_group(app).commands)
        elif not ctx.resilient_parsing:
            from raypose.cli.mistakes import no_such_command

            raise no_such_command(args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from raypose.cli.help import print_help

        print_help(self, ctx)

    def main(self, *args: Any, **settings: Any) -> Any:
        standalone = settings.pop("standalone_mode", True)
        settings["standalone_mode"] = False
        if not standalone:
            return super().main(*args, **settings)
        try:
            code = super().main(*args, **settings)
        except Exception as error:
            code = _refused(error)
        sys.exit(code)


app = typer.Typer(
    cls=_Commands,
    name="raypose",
    help="Run Lightning Pose models on many or very long videos, on every available GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

P = ParamSpec("P")
_debug = False


def _version(value: bool) -> None:
    if value:
        typer.echo(f"raypose {__version__}")
        raise typer.Exit()


_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
_SHOW = "Show the version and exit."
_Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help=_SHOW)]


@app.callback()
def _common(debug: _Debug = False, version: _Version = False) -> None:
    global _debug
    _debug = debug


def command(function: Callable[P, int]) -> Callable[P, None]:
    """A command that turns errors and signals to stop into one line and an exit code."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        from raypose.execution.interrupts import stop_signals_interrupt

        try:
            with stop_signals_interrupt():
                code = function(*args, **kwargs)
        except KeyboardInterrupt:
            complain("stopped", "finished outputs are kept; the same command continues from there")
            code = 130
        except BrokenPipeError:
            # The reader of our output has ended (`raypose plan | head`), which is no error.
            discard_output()
            code = 0
        except typer.Exit:
            raise
        except Exception as error:
            if _debug:
                raise
            complain("error", str(Failure.of("run", error)))
            code = 2 if isinstance(error, UsageError) else 1
        raise typer.Exit(code)

    return wrapped


def _refused(error: Exception) -> int:
    """Report a mistake on the command line; raises all other errors again."""
    from raypose.cli.mistakes import as_usage_error

    if type(error).__name__ == "NoArgsIsHelpError":
        return 2  # the help is shown
    refusal = error if isinstance(error, UsageError) else as_usage_error(error)
    if refusal is None or (_debug and refusal is error):
        raise error
    complain("error", str(refusal))
    return 2


def all_commands() -> Any:
    """The group of all commands, each imported."""
    for module, _ in COMMANDS.values():
        importlib.import_module(f"raypose.cli.{module}")
    return typer.main.get_group(app)


def discard_output() -> None:
    """Discard further output, because the program that reads it has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(word: str, text: str) -> None:
    """Print a message to standard error."""
    from rich.console import Console

    from raypose.report.terminal import sentence

    console = Console(stderr=True, soft_wrap=not sys.stderr.isatty(), highlight=False)
    console.print(sentence(f"{word}:", "red", text))


def console() -> Console:
    from raypose.report.terminal import stdout_console

    return stdout_console()


def directory_of_run(given: str) -> Path:
    """The directory that a user gives for a run, the log of which is always on a disk."""
    from raypose.storage import local_path

    directory = local_path(given)
    if directory is None:
        hint = (
            "With -o in a store, it is in the --run-dir of the run, or in ./raypose-runs/<date> "
            "where the run was started."
        )
        raise UsageError("the log of a run is not in a store", path=given, hint=hint)
    return directory
