"""Which run works on what, where several runs write to the same outputs.

A claim is a small file that only one run can create. It names the run, and says when the run has
ended its work. Beside the claims, each run rewrites a file of its own every few seconds, its
heartbeat. What a dead run has claimed, others may take over: a run of this machine is dead when
its process is gone; any other, when its heartbeat has not changed for a minute by the clock of
the run that looks. Clocks of two machines are never compared.

Claims only save work. Outputs are committed in one step, so two runs that did the same by mistake
would leave right outputs. What is finished, the records say (`records`).

```
<folder>/runs/<run>.json        a run and its heartbeat
<folder>/<name>-<n>.json        the claim on something; the highest n counts
```
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from enum import Enum, auto
from pathlib import Path
from typing import TypeVar

from raypose.errors import RayposeError, StorageError
from raypose.storage.digests import digest_of_json
from raypose.storage.files import list_files, store_of
from raypose.storage.paths import AnyPath
from raypose.storage.processes import has_ended, start_of, this_machine
from raypose.storage.temporary_files import remove_if_empty
from raypose.text import json_text

BEAT_S = 10.0
"""Seconds between two heartbeats."""

STALE_S = 60.0
"""Seconds without a new heartbeat after which a run counts as dead."""

_READ_AGAIN_S = 5.0
_RUNS = "runs"
_TRIES = 4
_AT_ONCE = 16
_ERRORS = (OSError, RayposeError)
_TORN_AFTER_S = (0.05, 0.2, 0.5)  # an empty claim is read again after each of these

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Holder:
    """A run, and the process that it is.

    Attributes:
        machine: as from `processes.this_machine`. Where it can't be told, only the heartbeat says
            who is alive.
        started: when the process started, in ticks of that machine.
        overwrites: whether the run redoes finished outputs.
    """

    run: str
    host: str
    pid: int
    machine: str
    started: str
    overwrites: bool = False

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"

    @classmethod
    def this_process(cls, *, overwrites: bool = False) -> Holder:
        run, host, pid = secrets.token_hex(8), socket.gethostname(), os.getpid()
        return cls(run, host, pid, this_machine(), start_of(pid), overwrites)

    def is_gone_from(self, machine: str) -> bool:
        """Whether this machine can tell that its process has ended."""
        return self.machine == machine and has_ended(self.pid, self.started)


class State(Enum):
    """What came of an attempt to claim something."""

    MINE = auto()  # claimed for this run
    HELD = auto()  # another run is working on it
    OVER = auto()  # another run has ended its work on it, or is dead


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of an attempt to claim something.

    Attributes:
        by: the run that has it, or had it; None where that is not known.
        is_new: whether that run ended its work on it after this one began.
    """

    state: State
    by: Holder | None
    is_new: bool = False


