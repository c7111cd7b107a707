"""Click's errors about a command line, worded like all other errors of raypose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from raypose.cli.help import usage_of
from raypose.config.schemas import did_you_mean
from raypose.errors import UsageError


def as_usage_error(error: Exception) -> UsageError | None:
    """The error that Click's own stands for; None for any other exception."""
    if not hasattr(error, "format_message"):
        return None
    context: Any = getattr(error, "ctx", None)
    see = f"See {context.command_path} --help" if context is not None else ""
    message, guess = _in_words(error, context)
    return UsageError(message, hint=f"{guess} {see}".strip())


def no_such_command(name: str, known: Iterable[str]) -> UsageError:
    hint = f"{did_you_mean(name, known)} See raypose --help".strip()
    return UsageError(f"there is no command {name}", hint=hint)


def _in_words(error: Any, context: Any) -> tuple[str, str]:
    """The sentence, and the nearest name as a hint."""
    if hasattr(error, "possibilities"):
        known = context.command.get_params(context)
        names = [name for option in known for name in (*option.opts, *option.secondary_opts)]
        options = [name for name in names if name.startswith("-")]
        return f"there is no option {error.option_name}", did_you_mean(error.option_name, options)
    parameter = getattr(error, "param", None)
    if hasattr(error, "param_type") and parameter is not None:
        is_argument = parameter.param_type_name == "argument"
        usage = f"Write {usage_of(context.command, context)}." if is_argument else ""
        return f"{_name(parameter)} is missing", usage
    if isinstance(error, typer.BadParameter) and parameter is not None:
        return f"{_name(parameter)}: {_sentence(error.message)}", ""
    return _sentence(error.format_message()), ""


def _name(parameter: Any) -> str:
    """The name by which the user knows it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return max(parameter.opts, key=len, default=str(parameter.name))


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]
