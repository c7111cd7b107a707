"""What a check is, what it is asked, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warning", "problem"]
DEFECT = (
    "This is a defect of raypose or of a library it uses: please report what raypose doctor "
    "--json prints."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        status: `ok`; `warning` where a run works, but slower or less surely than it could;
            `problem` where something will not work.
        found: what was found, in a sentence without a full stop.
        advice: what to do about it; empty if nothing.
        facts: the same as values, for programs.
        name: name of the check.
        seconds: how long the check took.
    """

    status: Status
    found: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the doctor checks; empty if not given.

    Attributes:
        model: directory or URL of a model.
        video: path or URL of a video.
        scratch_dir: directory for copies of videos.
        device: `auto`, `cpu` or `cuda`.
    """

    model: str = ""
    video: str = ""
    scratch_dir: str = ""
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: shown in the report.
        find: performs the check; an exception becomes a problem.
        limit_s: seconds after which it is stopped and counts as a problem.
        needs: attributes of `Asked` without which the check is skipped.
    """

    name: str
    find: Callable[[Asked], Finding]
    limit_s: float = 30.0
    needs: tuple[str, ...] = ()

    def concerns(self, asked: Asked) -> bool:
        """Whether everything that it needs was given."""
        return all(getattr(asked, name) for name in self.needs)
