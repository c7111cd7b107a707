"""Scratch: local disk of this machine for copies of objects and for outputs on their way.

```
<folder>/raypose-<user>/<run>/        one run, whatever number of processes
                        run.lock      held by every process of the run that lives
                        <name>        a copy of an object; <name>.lock is held while it is used
                        out/          outputs that are being written
```
All processes of a run on one machine share the copies: an object comes to a machine once. Locks
are the kernel's (`flock`), so that they go with the process that holds them, however it ends.
What nobody holds may go: copies when there is no room for another, a whole run when its last
process closes its scratch, or, if that was killed, when the next run starts here.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from raypose import storage
from raypose.errors import CancelledError, OutputError, RayposeError, StorageError
from raypose.storage.digests import RUN_AGAIN, Identity

if TYPE_CHECKING:
    from upath import UPath

_POLL_S = 0.1
_MOST_WAIT_S = 1800.0
_SPARE_BYTES = 1 << 28
"""What is left free of the disk, for whatever else needs it."""


@dataclass(frozen=True, slots=True)
class ScratchSettings:
    """Where scratch is, and how much of it may be used.

    Attributes:
        folder: directory on a local disk; the system's temporary directory where empty.
        limit_bytes: most that all runs of this user take there; None for what the disk has.
        run: name of the run, the same in all its processes.
    """

    folder: str = ""
    limit_bytes: int | None = None
    run: str = ""


class Scratch:
    """The scratch of one run on this machine, as one process of it sees it.

    Args:
        settings: where, how much, whose.

    Raises:
        OutputError: the directory can't be made or written to.
    """

    def __init__(self, settings: ScratchSettings) -> None:
        root = Path(settings.folder or tempfile.gettempdir())
        self._base = root / f"raypose-{getpass.getuser()}"
        self._limit = settings.limit_bytes
        self._held = threading.local()
        self._folder = self._base / (settings.run or f"run-{os.getpid()}")
        try:
            self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            self._run_lock = self._enter()
        except OSError as error:
            raise OutputError(
                f"scratch can't be written ({error.strerror})",
                path=self._base,
                hint="Name another place with --scratch-dir.",
            ) from error

    def _enter(self) -> int:
        """Hold the run's lock; another process may be about to remove the folder."""
        while True:
            (self._folder / "out").mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                handle = os.open(self._folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                continue
            fcntl.flock(handle, fcntl.LOCK_SH)
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(handle), os.stat(self._folder / "run.lock")):
                    return handle
            os.close(handle)

    def _sweep(self) -> None:
        """Remove what runs left here that were killed."""
        for folder in self._base.iterdir():
            if folder != self._folder:
                _remove_if_left(folder)

    @property
    def outgoing(self) -> Path:
        """Folder for outputs on their way to a store."""
        return self._folder / "out"

    def close(self) -> None:
        """Let go; the last process of the run removes its files."""
        if self._run_lock >= 0:
            os.close(self._run_lock)
            self._run_lock = -1
            _remove_if_left(self._folder)

    @contextmanager
    def copy_of(
        self,
        url: UPath,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        wait: bool = True,
        identity: Identity | None = None,
    ) -> Iterator[Path]:
        """A local copy of an object, there as long as the block lasts.

        Args:
            url: the object.
            should_stop: asked while it comes.
            wait: whether to wait for room; an object that is merely expected does not.
            identity: what the object must be; None for whatever it is.

        Raises:
            StorageError: it can't be read, is another object, or there is no room for it.
            CancelledError: `should_stop` said so.
        """
        stat = storage.stat_of_existing(url)
        if identity is not None and Identity(stat.size, tuple(stat.mark.items())) != identity:
            raise StorageError("it was replaced", path=str(url), hint=RUN_AGAIN)
        told = f"{url} {stat.size} {stat.mark}"
        name = hashlib.blake2b(told.encode(errors="surrogateescape"), digest_size=12).hexdigest()
        copy = self._folder / f"{name}{url.suffix}"
        lock = os.open(copy.with_name(f"{copy.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                # Alone only while there is no copy: another process may bring it meanwhile, and
                # then holds it shared for as long as its task takes.
                if copy.exists():
                    if _taken(lock, fcntl.LOCK_SH) and copy.exists():
                        break
                elif _taken(lock, fcntl.LOCK_EX):
                    if not copy.exists():
                        self._bring(url, copy, stat, should_stop, wait)
                    continue
                if should_stop():
                    raise CancelledError("the run was stopped", path=str(url))
                time.sleep(_POLL_S)
            os.utime(copy)  # the copies that were used last go last
            self._held.copies = {*self._held_here(), copy}
            try:
                yield copy
            except RayposeError as error:
                # The copy's name says nothing to anybody.
                if error.path == str(copy):
                    raise type(error)(error.message, path=str(url), hint=error.hint) from error
                raise
            finally:
                self._held.copies = self._held_here() - {copy}
        finally:
            os.close(lock)

    def _held_here(self) -> set[Path]:
        """The copies that this thread holds, and so will not be let go while it waits."""
        copies: set[Path] = getattr(self._held, "copies", set())
        return copies

    def _bring(
        self,
        url: UPath,
        copy: Path,
        stat: storage.Stat,
        should_stop: Callable[[], bool],
        wait: bool,
    ) -> None:
        part = copy.with_name(f"{copy.name}.part")
        try:
            self._make_room(part, stat.size, url, should_stop, wait)
            storage.fetch(url, part, stat, should_stop)
            os.replace(part, copy)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(
        self, part: Path, size: int, url: UPath, should_stop: Callable[[], bool], wait: bool
    ) -> None:
        """Reserve the room of an object: an empty file of its size."""
        if self._limit is not None and size > self._limit:
            raise StorageError(
                f"it has {_gb(size)}, and scratch may take {_gb(self._limit)}",
                path=str(url),
                hint="Give more with --scratch-gb.",
            )
        deadline = time.monotonic() + _MOST_WAIT_S
        while True:
            with _locked(self._base / "room.lock"):
                # Asked before it is measured: what they let go meanwhile is then seen.
                to_wait_for = self._others_hold(part)
                # Again and again: removing one copy may not be enough.
                while (short := self._missing_bytes(size)) > 0 and self._evict_one():
                    continue
                if short <= 0:
                    with part.open("wb") as file:
                        file.truncate(size)
                    return
            if should_stop():
                raise CancelledError("the run was stopped", path=str(url))
            if not wait or not to_wait_for or time.monotonic() > deadline:
                raise StorageError(
                    f"scratch lacks {_gb(short)} for a copy of it",
                    path=str(url),
                    hint=f"Free some space below {self._base}, or name another place with "
                    "--scratch-dir.",
                )
            time.sleep(_POLL_S)

    def _missing_bytes(self, size: int) -> int:
        used = promised = 0
        for path in self._base.rglob("*.*"):
            with contextlib.suppress(OSError):  # it may be gone by now
                status = path.stat()
                used += status.st_size
                if path.suffix == ".part":
                    promised += max(0, status.st_size - 512 * status.st_blocks)
        free = shutil.disk_usage(self._base).free - promised - _SPARE_BYTES
        missing = size - free
        if self._limit is not None:
            missing = max(missing, used + size - self._limit)
        return missing

    def _copies(self) -> list[Path]:
        """The copies of this run, the one used longest ago first."""
        found = []
        for lock in self._folder.glob("*.lock"):
            copy = lock.with_suffix("")
            with contextlib.suppress(OSError):
                found.append((copy.stat().st_mtime_ns, copy))
        return [copy for _, copy in sorted(found)]

    def _evict_one(self) -> bool:
        for copy in self._copies():
            with _tried(copy.with_name(f"{copy.name}.lock")) as alone:
                if alone:
                    copy.unlink(missing_ok=True)
                    return True
        return False

    def _others_hold(self, part: Path) -> bool:
        """Whether others have anything that they will let go of."""
        coming = (path for path in self._base.glob("*/*.part") if path != part)
        leaving = (path for path in self._base.glob("*/out/*"))
        copies = (copy for copy in self._copies() if copy not in self._held_here())
        return any(True for _ in chain(coming, leaving, copies))


def _remove_if_left(folder: Path) -> None:
    """Remove a run's folder unless a process holds it."""
    with _tried(folder / "run.lock") as alone:
        if alone:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _tried(lock: Path) -> Iterator[bool]:
    """Whether a lock could be had at once, alone; it is held in the block."""
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _taken(lock: int, kind: int) -> bool:
    """Take a lock, or go over to another kind, if that can be had at once; else hold none."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_UN)
        return False
    return True


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"


_settings = ScratchSettings(run=f"run-{secrets.token_hex(8)}")
_current: Scratch | None = None
_making = threading.Lock()


def settings() -> ScratchSettings:
    """What this process uses, to hand on to the other processes of the run."""
    return _settings


def configure(folder: str = "", limit_bytes: int | None = None, run: str = "") -> None:
    """Say where this process's scratch is; what it had before is closed.

    Args:
        folder, limit_bytes, run: as in `ScratchSettings`; a name for the run is made up.
    """
    global _settings
    close()
    _settings = ScratchSettings(folder, limit_bytes, run or f"run-{secrets.token_hex(8)}")


@contextmanager
def used(folder: Path | None, limit_gb: float | None) -> Iterator[None]:
    """What is done in this block has a scratch of its own, which is gone at its end.

    Args:
        folder: as in `ScratchSettings`.
        limit_gb: most to take, in 10^9 bytes.
    """
    limit_bytes = None if limit_gb is None else int(limit_gb * 1e9)
    configure("" if folder is None else str(folder), limit_bytes)
    try:
        yield
    finally:
        close()


def current() -> Scratch:
    """The scratch of this process, made when it is first needed."""
    global _current
    with _making:
        if _current is None:
            _current = Scratch(_settings)
        return _current


def close() -> None:
    """Close this process's scratch, if it has one."""
    global _current
    if _current is not None:
        _current.close()
        _current = None
