"""Schemas of what people write, and their findings as sentences.

A schema is a Pydantic model whose fields say, by `Allowed`, what may stand there. `finding` turns
Pydantic's errors into one sentence in those words; Pydantic's own are never shown.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from raypose.text import shown

_MOST_CHARACTERS = 60
_MOST_NAMED = 5
FieldPath = tuple[str, ...]
Mark = TypeVar("Mark")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a field may hold: `words` after "must be" in a message, `metavar` in `--help`."""

    words: str
    metavar: str = ""


def only(allowed: Callable[[Any], bool]) -> AfterValidator:
    def check(value: Any) -> Any:
        if not allowed(value):
            raise ValueError
        return value

    return AfterValidator(check)


def finding(
    error: ValidationError,
    schema: type[BaseModel],
    *,
    given: object = None,
    name_of: Callable[[FieldPath], str] = ".".join,
) -> tuple[str, str]:
    """What is wrong, in one sentence, and the nearest names and values as a hint; empty if none.

    Values are shown as they stand in `given`, of which the `schema` was to be made; `name_of` is
    the user's name of a field, from its path in the schema.
    """
    sentences: dict[FieldPath | str, str] = {}
    guesses: list[str] = []
    for item in error.errors(include_url=False):
        path, field = field_at(schema, item["loc"])
        kind, value = item["type"], _as_written(given, path, item["input"])
        if kind == "extra_forbidden":
            key = str(item["loc"][len(path)])
            sentences.setdefault((*path, key), f"there is no setting {quoted(key)}")
            section = schema if field is None else model_of(field.annotation) or schema
            names = {name: name_of((*path, name)) for name in section.model_fields}
            guesses += nearest(key, {**names, **{name: name for name in names.values()}})
        elif kind == "value_error" and (not path or field is None):
            sentences.setdefault(str(item["ctx"]["error"]), str(item["ctx"]["error"]))
        elif path in sentences:
            continue
        elif kind == "missing" and len(path) == len(item["loc"]):
            sentences[path] = f"{name_of(path)} is missing"
        elif kind == "value_error":
            shown_value = f" is {quoted(value)}" if value not in ((), [], "") else ""
            sentences[path] = f"{name_of(path)}{shown_value}: {item['ctx']['error']}"
        else:
            choices = [] if field is None else choices_of(field.annotation)
            words = [mark.words for mark in marks_of(field, Allowed)] if field else []
            allowed = [*words, listed(choices) if choices else "of another type"][0]
            sentences[path] = f"{name_of(path)} is {quoted(value)}, and must be {allowed}"
            if isinstance(value, str):
                guesses += nearest(value, {choice: choice for choice in choices})
    named = list(sentences.values())
    more = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return "; ".join(named[:_MOST_NAMED]) + more, _question(guesses)


def quoted(value: object) -> str:
    """A value as it can be shown: short, in one line, text in quotes."""
    try:
        text = shown(repr(value))
    except Exception:  # a number of more digits than Python turns into text
        return f"something of type {type(value).__name__}"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def nearest(word: str, known: Mapping[str, str]) -> list[str]:
    """What the known word most like this one stands for, if any is like it."""
    names = {_folded(name): stands_for for name, stands_for in known.items()}
    text = _folded(word[:_MOST_CHARACTERS])
    return [names[name] for name in difflib.get_close_matches(text, names, n=1, cutoff=0.6)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question for a word that is not among the known ones; empty if none is like it."""
    return _question(nearest(word, {name: name for name in known}))


def _question(guesses: Iterable[str]) -> str:
    words = " and ".join(dict.fromkeys(guesses))
    return f"Did you mean {words}?" if words else ""


def _folded(name: str) -> str:
    return name.lstrip("-").replace("-", "_").casefold()


def listed(words: Sequence[str]) -> str:
    """`a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def field_at(
    schema: type[BaseModel], loc: Sequence[int | str]
) -> tuple[FieldPath, FieldInfo | None]:
    """The deepest field of a schema that Pydantic's location leads to, and its path."""
    path: list[str] = []
    field: FieldInfo | None = None
    model: type[BaseModel] | None = schema
    for part in loc:
        if model is None or not isinstance(part, str) or part not in model.model_fields:
            break
        field = model.model_fields[part]
        path.append(part)
        model = model_of(field.annotation)
    return tuple(path), field


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The schema that a field holds; None where it holds a value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := model_of(a)) is not None), None)


def marks_of(field: FieldInfo, kind: type[Mark]) -> list[Mark]:
    """What of a kind stands beside a field's type in `Annotated`, and then within the type."""

    def within(parts: Iterable[Any]) -> Iterator[Mark]:
        for part in parts:
            if isinstance(part, kind):
                yield part
            yield from within((*getattr(part, "__metadata__", ()), *get_args(part)))

    return [*within(field.metadata), *within([field.annotation])]


def choices_of(annotation: Any) -> list[str]:
    """The words of a `Literal` type, in a union too."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [word for part in get_args(annotation) for word in choices_of(part)]


def _as_written(given: object, path: FieldPath, value: object) -> object:
    """The text that a user wrote, where a value was parsed from one."""
    for name in path:
        given = given.get(name) if isinstance(given, Mapping) else None
    return given if isinstance(given, str) else value
