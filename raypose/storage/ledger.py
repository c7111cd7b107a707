"""What is done, verified: committed outputs, their records, and the run directory.

Beside every output, in a hidden folder, lies a record of what it was made from: fingerprints of
video and checkpoint, settings, and the size and digest of the file. An output is done when its
record says that it was made from just this, and the file is still the one that was committed. A
file that merely exists is not done.

Commits: a file is written under a temporary name in the hidden folder, brought to disk, and
renamed. Whoever is killed before leaves nothing under a final name; two who commit the same
output leave one whole file. For a URL the file is written in scratch, and becomes an object in
one step; the record, an object beside it, comes after it as well. A file that stands in the way
and is not just as raypose committed it, somebody else's or corrected by hand, is moved aside,
never lost.

The run directory holds `run.json` (what was asked for), and `events.jsonl` (what happened, one
event a line, appended as it happens). It is written by the driver alone.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypose import storage
from raypose._version import __version__
from raypose.errors import OutputError, from_os_error
from raypose.storage import AnyPath, scratch
from raypose.storage import regular_files as regular
from raypose.storage.layout import HIDDEN
from raypose.storage.origins import Origin, VideoRead, videos_of
from raypose.storage.records import read_record, record_path
from raypose.text import json_text

Recipe = Mapping[str, Any]
"""What an output is made from, as JSON: fingerprints, settings, versions of the method."""


def digest_of(recipe: Recipe) -> str:
    """Digest of a recipe, the same for equal content whatever the order of its keys."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    content = text.encode(errors="surrogatepass")  # names of files need not be UTF-8
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_file(path: AnyPath) -> str:
    """Digest of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for block in storage.blocks(path):
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an output is done, and if not, why it must be made (again).

    Attributes:
        done: True where the file is the committed one, made from this recipe.
        reason: why not; empty where done.
        facts: what was recorded of the output when it was committed.
        source: path of the video it was made from, as recorded.
        changed: parts of the recipe that differ from the record's.
        foreign: True where a file exists that raypose has no record of.
        recipe: the one of the accepted recipes that it was made from; None where not done.
        digest: of the file's bytes; empty where not done.
    """

    done: bool
    reason: str = ""
    facts: Mapping[str, Any] | None = None
    source: str = ""
    changed: tuple[str, ...] = ()
    foreign: bool = False
    recipe: Recipe | None = None
    digest: str = ""


_ERRORS = "surrogateescape"  # names of files need not be UTF-8


def recorded_digest(output: AnyPath) -> str:
    """Digest of a file as raypose committed it; empty where it has no record of it."""
    record = read_record(output)
    return "" if record is None else str(record["digest"])


def _is_as_committed(output: AnyPath, stat: storage.Stat, record: Mapping[str, Any]) -> bool:
    if stat.size != record["size"]:
        return False
    if not _is_file(output):
        return False
    same = all(record.get(name) == value for name, value in stat.mark.items())
    try:
        return same or bool(digest_file(output) == record["digest"])
    except OSError:
        return False  # what can't be read can't be relied on


def _is_file(output: AnyPath) -> bool:
    """Whether this is a file, and no folder, pipe or device in its place."""
    return not isinstance(output, Path) or regular.is_file(output)