class Claims:
    """The claims of one run; use it in a `with` block.

    Args:
        folder: of the claims on these outputs; made if it is missing, removed after the last run.
        me: this run.
        clock: seconds, from any beginning; it never goes back.
        sleep: waits, for seconds.
        beat_s, stale_s: see `BEAT_S` and `STALE_S`.

    Attributes:
        others_seen: whether another run has been at these outputs while this one was.

    Raises:
        OSError: the folder can't be written to; so may `take`.
        StorageError: the store can't be used for this, or does not answer; so may `take`.
    """

    def __init__(
        self,
        folder: AnyPath,
        me: Holder,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        beat_s: float = BEAT_S,
        stale_s: float = STALE_S,
    ) -> None:
        self.me = me
        self.others_seen = False
        self._folder, self._store = folder, store_of(folder)
        self._clock, self._sleep = clock, sleep
        self._beat_s, self._stale_s = beat_s, stale_s
        self._open: dict[str, AnyPath] = {}
        self._others: set[str] = set()  # other runs that are registered and may be alive
        self._dead: set[str] = set()  # those that are registered and dead
        self._seen: set[str] = set()  # claims of other runs
        self._beats: dict[str, _Beat] = {}
        self._n_beats = 0
        self._old: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="raypose-claims", daemon=True)

    def __enter__(self) -> Claims:
        try:
            self._register()
            # Before what may take long in a store: others must see that this run is alive.
            self._thread.start()
            self.look()
            if self.me.overwrites:
                claims = _all_at_once(self._read, list_files(self._folder))
                self._old = {path.name for path, claim in claims if claim and claim[1]}
        except BaseException:
            self._stop_beating()
            with suppress(*_ERRORS):
                self._store.remove(self._run_file(self.me.run))
            self._remove_empty_folders()
            raise
        return self

    def _register(self) -> None:
        heartbeat = self._run_file(self.me.run)
        for attempt in range(_TRIES):
            try:
                self._store.write_new(heartbeat, self._heartbeat())
                break
            except FileNotFoundError:  # another run has just removed the empty folder
                if attempt == _TRIES - 1:
                    raise
        with suppress(FileExistsError):
            self._store.write_new(heartbeat, self._heartbeat())
            message = "it can't refuse to replace an object (If-None-Match)"
            raise StorageError(message, path=str(self._folder))

    def __exit__(self, *_: object) -> None:
        """End what is still claimed; the last run removes everything."""
        self._stop_beating()
        for name in list(self._open):
            self.end(name)
        marks: Sequence[AnyPath] | None = None
        with suppress(*_ERRORS):
            self.look()
            if self._dead or self._leaves_marks:
                # Before this run signs off: claims that come later are of runs that come later.
                marks = list_files(self._folder)
        with suppress(*_ERRORS):
            # Before the others are looked for: so one of two that end at once sees no other.
            self._store.remove(self._run_file(self.me.run))
            self.look()
            for run in self._dead:
                self._store.remove(self._run_file(run))
            if not self._others and marks is not None:
                self._remove_marks(marks)
        self._remove_empty_folders()

    def _remove_marks(self, marks: Sequence[AnyPath]) -> None:
        torn = [path for path in list_files(self._folder / _RUNS) if _is_temporary(path)]
        _all_at_once(self._store.remove, [*marks, *torn])

    def _stop_beating(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _remove_empty_folders(self) -> None:
        if isinstance(self._folder, Path):
            for folder in (self._folder / _RUNS, self._folder, self._folder.parent):
                remove_if_empty(folder)

    @property
    def n_others(self) -> int:
        """Other runs that may be alive, as of the last heartbeat."""
        return len(self._others)

    def look(self) -> None:
        """Look for other runs; in the `with` block that is done with each heartbeat."""
        found = runs_in(self._folder) - {self.me.run}
        self._dead = {run for run in found if self._is_dead(run)}
        self._others = found - self._dead
        if self._others:  # another thread may set it meanwhile
            self.others_seen = True

    def take(self, name: str, number: int = 0) -> Taken:
        """Claim something for this run, unless another is working on it.

        Args:
            name: of what is claimed.
            number: of the claim. After `OVER`, the next number takes it over.
        """
        path = self._claim_file(name, number)
        for _ in range(_TRIES):
            if path.name not in self._seen:
                with suppress(FileExistsError):
                    self._store.write_new(path, self._claim(ended=False))
                    self._open[name] = path
                    if self._is_taken_over(name, number):
                        self._store.remove(self._open.pop(name))
                        return Taken(State.OVER, None)
                    return Taken(State.MINE, self.me)
            found = self._read(path)
            if found is not None:
                break
            self.others_seen = True  # it was removed meanwhile
            self._seen.discard(path.name)
        else:
            return Taken(State.HELD, None)
        by, is_over = found
        if by == self.me:  # the answer to an earlier attempt was lost
            self._open[name] = path
            return Taken(State.MINE, by)
        self.others_seen = True
        self._seen.add(path.name)
        if is_over or by is None or self._is_dead(by.run, by):
            return Taken(State.OVER, by, is_over and path.name not in self._old)
        return Taken(State.HELD, by)

    def _is_taken_over(self, name: str, number: int) -> bool:
        """Whether a claim has been removed, by the last of earlier runs, after a later run had
        taken it over."""
        if not self.others_seen:
            return False
        return self._read(self._claim_file(name, number + 1)) is not None

    def end(self, name: str) -> None:
        """This run has done what it can of something that it has claimed."""
        path = self._open.pop(name, None)
        if path is None:
            return
        # Else others wait until the heartbeat ends.
        with suppress(*_ERRORS):
            if self._leaves_marks:
                # They may have planned before this was finished: the claim tells them so.
                self._store.write(path, self._claim(ended=True))
            else:
                self._store.remove(path)

    @property
    def _leaves_marks(self) -> bool:
        # Another overwriting run would redo what has no mark, before this one knows of it.
        return self.others_seen or self.me.overwrites

    def _beat(self) -> None:
        while not self._done.wait(self._beat_s):
            self._n_beats += 1
            # A run whose heartbeat can't be written counts as dead after a while.
            with suppress(*_ERRORS):
                self._store.write(self._run_file(self.me.run), self._heartbeat())
                self.look()

    def _is_dead(self, run: str, holder: Holder | None = None) -> bool:
        """Whether a run is gone, or has been silent for long."""
        if holder is not None and holder.is_gone_from(self.me.machine):
            return True
        now, known = self._clock(), self._beats.get(run)
        if known is None or now - known.read_at >= _READ_AGAIN_S:
            try:
                content = self._store.read(self._run_file(run))
            except FileNotFoundError:
                return True
            since = now if known is None or known.content != content else known.since
            known = self._beats[run] = _Beat(content, since, now)
        if now - known.since >= self._stale_s:
            return True
        found = _holder_in(known.content)
        return found is not None and found.is_gone_from(self.me.machine)

    def _read(self, path: AnyPath) -> tuple[Holder | None, bool] | None:
        """Whose claim it is, and whether it has ended; None where there is none."""
        try:
            content = self._store.read(path)
            for wait_s in _TORN_AFTER_S:
                if content:
                    break
                # Without hard links a new claim is empty for a moment (`files`).
                self._sleep(wait_s)
                content = self._store.read(path)
        except FileNotFoundError:
            return None
        holder = _holder_in(content)  # None where a crash of the machine tore the file
        return holder, holder is not None and json.loads(content).get("ended") is True

    def _claim(self, *, ended: bool) -> bytes:
        return json_text({**asdict(self.me), "ended": ended}).encode()

    def _heartbeat(self) -> bytes:
        return json_text({**asdict(self.me), "beat": self._n_beats}).encode()

    def _run_file(self, run: str) -> AnyPath:
        return self._folder / _RUNS / f"{run}.json"

    def _claim_file(self, name: str, number: int) -> AnyPath:
        return self._folder / f"{digest_of_json(name)}-{number}.json"


@dataclass(frozen=True, slots=True)
class _Beat:
    content: bytes
    since: float  # when it was first read
    read_at: float


def runs_in(folder: AnyPath) -> set[str]:
    """The runs that are registered in a folder of claims, dead ones too."""
    paths = [path for path in list_files(folder / _RUNS) if not _is_temporary(path)]
    return {path.name.removesuffix(".json") for path in paths}


def _all_at_once(do: Callable[[AnyPath], T], paths: Sequence[AnyPath]) -> list[tuple[AnyPath, T]]:
    """Do something with files, of which each takes its time in a store."""
    with ThreadPoolExecutor(_AT_ONCE, "claims") as pool:
        return list(zip(paths, pool.map(do, paths), strict=True))


def _is_temporary(path: AnyPath) -> bool:
    return ".tmp-" in path.name


def _holder_in(content: bytes) -> Holder | None:
    try:
        found = json.loads(content)
        known = {field.name: found[field.name] for field in fields(Holder)}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    wanted = {"pid": int, "overwrites": bool}
    fits = all(type(value) is wanted.get(name, str) for name, value in known.items())
    return Holder(**known) if fits else None
