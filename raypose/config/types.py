"""Types of settings: what each takes from a command line, a file or a notebook, and in what words
it is refused.

Values are parsed as the command line writes them (`top,side`), and refused where they only look
right: `true` is no number, no number is infinite, and no path is empty.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from raypose.config.schemas import Allowed
from raypose.storage import AnyPath, as_path, local_path
from raypose.storage.paths import StrPath

_BILLION = 1_000_000_000

if TYPE_CHECKING:
    _Held = TypeVar("_Held", covariant=True)
    _Taken = TypeVar("_Taken", contravariant=True)

    class Takes(Generic[_Held, _Taken]):
        """A field that holds one type and takes another, wider one, for editors and checkers."""

        def __get__(self, config: object, owner: Any = None) -> _Held: ...
        def __set__(self, config: object, value: _Taken) -> None: ...

else:

    class Takes:
        """The type that the field holds; validators make it of what is taken."""

        def __class_getitem__(cls, types: tuple[Any, Any]) -> Any:
            return types[0]


# Defaults of such fields; a checker would take their own types for the fields'.
NOTHING: Any = None
EMPTY: Any = ()


def comma_separated(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def split(value: Any) -> Any:
    """Names as the command line writes them: `top,side`."""
    if not isinstance(value, str):
        return value
    if not comma_separated(value):
        raise AssertionError  # `,` names nothing; `Allowed` says the rest
    return comma_separated(value)


def _path(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if not text or "\0" in text:
            raise AssertionError  # `Allowed` says the rest
    elif not hasattr(value, "fs"):  # a path in a store
        raise AssertionError
    return as_path(value)


def _local_path(value: Any) -> Any:
    if isinstance(value, str | os.PathLike) and local_path(value) is None:
        raise ValueError("it is read and written as a directory, and can't be a URL")
    return _path(value)


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise AssertionError  # `true` would be 1
    return value


def _texts(value: Any) -> Any:
    """One or many texts or paths; `label: full` in a file means the same as `--label full`."""
    if not isinstance(value, Iterable) or isinstance(value, str):
        return (_text(value),)
    if isinstance(value, Mapping | bytes):
        return value
    return tuple(map(_text, value))


def _words(value: Any) -> Any:
    """One or many texts, also with commas between: `nwb,slp`."""
    texts = _texts(value)
    if not isinstance(texts, tuple):
        return texts
    parts = (
        (comma_separated(text) or (text,)) if isinstance(text, str) else (text,) for text in texts
    )
    return tuple(itertools.chain.from_iterable(parts))


def _text(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value) if hasattr(value, "fs") else value


def distinct(names: Sequence[str]) -> Sequence[str]:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is named twice")
    return names


def one_or_many(item: dict[str, Any]) -> WithJsonSchema:
    """What a JSON schema says of one value or a list of them."""
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item}]})


def _at_least(least: int) -> Allowed:
    return Allowed(f"a whole number of at least {least}", "N")


# Workers may run in another directory than the one that a path was written in: all are absolute.
_WRITTEN = PlainSerializer(lambda path: None if path is None else str(path))
_PATH = Allowed("a path", "PATH")
_PATH_SCHEMA = WithJsonSchema({"type": ["string", "null"]})
Place = Annotated[
    Takes[AnyPath | None, StrPath | AnyPath | None],
    BeforeValidator(_path),
    _WRITTEN,
    _PATH,
    _PATH_SCHEMA,
]
LocalPlace = Annotated[
    Takes[Path | None, StrPath | None], BeforeValidator(_local_path), _WRITTEN, _PATH, _PATH_SCHEMA
]

Flag = Annotated[bool, Allowed("true or false")]
ONE_OR_MANY = BeforeValidator(_texts)
WORDS = BeforeValidator(_words)
EACH_ONCE = AfterValidator(lambda values: tuple(dict.fromkeys(values)))
_TEXTS = Allowed("text, or a list of texts")
ONE_OR_MANY_SCHEMA = one_or_many({"type": "string"})
Texts = Annotated[
    Takes[tuple[str, ...], StrPath | Iterable[StrPath]], ONE_OR_MANY, _TEXTS, ONE_OR_MANY_SCHEMA
]
Names = Annotated[
    Takes[tuple[str, ...], str | Iterable[str]],
    BeforeValidator(split),
    AfterValidator(distinct),
    Allowed("names with commas between, or a list of names", "NAME,NAME"),
    ONE_OR_MANY_SCHEMA,
]

_NO_BOOL = BeforeValidator(_no_bool)
AtLeastZero = Annotated[int, Field(ge=0, le=_BILLION), _NO_BOOL, _at_least(0)]
Count = Annotated[int, Field(ge=1, le=_BILLION), _NO_BOOL, _at_least(1)]
AtLeastTwo = Annotated[int, Field(ge=2, le=_BILLION), _NO_BOOL, _at_least(2)]
AtLeastThree = Annotated[int, Field(ge=3, le=_BILLION), _NO_BOOL, _at_least(3)]
Frame = Annotated[int, Field(ge=0, le=2**53), _NO_BOOL]
_TRAIL = Allowed("a number of frames from 0 to 1000", "FRAMES")
Trail = Annotated[int, Field(ge=0, le=1000), _NO_BOOL, _TRAIL]
_SECONDS = Allowed("a number of seconds above 0 and up to a day", "SECONDS")
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False), _NO_BOOL, _SECONDS]
_DELAY = Allowed("a number of seconds from 0 to a day", "SECONDS")
Delay = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False), _NO_BOOL, _DELAY]
_GB = Allowed("a number of GB above 0", "GB")
Gigabytes = Annotated[float, Field(gt=0, le=_BILLION, allow_inf_nan=False), _NO_BOOL, _GB]
_PERCENT = Allowed("a percentage above 0 and up to 100", "PERCENT")
Percentage = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False), _NO_BOOL, _PERCENT]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _NO_BOOL]
