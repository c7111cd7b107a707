"""Types of settings: what each takes from a command line, a file or a notebook, and its words.

Values are parsed as the command line writes them (`top,side`), and refused where they only look
like what is meant: `true` is no number, no number is infinite, and no path is empty.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from raypose.config.schemas import Allowed
from raypose.storage import AnyPath, as_path, local_path

_BILLION = 1_000_000_000
_DAY_S = 86_400


def parts_of(text: str) -> tuple[str, ...]:
    """The names between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def split(value: Any) -> Any:
    """Names as the command line writes them: `top,side`."""
    if not isinstance(value, str):
        return value
    if not parts_of(value):
        raise AssertionError  # `,` names nothing; `Allowed` says the rest
    return parts_of(value)


def _place(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if not text or "\0" in text:
            raise AssertionError  # `Allowed` says the rest
    elif not hasattr(value, "fs"):  # a path in a store
        raise AssertionError
    return as_path(value)


def _local_place(value: Any) -> Any:
    if isinstance(value, str | os.PathLike) and local_path(value) is None:
        raise ValueError("it is read and written as a directory, and can't be a URL")
    return _place(value)


def _named(value: Any) -> str | None:
    return None if value is None else str(value)


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise AssertionError  # `true` would be 1
    return value


def _one_is_a_list(value: Any) -> Any:
    # `label: full` in a file means the same as `--label full`.
    return (value,) if isinstance(value, str) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name in value if value.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is named twice")
    return value


# Workers may run in another directory than the one that a path was written in: all are absolute.
_PATH = Allowed("a path")
Place = Annotated[AnyPath | None, BeforeValidator(_place), PlainSerializer(_named), _PATH]
LocalPlace = Annotated[Path | None, BeforeValidator(_local_place), PlainSerializer(_named), _PATH]

Flag = Annotated[bool, Allowed("true or false")]
ONE_IS_A_LIST = BeforeValidator(_one_is_a_list)
Texts = Annotated[tuple[str, ...], ONE_IS_A_LIST, Allowed("text, or a list of texts")]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(split),
    AfterValidator(_distinct),
    Allowed("names with commas between, or a list of names"),
]

_Whole = Annotated[int, BeforeValidator(_no_bool)]
_Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Count = Annotated[_Whole, Field(ge=1, le=_BILLION), Allowed("a whole number of at least 1")]
Frame = Annotated[_Whole, Field(ge=0, le=2**53)]
AtLeastTwo = Annotated[_Whole, Field(ge=2, le=_BILLION), Allowed("a whole number of at least 2")]
AtLeastThree = Annotated[_Whole, Field(ge=3, le=_BILLION), Allowed("a whole number of at least 3")]
Seconds = Annotated[
    _Number, Field(gt=0, le=_DAY_S), Allowed("a number of seconds above 0 and up to a day")
]
Gigabytes = Annotated[_Number, Field(gt=0, le=_BILLION), Allowed("a number of GB above 0")]
Percentage = Annotated[_Number, Field(gt=0, le=100), Allowed("a percentage above 0 and up to 100")]
Positive = Annotated[_Number, Field(gt=0)]