def check(
    output: AnyPath,
    recipe: Recipe,
    *others: Recipe,
    why_stale: Callable[[Mapping[str, Any]], str] = lambda record: "",
) -> Verdict:
    """Whether `output` is done: recorded as made from `recipe`, and unchanged since.

    Args:
        output: the file.
        recipe: what a new one would be made from.
        others: what else will do.
        why_stale: says from the record why the output does not belong to the videos that are
            there now; empty where it does.

    Raises:
        StorageError: the store can't be asked.
    """
    record = read_record(output)
    try:
        stat = storage.stat(output)
    except OSError:
        return Verdict(False, "missing", source=(record or {}).get("source", ""))
    if record is None or not _is_file(output):
        return Verdict(False, "not made by raypose", foreign=True)
    source = record["source"]
    made_from = next((r for r in (recipe, *others) if digest_of(r) == record["recipe"]), None)
    if made_from is None:
        old = record["made_from"]
        changed = tuple(sorted(key for key in {*old, *recipe} if old.get(key) != recipe.get(key)))
        return Verdict(False, f"made with another {', '.join(changed)}", None, source, changed)
    if not _is_as_committed(output, stat, record):
        return Verdict(False, "changed since it was made", source=source)
    stale = why_stale(record)
    if stale:
        return Verdict(False, stale, source=source)
    return Verdict(True, "", record["facts"], source, recipe=made_from, digest=record["digest"])


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record of an output says of its making.

    Attributes:
        digest: of the file's bytes.
        made_from: the recipe.
        origin: the recipe's digest, and the videos that were read.
    """

    digest: str
    made_from: Recipe
    origin: Origin


def recorded(output: AnyPath) -> Recorded | None:
    """What an output was made from, by its record; None where it has none that says so.

    Raises:
        StorageError: the store can't be asked.
    """
    record = read_record(output)
    if record is None:
        return None
    origin = Origin(record["recipe"], videos_of(record) or ())
    return Recorded(record["digest"], record["made_from"], origin)


def source_of(output: AnyPath) -> str:
    """Path of the video that an output was made from, as recorded; empty where nothing says so.

    Raises:
        StorageError: the store can't be asked.
    """
    return str((read_record(output) or {}).get("source", ""))


@contextmanager
def committing(
    output: AnyPath,
    recipe: Recipe,
    *,
    source: str = "",
    facts: dict[str, Any] | None = None,
    videos: Callable[[], Iterable[VideoRead]] = tuple,
) -> Iterator[Path]:
    """Write an output under a temporary name, and commit it when the block ends well.

    Args:
        output: the final path.
        recipe: what it is made from.
        source: path of the video, for the record.
        facts: what to remember of it; may be filled inside the block.
        videos: asked just before the commit for the videos that were read; raises where one is
            no longer what it was, and then nothing is committed.

    Yields:
        The temporary path to write to, a local one with the suffix of `output`.

    Raises:
        OutputError: the file can't be written (disk full, no permission, …).
        StorageError: the object can't be written.
    """
    if isinstance(output, Path):
        folder = output.parent / HIDDEN / "tmp"
    else:
        folder = scratch.current().outgoing
    temporary = folder / f"{_shortened(output.stem)}.{_token()}{output.suffix}"
    try:
        try:
            _touch(temporary)
            yield temporary
            read = [video.as_dict() for video in videos()]
            _commit(temporary, output, recipe, source, facts or {}, read)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        named = from_os_error(error)
        if named is None:
            raise
        # The temporary file is gone, and its name says nothing to anybody.
        path = str(output) if named.path in ("", str(temporary)) else named.path
        raise OutputError(named.message, path=path, hint=named.hint) from error


def _touch(temporary: Path) -> None:
    """Make an empty temporary file, so that nobody takes its folder for an empty one."""
    for attempt in range(4):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch()
            return
        except FileNotFoundError:  # another run has just removed the empty folder
            if attempt == 3:
                raise


def _commit(
    temporary: Path,
    output: AnyPath,
    recipe: Recipe,
    source: str,
    facts: dict[str, Any],
    videos: list[dict[str, Any]],
) -> None:
    digest = digest_file(temporary)
    if storage.exists(output):
        old = read_record(output)
        if old is None or not _is_as_committed(output, storage.stat(output), old):
            _set_aside(output)
    if isinstance(output, Path):
        stat = _rename(temporary, output)
    else:
        stat = storage.put(temporary, output)
    record = {
        "file": output.name,
        "source": source,
        "size": stat.size,
        **stat.mark,
        "digest": digest,
        "recipe": digest_of(recipe),
        "made_from": dict(recipe),
        "videos": videos,
        "facts": facts,
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "raypose": __version__,
    }
    place = record_path(output)
    if isinstance(place, Path) and place.is_dir():
        _set_aside(place)
    write_atomically(place, json_text(record, indent=1))


def _rename(temporary: Path, output: Path) -> storage.Stat:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    # A rename keeps size and time; asked later, they could be another's who commits the same.
    stat = storage.stat(temporary)
    os.replace(temporary, output)
    return stat


def _set_aside(output: AnyPath) -> None:
    """Move what raypose did not make out of the way, under a name that is free."""
    stem = f"{_shortened(output.stem, 100)}.{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    names = (f"{stem}-{n}{output.suffix}" for n in itertools.count())
    if isinstance(output, Path):
        folder = output.parent / HIDDEN / "replaced"
        folder.mkdir(parents=True, exist_ok=True)
        free = (folder / name for name in names)
        os.replace(output, next(path for path in free if not path.exists()))
    else:
        objects = (output.parent / HIDDEN / "replaced" / name for name in names)
        # A copy will do: the new object then takes the place of the old one.
        storage.copy(output, next(path for path in objects if not storage.exists(path)))


def write_atomically(path: AnyPath, text: str) -> None:
    """Write a small text file in one step: readers see the old one or the new one."""
    if not isinstance(path, Path):
        storage.write_bytes(path, text.encode("utf-8", errors=_ERRORS))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_shortened(path.name)}.{_token()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors=_ERRORS)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _shortened(name: str, n_bytes: int = 40) -> str:
    """The beginning of a name, to which something is added: names have a greatest length."""
    encoded = os.fsencode(name)
    if len(encoded) <= n_bytes:
        return name
    # No character is cut in half: not every library takes what is no UTF-8.
    return encoded[:n_bytes].decode(errors="ignore")


_counter = 0


def _token() -> str:
    """A name for a temporary file that says whose it is: `tmp-<host>-<pid>-<n>`."""
    global _counter
    _counter += 1
    host = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
    return f"tmp-{host}-{os.getpid()}-{_counter}"


_TEMPORARY = re.compile(r"\.tmp-(?P<host>[A-Za-z0-9_]+)-(?P<pid>\d+)-\d+(\.[^.]+)?$")
_STALE_S = 24 * 3600.0


def remove_leftovers(folders: Iterable[AnyPath]) -> int:
    """Remove temporary files of dead processes below the hidden folders of output folders.

    A file counts as left over when its process ran on this host and is gone, or when it has
    not been touched for a day.

    Returns:
        The number of files removed.
    """
    removed = 0
    host = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
    for folder in folders:
        if not isinstance(folder, Path):
            continue  # what is not an object yet is in scratch
        hidden = folder / HIDDEN
        for path in (*hidden.glob("*.tmp-*"), *(hidden / "tmp").glob("*.tmp-*")):
            match = _TEMPORARY.search(path.name)
            if match is None:
                continue
            try:
                old = time.time() - path.stat().st_mtime > _STALE_S
                dead = match["host"] == host and not _alive(int(match["pid"]))
                if old or dead:
                    path.unlink()
                    removed += 1
            except OSError:
                continue  # somebody else's, or gone meanwhile
        _remove_if_empty(hidden / "tmp")
    return removed


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # not there, or in use


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class RunLog:
    """The run directory, as the driver writes it.

    Args:
        directory: made if it is not there.

    Raises:
        OutputError: the directory can't be made or written to; any method may raise it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "events.jsonl"
        self._one_at_a_time = threading.Lock()  # the pulse is a thread of its own
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if self._path.is_fifo():
                regular.check(self._path)  # writing to a pipe would wait for a reader
            torn = _ends_within_a_line(self._path)
            self._events = self._path.open("a", encoding="utf-8", errors=_ERRORS)
            if torn:
                self._events.write("\n")
        except OSError as error:
            raise _unwritable(directory, error) from error

    def describe(self, content: Mapping[str, Any]) -> None:
        """Write `run.json`: what was asked for, and what was planned."""
        text = json_text(content, indent=1, default=str)
        path = self.directory / "run.json"
        try:
            write_atomically(path, text)
        except OSError as error:
            raise _unwritable(path, error) from error

    def event(self, name: str, /, **content: Any) -> None:
        """Append one event; it is on its way to disk when this returns."""
        line = {"time": round(time.time(), 3), "event": name, **content}
        text = json_text(line, default=str) + "\n"
        try:
            with self._one_at_a_time:
                self._events.write(text)
                self._events.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def close(self) -> None:
        try:
            self._events.close()
        except OSError as error:  # what could not be written before can't be now
            raise _unwritable(self._path, error) from error


