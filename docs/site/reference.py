"""The parts of the reference that are made from the code: command line and settings.

They read what Typer and the configs know, so a new option or command is there by itself.
`python docs/site/reference.py` prints both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic.fields import FieldInfo
from rich.text import Text

from raypose.cli.base import all_commands
from raypose.cli.help import usage_of, words_for_value
from raypose.config import EksOptions, RunConfig
from raypose.config.options import Option, help_with_choices
from raypose.config.panels import PANELS
from raypose.config.schemas import model_of

_FILES_ONLY = "Only in a file or in Python"
# How the help ends where an option has a default.
_DEFAULT = re.compile(r"\s*\[(?:default: )?([^\[\]]+)\]$")


def command_line() -> str:
    """All commands, with each argument and option by topic."""
    group = all_commands()
    summaries = [
        (f"[`{name}`](#{anchor(name)})", _plain(command.help)[0])
        for name, command in group.commands.items()
    ]
    common = [p for p in group.params if p.param_type_name == "option"]
    parts = [
        _table(("command", "what it does"), summaries),
        "Before a command:\n",
        _options(common),
        *(_command(name, command) for name, command in group.commands.items()),
    ]
    return "\n".join(parts)


def settings() -> str:
    """Every field of `RunConfig`, by topic."""
    parts: list[str] = []
    by_topic: dict[str, list[tuple[str, ...]]] = {topic: [] for topic in (*PANELS, _FILES_ONLY)}
    for name, field in RunConfig.model_fields.items():
        if model_of(field.annotation) is None:
            option = Option.of(field)
            topic = _FILES_ONLY if option is None else option.panel
            by_topic[topic].append(_setting(name, field, option))
    head = ("setting", "option", "default", "meaning")
    for topic, rows in by_topic.items():
        parts += [f"## {topic}\n", _table(head, rows)]
    rows = [_setting(name, f, Option.of(f)) for name, f in EksOptions.model_fields.items()]
    parts += ["## Smoothing (section `eks_options`)\n", _table(head, rows)]
    return "\n".join(parts)


def anchor(name: str) -> str:
    return f"raypose-{name}"


def _command(name: str, command: Any) -> str:
    context = command.make_context(f"raypose {name}", [], resilient_parsing=True)
    usage = usage_of(command, context)
    parts = [f"## raypose {name}\n", _plain(command.help)[0] + "\n", f"```text\n{usage}\n```\n"]
    rows = [
        (f"`{p.metavar or p.name}`", _plain(getattr(p, "help", ""))[0])
        for p in command.params
        if p.param_type_name == "argument"
    ]
    if rows:
        parts.append(_table(("argument", "meaning"), rows))
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            panel = getattr(parameter, "rich_help_panel", None) or ""
            panels.setdefault(panel, []).append(parameter)
    for panel, options in panels.items():
        if panel and len(panels) > 1:
            parts.append(f"**{panel}**\n")
        parts.append(_options(options))
    return "\n".join(parts)


def _options(options: Iterable[Any]) -> str:
    return _table(("option", "default", "meaning"), [_option(o) for o in options])


def _option(option: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{flag}`" for flag in option.opts)
    if option.secondary_opts:
        names += " / " + ", ".join(f"`{flag}`" for flag in option.secondary_opts)
    if not option.is_flag:
        names += f" `{words_for_value(option)}`"
    meaning, default = _plain(option.help)
    if not default and option.show_default and option.default not in (None, False, (), ""):
        default = "" if callable(option.default) else str(option.default)
    if option.envvar:
        meaning += f" Also from the variable `{option.envvar}`."
    return names, default, meaning


def _plain(text: str | None) -> tuple[str, str]:
    """A help text without Rich's markup, and the default that it ends with."""
    plain = " ".join(Text.from_markup(text or "").plain.split())
    found = _DEFAULT.search(plain)
    return (plain[: found.start()], found.group(1)) if found else (plain, "")


def _setting(name: str, field: FieldInfo, option: Option | None) -> tuple[str, ...]:
    flag = "" if option is None else option.flags_of(name)[0]
    shown = f"`{flag}`" if flag.startswith("-") else "the arguments" if flag else ""
    default = option.default if option is not None and option.default else _value(field)
    return f"`{name}`", shown, default, help_with_choices(field)


def _value(field: FieldInfo) -> str:
    if field.is_required() or field.default in (None, (), ""):
        return ""
    value = field.default
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """A text in a table: bars and angle brackets mean something else there, outside of code."""
    text = text.replace("|", "\\|")
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;") for p in pieces)


if __name__ == "__main__":
    print(command_line(), settings(), sep="\n")
