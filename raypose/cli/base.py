"""What all commands share: the app, errors as one line with an exit code, the console.

Exit codes: 0 success, 1 something failed, 2 the command line is wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from raypose._version import __version__

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="raypose",
    help="Run Lightning Pose models on many, or very large, videos, on every GPU there is.",
    no_args_is_help=True,
    add_completion=False,
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
_VERSION_HELP = "Show the version and exit."
_Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help=_VERSION_HELP)
]


@app.callback()
def _common(debug: _Debug = False, version: _Version = False) -> None:
    global _debug
    _debug = debug


def command(function: Callable[P, int]) -> Callable[P, None]:
    """A command that turns errors into one line and an exit code."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        from raypose.errors import Failure, UsageError

        try:
            code = function(*args, **kwargs)
        except KeyboardInterrupt:
            complain("stopped", "finished outputs are kept; the same command continues from there")
            code = 130
        except BrokenPipeError:
            # The reader of our output has ended (`raypose plan | head`), which is no error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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


def complain(word: str, sentence: str) -> None:
    from rich.console import Console

    from raypose.text import markup

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[red]{word}:[/] {markup(sentence)}")


def console() -> Console:
    """The console of the standard output; in a file, lines are never broken."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=1000)