PULSE_S = 15.0
"""Seconds between two signs of life in the log of a run."""


@contextmanager
def pulse(log: RunLog, running: Callable[[], Any], *, every_s: float = PULSE_S) -> Iterator[None]:
    """Inside the block, an event `alive` every few seconds, with what `running` returns.

    Without it, a run whose driver was killed looks like one at a long task.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(every_s):
            try:
                log.event("alive", running=running())
            except OutputError:
                return  # the next event of the run itself says so

    thread = threading.Thread(target=beat, name="raypose-pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _ends_within_a_line(path: Path) -> bool:
    """True where an earlier run was killed while it wrote an event."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False  # not there, or empty


def _unwritable(path: Path, error: OSError) -> OutputError:
    named = from_os_error(error)
    return OutputError(
        named.message if named else str(error),
        path=path,
        hint="Free space, or choose another place with -o or --run-dir.",
    )


def read_events(
    directory: Path, on_unreadable: Callable[[bytes], None] | None = None
) -> Iterator[dict[str, Any]]:
    """The events of a run, from anywhere that sees its directory.

    Lines that are no events are left out; the last one may be torn, or not yet whole.

    Args:
        directory: of the run.
        on_unreadable: is told of each whole line that is left out.
    """
    try:
        with regular.open_file(directory / "events.jsonl") as file:
            for line in file:
                event = _event_in(line)
                if event is not None:
                    yield event
                elif on_unreadable is not None and line.endswith(b"\n") and line.strip():
                    on_unreadable(line)
    except OSError as error:
        raise OutputError(
            "is not the directory of a run",
            path=directory,
            hint="Give the raypose/ folder below -o, or the --run-dir of the run.",
        ) from error


def _event_in(line: bytes) -> dict[str, Any] | None:
    try:
        # What is torn may be torn within a character.
        event = json.loads(line.decode("utf-8", errors=_ERRORS))
    except (ValueError, RecursionError):
        return None
    is_event = isinstance(event, dict) and isinstance(event.get("event"), str)
    return event if is_event and _is_time(event.get("time")) else None


def _is_time(value: object) -> bool:
    """Whether it is a time in seconds since the epoch, of this age of the world."""
    return isinstance(value, int | float) and 0 <= value < 1e11


def read_run(directory: Path) -> dict[str, Any]:
    """What `run.json` says; empty where the run did not come so far."""
    try:
        text = regular.read_file(directory / "run.json").decode("utf-8", errors=_ERRORS)
        content = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
