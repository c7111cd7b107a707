"""What all commands share: the app, errors as one line with an exit code, the console, options.

The options of `run`, `plan` and `smooth` are made of the fields of their configs. One that is not
given says nothing, so that a file (`--config`) and the config's own defaults can.

Exit codes: 0 success, 1 something failed, 2 the command line is wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from raypose._version import __version__
from raypose.config import RunConfig, Settings, SmoothConfig
from raypose.config.options import Option, options_of
from raypose.config.schemas import Allowed, choices_of, marks_of
from raypose.config.settings import GPUS, MODELS
from raypose.errors import Failure, UsageError
from raypose.text import markup

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
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
_SHOW = "Show the version and exit."
_Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help=_SHOW)]


@app.callback()
def _common(debug: _Debug = False, version: _Version = False) -> None:
    global _debug
    _debug = debug


def command(function: Callable[P, int]) -> Callable[P, None]:
    """A command that turns errors into one line and an exit code."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
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


def complain(word: str, text: str) -> None:
    """Say something on the standard error."""
    from rich.console import Console

    from raypose.report.terminal import sentence

    console = Console(stderr=True, soft_wrap=not sys.stderr.isatty(), highlight=False)
    console.print(sentence(f"{word}:", "red", text))


def console() -> Console:
    from raypose.report.terminal import stdout_console

    return stdout_console()


_LONGEST_METAVAR = 24
_RUN_ALONE = (MODELS, GPUS)
"""What tables that exist have no use for."""


def _parameters(config: type[Settings]) -> dict[str, Any]:
    """The annotation of each option as Typer wants it; in a section `eks_options__mode`."""
    found = [
        ("__".join(field), _annotation(field[-1], info, option), option.panel)
        for field, info, option in options_of(config)
        if config.predicts or option.panel not in _RUN_ALONE
    ]
    inherited = set(Settings.model_fields) - set(config.__annotations__)
    found.sort(key=lambda parameter: parameter[0].partition("__")[0] in inherited)
    panels = list(dict.fromkeys(panel for _, _, panel in found))
    found.sort(key=lambda parameter: panels.index(parameter[2]))
    return {name: annotation for name, annotation, _ in found}


def _annotation(name: str, field: FieldInfo, option: Option) -> Any:
    flags = option.flags_of(name)
    text = markup(" ".join((field.description or "").split()))
    if not flags[0].startswith("-"):
        return Annotated[list[str] | None, typer.Argument(help=text, show_default=False)]
    if option.repeat:
        text += " Can be repeated."
    default = option.default or _default(field, flags[0])
    if default:
        text += f" [dim]{markup(f'[{default}]')}[/]"
    is_flag = field.annotation is bool
    # Numbers and paths are texts here: the config says in its own words what is wrong with them.
    kind: Any = bool if is_flag else list[str] if option.repeat else str
    metavar = None if is_flag else option.metavar or _metavar(field)
    told = typer.Option(*flags, help=text, metavar=metavar, rich_help_panel=option.panel)
    return Annotated[kind | None, told]


def _default(field: FieldInfo, flag: str) -> str:
    value = None if field.is_required() else field.default
    if isinstance(value, bool):
        return ("on" if value else "off") if "/" in flag else ""
    return f"{value:g}" if isinstance(value, float) else str(value) if value else ""


def _metavar(field: FieldInfo) -> str:
    words = [mark.metavar for mark in marks_of(field, Allowed) if mark.metavar]
    choices = "|".join(choices_of(field.annotation))
    return words[0] if words else choices if 0 < len(choices) <= _LONGEST_METAVAR else "TEXT"


_OF_RUN = _parameters(RunConfig)
DataDir, Inline, Device = _OF_RUN["data_dir"], _OF_RUN["inline"], _OF_RUN["device"]

_CONFIG_HELP = "YAML file with these settings; what the command line says wins over it."
_ConfigFile = Annotated[str | None, typer.Option("--config", metavar="PATH", help=_CONFIG_HELP)]


_JSON = "Write one event per line to the standard output, for programs; see docs/events.md."
_QUIET = "Write nothing but errors."
SHOWN = {
    "json_lines": Annotated[bool | None, typer.Option("--json", help=_JSON)],
    "quiet": Annotated[bool | None, typer.Option("--quiet", "-q", help=_QUIET)],
}
"""The options that say what a command shows of a run."""


def with_run_options(
    function: Callable[..., int], more: Mapping[str, Any] | None = None
) -> Callable[..., None]:
    """A command with the options of a run, around a function of the `RunConfig` they make.

    `more` are further options, which the function takes by their names.
    """
    more = more or {}

    def call(config: str | None = None, **values: Any) -> int:
        others = {name: value for name in more if (value := values.pop(name)) is not None}
        return function(config_of(config, values), **others)

    return _with_options(call, {**_OF_RUN, "config": _ConfigFile, **more}, function.__doc__)


def with_smooth_options(function: Callable[..., int]) -> Callable[..., None]:
    """A command with the options of EKS alone, around a function of their `SmoothConfig`, which
    also takes those of `SHOWN`."""

    def call(**values: Any) -> int:
        shown = {name: value for name in SHOWN if (value := values.pop(name)) is not None}
        return function(SmoothConfig(**{"tables": (), **given(values)}), **shown)

    return _with_options(call, {**_parameters(SmoothConfig), **SHOWN}, function.__doc__)


def _with_options(
    function: Callable[..., int], options: dict[str, Any], doc: str | None
) -> Callable[..., None]:
    wrapped = command(function)
    of = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = [of(name, annotation=annotation) for name, annotation in options.items()]
    # Typer reads a command's options from its signature.
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = options
    wrapped.__doc__ = doc
    return wrapped


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given, by the fields of a config, those of a section together."""
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if value not in (None, [], ()):
            *sections, field = name.split("__")
            place = settings
            for section in sections:
                place = place.setdefault(section, {})
            place[field] = value
    return settings


def config_of(config_file: str | Path | None, values: dict[str, Any]) -> RunConfig:
    """The run that options ask for; `values` as the command line gives them."""
    if config_file is not None:
        return RunConfig.from_yaml(config_file, given(values))
    return RunConfig(**{"models": (), **given(values)})
