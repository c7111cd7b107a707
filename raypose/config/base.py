"""What all configs have in common: frozen, checked when made, and refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from raypose.config.options import option_name
from raypose.config.schemas import FieldPath, finding
from raypose.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


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
