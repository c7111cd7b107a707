"""What a step hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """Results of a step, and what is to be told of them.

    Attributes:
        results: one value (or `Failure`) for each output of the task.
        made: paths of the files committed.
        facts: what is worth telling.
        warnings: what went well enough, but should be known.
    """

    results: list[Any]
    made: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
