"""The options of commands that run something, made of the fields of their configs.

An option that is not given says nothing, so that a file (`--config`) and the config's own defaults
can.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError, create_model

from raypose.cli import completion
from raypose.cli.base import command
from raypose.config import RunConfig, Settings
from raypose.config.options import Option, default_of, help_of
from raypose.config.panels import INPUTS
from raypose.config.schemas import Allowed, choices_of, finding, marks_of
from raypose.config.settings import options_in_order
from raypose.errors import UsageError
from raypose.storage import local_path
from raypose.text import markup

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_COMPLETE = {"models": completion.models, "videos": completion.videos}


def _parameters(config: type[Settings]) -> dict[str, Any]:
    """The annotation of each option as Typer wants it; in a section `eks_options__mode`."""
    options = options_in_order(config)
    return {"__".join(path): _annotation(path[-1], info, option) for path, info, option in options}


def _annotation(name: str, field: FieldInfo, option: Option) -> Any:
    flags = option.flags_of(name)
    text = markup(help_of(field))
    choices = choices_of(field.annotation)
    complete = completion.choices(choices) if choices else _COMPLETE.get(option.values)
    if not flags[0].startswith("-"):
        parameter = typer.Argument(
            help=text,
            show_default=False,
            metavar=f"{name.upper()}…",
            autocompletion=complete,
            rich_help_panel=option.panel,
        )
        return Annotated[list[str] | None, parameter]
    if option.repeat:
        text += " Can be repeated."
    default = default_of(field, option, flags[0])
    if default:
        text += f" [dim]{markup(f'[default: {default}]')}[/]"
    is_flag = field.annotation is bool
    # Numbers and paths are texts here: the config says in its own words what is wrong with them.
    kind: Any = bool if is_flag else list[str] if option.repeat else str
    metavar = None if is_flag else option.metavar or _metavar(field)
    parameter = typer.Option(
        *flags,
        help=text,
        metavar=metavar,
        rich_help_panel=option.panel,
        autocompletion=None if is_flag else complete,
    )
    return Annotated[kind | None, parameter]


def checked_option(kind: Any, *flags: str, help: str) -> Any:
    """An option of one command alone, refused in the words of all settings.

    Args:
        kind: a type of `config.types`, or a `Literal`.
        flags: its names, first the one that messages use.
    """
    words = choices_of(kind)
    schema = create_model("Given", value=(kind, ...))

    def parse(text: str) -> Any:
        try:
            return schema(value=text).value  # type: ignore[attr-defined]
        except ValidationError as error:
            said, guess = finding(error, schema, name_of=lambda path: flags[0])
            raise UsageError(said, hint=guess) from None

    return typer.Option(
        *flags,
        parser=parse,
        metavar=_metavar(schema.model_fields["value"]),
        help=help,
        autocompletion=completion.choices(words) if words else None,
    )


def _metavar(field: FieldInfo) -> str:
    words = [mark.metavar for mark in marks_of(field, Allowed) if mark.metavar]
    return "|".join(choices_of(field.annotation)) or words[0]


_OF_RUN = _parameters(RunConfig)
DataDir, Inline, Device = _OF_RUN["data_dir"], _OF_RUN["inline"], _OF_RUN["device"]
ScratchDir = _OF_RUN["scratch_dir"]

_CONFIG = typer.Option(
    "--config",
    metavar="FILE",
    help="YAML file with these settings, or run.json or the directory of an earlier run; the "
    "command line takes precedence. [b]raypose config[/] writes one.",
    rich_help_panel=INPUTS,
)
_ConfigFile = Annotated[str | None, _CONFIG]


_JSON = "Print one JSON event per line, for programs; see docs/events.md."
_QUIET = "Print nothing but errors."
SHOWN = {
    "json_lines": Annotated[bool | None, typer.Option("--json", help=_JSON)],
    "quiet": Annotated[bool | None, typer.Option("--quiet", "-q", help=_QUIET)],
}
"""The options that say what a command shows of a run."""


def with_options(
    config: type[Settings], function: Callable[..., int], more: Mapping[str, Any] | None = None
) -> Callable[..., None]:
    """A command with the options of a config, around a function of the config that they make.

    `more` are further options, which the function takes by their names.
    """
    more = more or {}
    options = {**_parameters(config), "config_file": _ConfigFile, **more}

    def call(config_file: str | None = None, **values: Any) -> int:
        others = {name: value for name in more if (value := values.pop(name)) is not None}
        return function(config_of(config_file, values, config), **others)

    wrapped = command(call)
    of = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = [of(name, annotation=annotation) for name, annotation in options.items()]
    # Typer reads a command's options from its signature.
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = options
    wrapped.__doc__ = function.__doc__
    return wrapped


def check_settings(**values: Any) -> None:
    """Raises UsageError where a setting that a command takes over from `run` makes no sense."""
    RunConfig(videos="any", models="any", **given(values))


def check_exists(place: str) -> None:
    """Raises UsageError where there is no such file or directory on this machine."""
    path = local_path(place)
    if path is not None and not os.path.lexists(path):
        raise UsageError("no such file or directory", path=place, hint="Check the path.")


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


def config_of(
    config_file: str | None, values: dict[str, Any], config: type[Settings] = RunConfig
) -> Any:
    """The config that options ask for; `values` as the command line gives them."""
    if config_file is not None:
        return config.from_file(config_file, given(values))
    return config(**{**config.nothing_given(), **given(values)})
