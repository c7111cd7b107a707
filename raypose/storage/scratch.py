"""Scratch: space on a local disk for copies of objects, and for outputs on their way to a store.

```
<folder>/raypose-<uid>/<run>/         one run, of any number of processes
                        run.lock      held by every living process of the run
                        <name>        a copy of an object; <name>.lock is held while it is used
                        out/          outputs that are being written
```
All processes of a run on one machine share the copies, so an object is downloaded once. What no
process holds can be removed: copies when there is no room for another, a whole run when its last
process closes its scratch, or, if that was killed, when the next run starts here.

No library does this: fsspec's file caches have no size limit and no locks between processes,
diskcache evicts files that are in use, and filelock's locks can't be shared.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from raypose.errors import CancelledError, OutputError, RayposeError, StorageError
from raypose.storage.connection import map_store_errors
from raypose.storage.digests import RUN_AGAIN, digest_of_bytes
from raypose.storage.files import identity_of
from raypose.storage.identity import Identity
from raypose.storage.object_store import fetch
from raypose.storage.paths import AnyPath
from raypose.storage.private import make_private

if TYPE_CHECKING:
    from upath import UPath

_POLL_S = 0.1
_MAX_WAIT_S = 1800.0
_SPARE_BYTES = 1 << 28
"""What is left free on the disk for other uses."""


@dataclass(frozen=True, slots=True)
class ScratchSettings:
    folder: str = ""  # on a local disk; the system's temporary directory where empty
    limit_bytes: int | None = None  # for all runs of this user together; None: what the disk has
    run: str = field(default_factory=lambda: f"run-{secrets.token_hex(8)}")  # in all its processes


@dataclass(frozen=True, slots=True)
class _Request:
    """A copy that is wanted: the object as it is now, and how long to wait for it."""

    url: UPath
    identity: Identity
    should_stop: Callable[[], bool]
    wait: bool

    def check_stopped(self) -> None:
        if self.should_stop():
            raise CancelledError("the run was stopped", path=str(self.url))

    def refused(self, reason: str, hint: str) -> StorageError:
        return StorageError(reason, path=str(self.url), hint=hint)


class Scratch:
    """The scratch of one run on this machine, as one of its processes sees it.

    Raises:
        OutputError: the directory can't be made or written to, or is another user's.
    """

    def __init__(self, settings: ScratchSettings) -> None:
        root = Path(settings.folder or tempfile.gettempdir())
        self._base = root / f"raypose-{os.getuid()}"
        self._limit = settings.limit_bytes
        self._own = threading.local()
        self._folder = self._base / settings.run
        self.outgoing = self._folder / "out"  # for outputs on their way to a store
        try:
            make_private(self._base)
            for folder in self._base.iterdir():
                if folder != self._folder:
                    _remove_unless_held(folder)
            self._run_lock = self._enter()
        except OSError as error:
            message = f"scratch can't be written ({error.strerror})"
            hint = "Choose another place with --scratch-dir."
            raise OutputError(message, path=self._base, hint=hint) from error

    def _enter(self) -> int:
        """Hold the run's lock; another process may be about to remove the folder."""
        while True:
            self.outgoing.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                handle = _open_lock(self._folder / "run.lock")
            except FileNotFoundError:
                continue
            fcntl.flock(handle, fcntl.LOCK_SH)
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(handle), os.stat(self._folder / "run.lock")):
                    return handle
            os.close(handle)

    def close(self) -> None:
        """Let go of the run, once; its last process removes its files."""
        os.close(self._run_lock)
        _remove_unless_held(self._folder)

    @contextmanager
    def copy_of(
        self,
        url: AnyPath,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        wait: bool = True,
        identity: Identity | None = None,
    ) -> Iterator[Path]:
        """A local copy of an object, for as long as the block lasts.

        Args:
            url: of the object.
            should_stop: asked during the download.
            wait: whether to wait for room.
            identity: what the object must have; None for any.

        Raises:
            StorageError: it can't be read, is another object, or there is no room for it.
            CancelledError: `should_stop` returned True.
        """
        assert not isinstance(url, Path), "a local file needs no copy"
        with map_store_errors(url):
            current = identity_of(url)
        request = _Request(url, current, should_stop, wait)
        if identity not in (None, current):
            raise request.refused("it was replaced", RUN_AGAIN)
        name = digest_of_bytes(f"{url} {current}".encode(errors="surrogateescape"))
        copy = self._folder / f"{name}{url.suffix}"
        lock = _open_lock(copy.with_name(f"{copy.name}.lock"))
        try:
            self._hold(copy, lock, request)
            now = time.time_ns()  # finer than the kernel's own clock for files
            os.utime(copy, ns=(now, now))  # evicted last
            self._held.add(copy)
            yield copy
        except RayposeError as error:
            if error.path == str(copy):  # a name that users do not know
                raise type(error)(error.message, path=str(url), hint=error.hint) from error
            raise
        finally:
            self._held.discard(copy)
            os.close(lock)

    @property
    def _held(self) -> set[Path]:
        """The copies that this thread holds, and keeps while it waits for another."""
        held: set[Path] = self._own.__dict__.setdefault("held", set())
        return held

    def _hold(self, copy: Path, lock: int, request: _Request) -> None:
        """Return once the copy is there and its lock is shared."""
        while True:
            # Exclusive only while there is no copy: another process may download it meanwhile,
            # and then holds it shared for as long as its task takes.
            if copy.exists():
                if _try_lock(lock, shared=True) and copy.exists():
                    return
            elif _try_lock(lock):
                if not copy.exists():
                    self._download(copy, request)
                continue
            request.check_stopped()
            time.sleep(_POLL_S)

    def _download(self, copy: Path, request: _Request) -> None:
        part = copy.with_name(f"{copy.name}.part")
        try:
            self._make_room(part, request)
            fetch(request.url, part, request.identity, request.should_stop)
            os.replace(part, copy)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, part: Path, request: _Request) -> None:
        """Reserve room for an object: an empty file of its size."""
        size = request.identity.size
        if self._limit is not None and size > self._limit:
            reason = f"it has {_gb(size)}, and the limit of scratch is {_gb(self._limit)}"
            raise request.refused(reason, "Raise it with --scratch-gb.")
        deadline = time.monotonic() + _MAX_WAIT_S
        while True:
            with os.fdopen(_open_lock(self._base / "room.lock")) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Asked first, so that what others let go meanwhile is seen below.
                others_hold = self._others_hold(part)
                # Repeated, since removing one copy may not be enough.
                while (missing := self._missing_bytes(size)) > 0 and self._evict_one():
                    continue
                if missing <= 0:
                    with part.open("wb") as file:
                        file.truncate(size)
                    return
            request.check_stopped()
            if not request.wait or not others_hold or time.monotonic() > deadline:
                places = f"below {self._base}, or choose another place with --scratch-dir."
                reason = f"scratch lacks {_gb(missing)} for a copy of it"
                raise request.refused(reason, f"Free some space {places}")
            time.sleep(_POLL_S)

    def _missing_bytes(self, size: int) -> int:
        used = promised = 0
        for path in self._base.rglob("*.*"):
            with contextlib.suppress(OSError):  # it may be gone by now
                status = path.stat()
                used += status.st_size
                if path.suffix == ".part":
                    promised += max(0, status.st_size - 512 * status.st_blocks)
        missing = size + promised + _SPARE_BYTES - shutil.disk_usage(self._base).free
        if self._limit is not None:
            missing = max(missing, used + size - self._limit)
        return missing

    def _copies(self) -> list[Path]:
        """The copies of this run, the least recently used first."""
        found = []
        for lock in self._folder.glob("*.lock"):
            copy = lock.with_suffix("")
            with contextlib.suppress(OSError):
                found.append((copy.stat().st_mtime_ns, copy))
        return [copy for _, copy in sorted(found)]

    def _evict_one(self) -> bool:
        for copy in self._copies():
            with _locked_if_free(copy.with_name(f"{copy.name}.lock")) as alone:
                if alone:
                    copy.unlink(missing_ok=True)
                    return True
        return False

    def _others_hold(self, part: Path) -> bool:
        """Whether others hold files that they will let go of."""
        files = {*self._base.glob("*/*.part"), *self._base.glob("*/out/*"), *self._copies()}
        return bool(files - {part} - self._held)


