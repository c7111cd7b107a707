"""How `--help` looks: usage, then arguments, options and commands under headings, examples last.

Made from what Click knows of a command. Rich is imported only when help is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_WIDEST = 100
_NAMES = 28  # columns for the names of options; their help stands to the right
_NAME_STYLE = "cyan"


def print_help(command: Any, context: Any) -> None:
    """Print the help of a command, or of the app."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST)
    _print_wrapped(console, Text(usage_of(command, context)), 7, Text("Usage:", "bold"))
    console.print()
    _print_wrapped(console, Text.from_markup(" ".join((command.help or "").split())), 0)
    for heading, rows in _sections(command, context).items():
        console.print()
        console.print(Text(heading, "bold"))
        for name, text in rows:
            _print_row(console, name, Text.from_markup(text))
    if command.epilog:
        console.print()
        console.print(Text("Examples", "bold"))
        for line in command.epilog.splitlines():
            console.print(Text(f"  {line.strip()}"), soft_wrap=True)


def usage_of(command: Any, context: Any) -> str:
    """`raypose report [OPTIONS] DIR`."""
    words = [context.command_path, "[OPTIONS]"]
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            name = _name_of_argument(parameter)
            words.append(name if parameter.required else f"[{name}]")
    if hasattr(command, "commands"):
        words.append("COMMAND …")
    return " ".join(words)


def words_for_value(parameter: Any) -> str:
    """The placeholder for the value of an option: its metavar, its choices, or its name."""
    if parameter.metavar is not None:
        return str(parameter.metavar)
    if getattr(parameter, "is_flag", False):
        return ""
    # Typer keeps the choices here; its versions before 0.26 had Click's types.
    kind = getattr(parameter, "type_descriptor", None) or parameter.type
    choices = getattr(kind, "choices", None)
    return "|".join(map(str, choices)) if choices else str(parameter.name).upper()


def _sections(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """Heading → the names and the help below it."""
    sections: dict[str, list[tuple[str, str]]] = {}
    others: list[tuple[str, str]] = []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False):
            continue
        is_argument = parameter.param_type_name == "argument"
        # The option --help is Click's own, which knows no headings.
        heading = getattr(parameter, "rich_help_panel", None) or (
            "Arguments" if is_argument else ""
        )
        name = _name_of_argument(parameter) if is_argument else _names_of_option(parameter)
        rows = sections.setdefault(heading, []) if heading else others
        rows.append((name, _help_of(parameter)))
    for heading, name, text in _commands(command):
        sections.setdefault(heading, []).append((name, text))
    return {**sections, "Options": others} if others else sections


def _commands(command: Any) -> Iterator[tuple[str, str, str]]:
    for name, one in getattr(command, "commands", {}).items():
        yield one.rich_help_panel or "Commands", name, one.help or ""


def _help_of(parameter: Any) -> str:
    """The help text, with the default if there is one."""
    default = parameter.default if parameter.show_default else None
    if parameter.required and parameter.param_type_name == "option":
        note = r" [dim]\[required][/]"
    else:
        is_told = default is not None and default is not False
        note = rf" [dim]\[default: {default}][/]" if is_told else ""
    return f"{parameter.help or ''}{note}"


def _name_of_argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.nargs == 1 or name.endswith("…") else f"{name}…"


def _names_of_option(parameter: Any) -> str:
    names = sorted(parameter.opts, key=lambda name: not name.startswith("--"))
    value = words_for_value(parameter)
    text = " ".join(filter(None, (", ".join(names), value)))
    return " / ".join((text, *parameter.secondary_opts))


def _print_row(console: Console, name: str, text: Text) -> None:
    """A name and its help; a long name gets a line of its own."""
    from rich.text import Text

    left = Text(f"  {name}", _NAME_STYLE)
    if left.cell_len > _NAMES - 2:
        console.print(left, soft_wrap=True)
        left = Text()
    _print_wrapped(console, text, _NAMES, left)


def _print_wrapped(console: Console, text: Text, indent: int, left: Text | None = None) -> None:
    """Text in a column; what stands to the left of its first line."""
    from rich.text import Text

    for line in text.wrap(console, console.width - indent) or [Text()]:
        line.rstrip()
        first = Text() if left is None else left
        first.pad_right(indent - first.cell_len)
        console.print(first + line, soft_wrap=True)
        left = None
