"""Describes many videos at once in processes of their own, one per core.

FFmpeg hands each packet to Python, which computes in one thread at a time: only processes use the
other cores. What they find is in the cache for later; the descriptions, or why a video can't be
used, come back through a pipe. A video that ends its process is named, and the others go on.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from raypose import import_path
from raypose.errors import Failure, RayposeError, VideoError
from raypose.inputs.probe import Unusable, probe
from raypose.specs import VideoSpec
from raypose.storage import AnyPath, as_path
from raypose.storage.identity import Identity
from raypose.video.turns import Turns, map_in_turns

Described = VideoSpec | Unusable

_PER_REQUEST = 16
# How many read at once in each process where a disk is slow.
_MOST_AT_ONCE = 8


def described(path: AnyPath, key: str, identity: Identity | None = None) -> Described:
    """A video as `probe` describes it, or why it can't be used."""
    try:
        return probe(path, key, identity)
    except RayposeError as error:
        return Unusable(str(path), key, error)
    except Exception as error:  # whatever one file does to a decoder, the others go on
        message = Failure.of("probe", error).message
        return Unusable(str(path), key, VideoError(message, path=path))


def probe_in_processes(
    paths: Sequence[str], keys: Sequence[str], n_processes: int
) -> list[Described]:
    """As `described`, of local videos; the order is kept."""
    found: list[Described | None] = [None] * len(paths)
    starts = iter(range(0, len(paths), _PER_REQUEST))
    lock = threading.Lock()
    probers = [_Prober() for _ in range(n_processes)]

    def work(prober: _Prober) -> None:
        while not prober.stopped:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            chosen = slice(start, start + _PER_REQUEST)
            found[chosen] = prober.describe(paths[chosen], keys[chosen])

    try:
        with ThreadPoolExecutor(n_processes, thread_name_prefix="probe") as pool:
            try:
                for _ in pool.map(work, probers):
                    pass  # raises what a thread has raised
            except BaseException:
                for prober in probers:
                    prober.stop()
                raise
    finally:
        for prober in probers:
            prober.close()
    return [video for video in found if video is not None]


class _Prober:
    """A process that describes videos; started when it is first needed."""

    def __init__(self) -> None:
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None

    def describe(self, paths: Sequence[str], keys: Sequence[str]) -> list[Described]:
        try:
            return self._ask(paths, keys)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            if self.stopped:
                return []
            self.close()
        if len(paths) > 1:
            return [self.describe([p], [k])[0] for p, k in zip(paths, keys, strict=True)]
        hint = "It is damaged in a way that FFmpeg does not survive: leave it out."
        error = VideoError("the process that read it has died", path=paths[0], hint=hint)
        return [Unusable(paths[0], keys[0], error)]

    def stop(self) -> None:
        """Let `describe` end soon, which another thread may be waiting for."""
        self.stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, paths: Sequence[str], keys: Sequence[str]) -> list[Described]:
        if self._process is None:
            self._process = subprocess.Popen(
                import_path.command(__name__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the driver, which then ends it
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        pickle.dump((list(paths), list(keys)), self._process.stdin)
        self._process.stdin.flush()
        answer: list[Described] = pickle.load(self._process.stdout)  # of our own child
        return answer


def _requests(source: BinaryIO) -> Iterator[Any]:
    while True:
        try:
            yield pickle.load(source)
        except EOFError:
            return


def answer_requests(source: BinaryIO, target: BinaryIO) -> None:
    """In the process: describe what is asked for, until the driver closes the pipe."""
    turns = Turns(_MOST_AT_ONCE)
    for paths, keys in _requests(source):
        named = list(zip(paths, keys, strict=True))
        answer = map_in_turns(lambda n: described(as_path(n[0]), n[1]), named, turns=turns)
        pickle.dump(answer, target)
        target.flush()


if __name__ == "__main__":
    # What libraries print must not get among the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        answer_requests(sys.stdin.buffer, answers)
