"""A settings file to start from, with everything commented out, and its JSON schema."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import yaml

from raypose.config.eks_options import EksOptions
from raypose.config.options import Option, help_with_choices, option_name
from raypose.config.panels import ADVANCED, PANELS
from raypose.config.schemas import FieldPath, field_at
from raypose.config.settings import Settings, options_in_order

_WIDTH = 80
_HEAD = """\
# Settings of raypose {commands}, each with its default. Remove the #
# before those that you change, and use them with
#   raypose {command} --config {command}.yaml
# Options on the command line take precedence.
"""
# Of what has no default.
_EXAMPLES = {"videos": ["videos/"], "models": ["models/a"], "tables": ["video_preds/"]}
_SECTION = "eks_options"


def commented_settings(config: type[Settings]) -> str:
    """A YAML file with every setting, its help, and its default after a `#`."""
    commands = "run, plan and watch" if config.predicts else config.command
    lines = [_HEAD.format(command=config.command, commands=commands)]
    for panel in PANELS:
        lines.append(f"\n# ---- {panel} ----\n")
        for path in _fields(config):
            field = field_at(config, path)[1]
            assert field is not None
            option = Option.of(field)
            if (ADVANCED if option is None else option.panel) != panel:
                continue
            text = help_with_choices(field)
            if option is not None and option.default:
                text += f" Default: {option.default}."
            lines += [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2)]
            value = _EXAMPLES.get(path[-1], _plain(field.get_default()))
            lines.append(f"#{_line(config, path, value)}\n")
    return "\n".join(lines)


def json_schema(config: type[Settings]) -> dict[str, Any]:
    """The JSON schema of such a file.

    Dashes and underscores mean the same in names, and a setting may have its option's name or its
    field's. Editors are to propose only the names of `commented_settings`.
    """
    made = config.model_json_schema()
    of_run, of_eks = made["properties"], made["$defs"][EksOptions.__name__]["properties"]
    proposed: dict[str, Any] = {}
    accepted: dict[str, Any] = {}
    for path in _fields(config):
        described = (of_run if len(path) == 1 else of_eks)[path[-1]]
        described.pop("title", None)
        key = _key(config, path)
        if key is not None:
            proposed[key] = described
            accepted[_spellings(key)] = described
        if len(path) == 1:
            accepted[_spellings(path[0])] = described
    inner: dict[str, Any] = {}
    for name, field in of_eks.items():
        for known in (name, option_name(EksOptions, (name,)).lstrip("-")):
            inner[_spellings(known)] = field
    accepted[_spellings(_SECTION)] = {
        "type": "object",
        "patternProperties": inner,
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Settings of raypose {config.command}",
        "type": "object",
        "properties": proposed,
        "patternProperties": accepted,
        "additionalProperties": False,
    }


def _spellings(name: str) -> str:
    return f"^{re.sub('[-_]', '[-_]', name)}$"


def _fields(config: type[Settings]) -> list[FieldPath]:
    """All settings, as `--help` orders them: those that are options, then those of files alone."""
    options = [path for path, _, _ in options_in_order(config)]
    rest: list[FieldPath] = [
        (name,) for name, field in config.model_fields.items() if Option.of(field) is None
    ]
    rest += [(_SECTION, name) for name in EksOptions.model_fields]
    return [path for path in dict.fromkeys([*options, *rest]) if path != (_SECTION,)]


def _key(config: type[Settings], path: FieldPath) -> str | None:
    """The name of a setting in a file; None where it needs its section."""
    name = option_name(config, path).lstrip("-")
    return None if "." in name else name


def _line(config: type[Settings], path: FieldPath, value: Any) -> str:
    key = _key(config, path)
    entry = {_SECTION: {path[-1]: value}} if key is None else {key: value}
    text = yaml.safe_dump(entry, default_flow_style=True, width=1000).strip()
    return text[1:-1]  # without the braces of the outer mapping


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
