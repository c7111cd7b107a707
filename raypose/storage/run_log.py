"""The run directory: `run.json` (what was asked for) and `events.jsonl` (what happened).

Only the driver writes them; anything that sees the directory can read them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raypose.errors import OutputError, UsageError, from_os_error
from raypose.limits import MAX_RUN_JSON_BYTES
from raypose.storage import regular_files
from raypose.storage.files import store_of
from raypose.text import json_text

DIRECTORY = "raypose"
"""Name of the run directory in the output directory."""

HEARTBEAT_S = 15.0
"""Seconds between two heartbeats in the log of a run."""

_ERRORS = "surrogateescape"  # names of files need not be UTF-8
_EVENTS = "events.jsonl"
DESCRIPTION = "run.json"


class RunLog:
    """The run directory, made if it is missing, as the driver writes it.

    Raises:
        OutputError: the directory can't be made or written to; any method may raise it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / _EVENTS
        self._lock = threading.Lock()  # heartbeats come from another thread
        with self._writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            if self._path.is_fifo():
                regular_files.check(self._path)  # opening a pipe would wait for a reader
            torn = _ends_within_a_line(self._path)
            self._events = self._path.open("a", encoding="utf-8", errors=_ERRORS)
            if torn:
                self._events.write("\n")

    def describe(self, content: Mapping[str, Any]) -> None:
        """Write `run.json`: what was asked for, and what was planned.

        An iterator becomes a list, of which only one item is in memory at a time: a large plan
        has hundreds of thousands of outputs.
        """
        path = self.directory / DESCRIPTION
        with self._writing(path):
            store_of(path).write(path, b"".join(_pieces(content)))

    def event(self, name: str, /, **content: Any) -> None:
        """Append one event; the system has it when this returns."""
        line = {"time": round(time.time(), 3), "event": name, **content}
        text = json_text(line, default=str) + "\n"
        with self._writing(self._path), self._lock:
            self._events.write(text)
            self._events.flush()

    def close(self) -> None:
        with self._writing(self._path):  # what could not be written before can't be now
            self._events.close()

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            named = from_os_error(error)
            message = named.message if named else str(error)
            hint = "Free space, or choose another place with -o or --run-dir."
            raise OutputError(message, path=path, hint=hint) from error


def _pieces(content: Mapping[str, Any]) -> Iterator[bytes]:
    """A description as JSON, with each item of its lists in a line of its own."""
    before = "{"
    for name, value in content.items():
        yield f"{before}\n {json_text(name)}: ".encode()
        before = ","
        if not isinstance(value, list | Iterator):
            yield _encoded(json_text(value, default=str))
            continue
        between = "["
        for item in value:
            yield _encoded(f"{between}\n  {json_text(item, default=str)}")
            between = ","
        yield b"[]" if between == "[" else b"\n ]"
    yield b"{}\n" if before == "{" else b"\n}\n"


def _encoded(text: str) -> bytes:
    return text.encode(errors=_ERRORS)


def read_description(directory: Path) -> Mapping[str, Any]:
    """What `run.json` says; empty where there is none, or it can't be read."""
    try:
        content = regular_files.read_file(directory / DESCRIPTION, MAX_RUN_JSON_BYTES)
        found = json.loads(content.decode(errors=_ERRORS))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def heartbeat(
    log: RunLog, running: Callable[[], Any], *, every_s: float = HEARTBEAT_S
) -> Iterator[None]:
    """Inside the block, log an event `alive` every few seconds, with what `running` returns.

    Without it, a run whose driver was killed would look like one in a long task.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(every_s):
            try:
                log.event("alive", running=running())
            except OutputError:
                return  # the run's own next event reports it

    thread = threading.Thread(target=beat, name="raypose-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def find_run_dir(place: Path) -> Path:
    """The run directory that a place stands for: itself, or the one in an output directory."""
    below = place / DIRECTORY
    return below if not (place / _EVENTS).exists() and (below / _EVENTS).exists() else place


def read_events(
    directory: Path, on_unreadable: Callable[[bytes], None] | None = None
) -> Iterator[dict[str, Any]]:
    """The events of a run; `on_unreadable` is called with each whole line that is none.

    Raises:
        UsageError: it is not the directory of a run.
    """
    try:
        with regular_files.open_file(directory / _EVENTS) as file:
            for line in file:
                event = _event_in(line)
                if event is not None:
                    yield event
                elif on_unreadable is not None and line.endswith(b"\n") and line.strip():
                    on_unreadable(line)
    except OSError as error:
        hint = "Give the directory of a run's outputs (-o), or its run directory."
        raise UsageError("holds no run of raypose", path=directory, hint=hint) from error


def _event_in(line: bytes) -> dict[str, Any] | None:
    try:
        # A line that is torn may be torn within a character.
        event = json.loads(line.decode(errors=_ERRORS))
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    time_s = event.get("time")  # since the epoch, and before the year 5000
    return event if isinstance(time_s, int | float) and 0 <= time_s < 1e11 else None


def _ends_within_a_line(path: Path) -> bool:
    """True where an earlier run was killed while it wrote an event."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False  # missing, or empty
