"""The options of commands that run something, made of the fields of their configs.

An option that is not given says nothing, so that a file (`--config`) and the config's own defaults
can.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypose.cli.base import command
from raypose.config import RunConfig, Settings
from raypose.config.options import Option, options_of
from raypose.config.schemas import Allowed, choices_of, marks_of
from raypose.config.settings import GPUS, MODELS
from raypose.text import markup

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_LONGEST_METAVAR = 24
_RUN_ALONE = (MODELS, GPUS)
"""What tables that exist have no use for."""


def _parameters(config: type[Settings]) -> dict[str, Any]:
    """The annotation of each option as Typer wants it; in a section `eks_options__mode`."""
    inherited = set(Settings.model_fields) - set(config.__annotations__)
    found = [f for f in options_of(config) if config.predicts or f[2].panel not in _RUN_ALONE]
    found.sort(key=lambda option: option[0][0] in inherited)
    panels = list(dict.fromkeys(option.panel for _, _, option in found))
    found.sort(key=lambda option: panels.index(option[2].panel))
    return {"__".join(path): _annotation(path[-1], info, option) for path, info, option in found}


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
    parameter = typer.Option(*flags, help=text, metavar=metavar, rich_help_panel=option.panel)
    return Annotated[kind | None, parameter]


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
ScratchDir = _OF_RUN["scratch_dir"]

_CONFIG_HELP = "YAML file with these settings; the command line takes precedence."
_ConfigFile = Annotated[str | None, typer.Option("--config", metavar="PATH", help=_CONFIG_HELP)]


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
    of_file = {"config_file": _ConfigFile} if config is RunConfig else {}
    options = {**_parameters(config), **of_file, **more}

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
        return RunConfig.from_yaml(config_file, given(values))
    required = {name: () for name, field in config.model_fields.items() if field.is_required()}
    return config(**{**required, **given(values)})
