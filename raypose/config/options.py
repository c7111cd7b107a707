"""What all configs have in common: frozen, checked when made, and refused in one sentence.

What the command line and a file call a setting is told beside each field, by an `Option`. The
command line is made of these (`cli.base`); messages and files name fields by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from raypose.config.schemas import (
    FieldPath,
    choices_of,
    did_you_mean,
    field_at,
    finding,
    listed,
    marks_of,
    model_of,
    quoted,
)
from raypose.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Option:
    """How the command line takes a field."""

    panel: str  # the heading under which `--help` lists it, one of `panels`
    # Its names, first the one that messages use; by default `--` and the field's name. One without
    # dashes is that of a positional argument.
    flags: tuple[str, ...] = ()
    default: str = ""  # shown in the place of the field's own
    repeat: bool = False  # whether it may be given several times
    metavar: str = ""  # stands for the value in `--help`, where the field's type has no word
    networks: bool = False  # whether only commands that run networks have it
    values: str = ""  # what the shell completes a value to: `models`, `videos`

    @classmethod
    def of(cls, field: FieldInfo | None) -> Option | None:
        """That of a field; None where it can be set in files and notebooks alone."""
        return None if field is None else next(iter(marks_of(field, cls)), None)

    def flags_of(self, name: str) -> tuple[str, ...]:
        return self.flags or (f"--{name.replace('_', '-')}",)


def options_of(config: type[BaseModel]) -> Iterator[tuple[FieldPath, FieldInfo, Option]]:
    """All fields with an option, those of a section (`eks_options`) in its place."""
    for name, field in config.model_fields.items():
        section = model_of(field.annotation)
        option = Option.of(field)
        if option is not None:
            yield (name,), field, option
        elif section is not None:
            for path, inner, of_inner in options_of(section):
                yield (name, *path), inner, of_inner


def help_of(field: FieldInfo) -> str:
    """The help of a field in one line."""
    return " ".join((field.description or "").split())


def help_with_choices(field: FieldInfo) -> str:
    """The same, with the words that the field takes, as files and pages show it."""
    choices = choices_of(field.annotation)
    return help_of(field) + (f" One of {listed(choices)}." if choices else "")


def default_of(field: FieldInfo, option: Option, flag: str = "") -> str:
    """What holds where a field is not given, in words; empty where nothing needs to be said."""
    if option.default:
        return option.default
    value = None if field.is_required() else field.default
    if isinstance(value, bool):
        return ("on" if value else "off") if "/" in flag else ""
    return f"{value:g}" if isinstance(value, float) else str(value) if value else ""


def option_name(config: type[BaseModel], field: FieldPath) -> str:
    """What the command line calls a field: `("eks_options", "mode")` is `--eks-mode`."""
    option = Option.of(field_at(config, field)[1])
    return option.flags_of(field[-1])[0].partition("/")[0] if option else ".".join(field)


def fields_of(config: type[BaseModel], content: Mapping[Any, Any], path: object) -> dict[str, Any]:
    """The settings in a file by the names of the fields; it may use the command line's names too.

    Raises:
        UsageError: a setting does not exist, or comes twice, under two names.
    """
    fields = [field for field, _, _ in options_of(config)]
    known = {_plain(option_name(config, field).lstrip("-")): field for field in fields}
    values: dict[str, Any] = {}
    unknown: list[str] = []

    def put(field: FieldPath, value: Any) -> None:
        *sections, name = field
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        if not isinstance(place, dict) or name in place:
            message = f"{name} is set twice, under two names"
            raise UsageError(message, path=path, hint="Set it once.")
        place[name] = value

    for key, value in content.items():
        name = _plain(key)
        declared = config.model_fields.get(name)
        section = None if declared is None else model_of(declared.annotation)
        if section is not None and (value is None or isinstance(value, Mapping)):
            for inner, of_inner in fields_of(section, value or {}, path).items():
                put((name, inner), of_inner)
        elif name in known or declared is not None:
            put(known.get(name, (name,)), value)
        else:
            unknown.append(str(key))
    if unknown:
        names = ", ".join(map(quoted, unknown[:_MOST_NAMED]))
        guess = did_you_mean(unknown[0], [*known, *config.model_fields])
        of_smooth = "" if getattr(config, "predicts", True) else " smooth"
        shows = f"raypose config{of_smooth} shows all settings."
        hint = f"{guess} {shows}".lstrip()
        raise UsageError(f"there is no setting {names}", path=path, hint=hint)
    return values


def _plain(key: object) -> str:
    return str(key).replace("-", "_")


class Checked(BaseModel):
    """Frozen values that make sense; else the constructor raises a `UsageError`.

    The text below a field is its help on the command line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    command: ClassVar[str] = "run"
    """The command whose `--help` describes the fields."""

    if not TYPE_CHECKING:  # so that editors see the fields as arguments

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise self.refusal(error, values) from error

        # Where a config is a field of another, Pydantic checks both in one go.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def refusal(
        cls,
        error: ValidationError,
        given: Mapping[str, Any],
        name_of: Callable[[FieldPath], str] | None = None,
    ) -> UsageError:
        """What Pydantic finds wrong with `given`, by the names that the user knows."""
        name_of = name_of or partial(option_name, cls)
        message, guess = finding(error, cls, given=given, name_of=name_of)
        return UsageError(message, hint=f"{guess} See raypose {cls.command} --help".lstrip())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same with some values changed, which are checked as those of a new config.

        Raises:
            UsageError: a value makes no sense.
        """
        del deep  # all values are frozen
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**kept, **(update or {})})
