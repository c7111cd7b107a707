"""The events that `status` understands, one schema for each kind.

A log is written line by line by a driver that may be killed, may be of another version, or may
share its directory with another program. What does not fit its schema is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raypose.storage.run_log import read_events

Number = Annotated[int, Field(ge=0, le=2**53)]


Damage = dict[str, dict[Literal["ok", "suspect", "corrupt", "missing"], Number]]
"""Path of a video → frames of each status."""


class _Event(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    damaged: Damage = {}


class _Planned(_Event):
    host: str = ""
    pid: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class _Started(_Event):
    on: str
    tasks: dict[str, Number] = {}
    n_frames: Number = 0


class _Alive(_Event):
    running: dict[str, Annotated[list[Number], Field(min_length=3, max_length=3)]]


class _TaskStarted(_Event):
    task: str


class _Failed(_Event):
    path: str
    message: str
    hint: str
    skipped: bool


class _Facts(_Event):
    n_frames: Number = 0


class _TaskFinished(_Event):
    task: str
    kind: str
    subject: str
    n_outputs: Number = 1
    facts: _Facts
    failures: list[_Failed] = []


_SCHEMAS: Mapping[str, type[_Event]] = {
    "planned": _Planned,
    "started": _Started,
    "alive": _Alive,
    "task started": _TaskStarted,
    "task finished": _TaskFinished,
}


def fitting_events(
    directory: Path, on_unreadable: Callable[[object], None]
) -> Iterator[dict[str, Any]]:
    """The events of a run that fit their schemas.

    Args:
        directory: of the run.
        on_unreadable: is told of each line that is left out.

    Raises:
        OutputError: it is not the directory of a run.
    """
    for event in read_events(directory, on_unreadable):
        try:
            _SCHEMAS.get(event["event"], _Event).model_validate(event)
        except ValidationError:
            on_unreadable(event)
            continue
        yield event
