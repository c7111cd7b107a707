"""A settings file to start from: `run.yaml` with everything commented out, and its JSON schema."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import yaml

from raypose.config.eks_options import EksOptions
from raypose.config.options import Option, help_with_choices, option_name
from raypose.config.panels import ADVANCED, PANELS
from raypose.config.schemas import FieldPath, field_at
from raypose.config.settings import RunConfig, options_in_order

_WIDTH = 80
_HEAD = """\
# Settings of raypose run, plan and watch, each with its default. Remove the #
# before those that you change, and use them with
#   raypose run --config run.yaml
# Options on the command line take precedence.
"""
_EXAMPLES = {"videos": ["videos/"], "models": ["models/a"]}  # of what has no default
_SECTION = "eks_options"


def commented_settings() -> str:
    """A `run.yaml` with every setting, its help, and its default after a `#`."""
    lines = [_HEAD]
    for panel in PANELS:
        lines.append(f"\n# ---- {panel} ----\n")
        for path in _fields():
            field = field_at(RunConfig, path)[1]
            assert field is not None
            option = Option.of(field)
            if (ADVANCED if option is None else option.panel) != panel:
                continue
            text = help_with_choices(field)
            if option is not None and option.default:
                text += f" Default: {option.default}."
            lines += [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2)]
            value = _EXAMPLES.get(path[-1], _plain(field.get_default()))
            lines.append(f"#{_line(path, value)}\n")
    return "\n".join(lines)


def json_schema() -> dict[str, Any]:
    """The JSON schema of such a file.

    Dashes and underscores mean the same in names, and a setting may have its option's name or its
    field's. Editors are to propose only the names of `commented_settings`.
    """
    made = RunConfig.model_json_schema()
    of_run, of_eks = made["properties"], made["$defs"][EksOptions.__name__]["properties"]
    proposed: dict[str, Any] = {}
    accepted: dict[str, Any] = {}
    for path in _fields():
        described = (of_run if len(path) == 1 else of_eks)[path[-1]]
        described.pop("title", None)
        key = _key(path)
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
        "title": "Settings of raypose run",
        "type": "object",
        "properties": proposed,
        "patternProperties": accepted,
        "additionalProperties": False,
    }


def _spellings(name: str) -> str:
    return f"^{re.sub('[-_]', '[-_]', name)}$"


def _fields() -> list[FieldPath]:
    """All settings, as `--help` orders them: those that are options, then those of files alone."""
    rest: list[FieldPath] = [(name,) for name in RunConfig.model_fields if name != _SECTION]
    rest += [(_SECTION, name) for name in EksOptions.model_fields]
    return list(dict.fromkeys([*(path for path, _, _ in options_in_order(RunConfig)), *rest]))


def _key(path: FieldPath) -> str | None:
    """The name of a setting in a file; None where it needs its section."""
    name = option_name(RunConfig, path).lstrip("-")
    return None if "." in name else name


def _line(path: FieldPath, value: Any) -> str:
    key = _key(path)
    entry = {_SECTION: {path[-1]: value}} if key is None else {key: value}
    text = yaml.safe_dump(entry, default_flow_style=True, width=1000).strip()
    return text[1:-1]  # without the braces of the outer mapping


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