# Locks on files: however a process ends, its locks end with it.


def _open_lock(path: Path) -> int:
    """A handle of a lock file, made if it is missing; the lock itself is not taken."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _try_lock(handle: int, *, shared: bool = False) -> bool:
    """Take a lock, or change its kind, if that is possible at once; else hold none."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(handle, fcntl.LOCK_UN)
        return False
    return True


@contextmanager
def _locked_if_free(path: Path) -> Iterator[bool]:
    """Hold an existing lock in the block, alone, if it is free; yields whether it is."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        yield False
        return
    with os.fdopen(handle):
        yield _try_lock(handle)


def _remove_unless_held(folder: Path) -> None:
    """Remove a run's folder unless one of its processes lives."""
    with _locked_if_free(folder / "run.lock") as alone:
        if alone:
            shutil.rmtree(folder, ignore_errors=True)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"


_settings = ScratchSettings()
_current: Scratch | None = None
_making = threading.Lock()


def settings() -> ScratchSettings:
    """What this process uses, for the other processes of the run."""
    return _settings


def configure(settings: ScratchSettings) -> None:
    """Set where this process's scratch is, and close the one it had."""
    global _settings
    close()
    _settings = settings


@contextmanager
def used(folder: Path | None, limit_gb: float | None) -> Iterator[None]:
    """The block has a scratch of its own, which is removed at the end; a GB is 10^9 bytes."""
    limit_bytes = None if limit_gb is None else int(limit_gb * 1e9)
    configure(ScratchSettings(str(folder or ""), limit_bytes))
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
