"""Recordings that a run has yet to claim, in the order in which it should.

One is asked for at a time. A recording that another run holds goes to the end of the queue, and is
asked for again every few seconds.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from raypose.execution.state import Entry, Priority

RETRY_S = 2.0
"""Seconds after which a recording that another run holds is asked for again."""


@dataclass(slots=True)
class _Recording:
    entries: list[Entry]
    first: Entry  # of its tasks, the one to start with
    gpu: bool  # whether a worker with a GPU begins it


class Unclaimed:
    def __init__(self) -> None:
        self._recordings: dict[str, _Recording] = {}
        self._queue: dict[bool, list[tuple[Priority, str]]] = {True: [], False: []}
        self._held: dict[bool, deque[tuple[float, str]]] = {True: deque(), False: deque()}
        self._asked = False
        self._held_since: float | None = None  # of the one that is asked for, if it was held

    def add(self, entries: Sequence[Entry]) -> None:
        """Add recordings with all their tasks."""
        by_recording: dict[str, list[Entry]] = {}
        for entry in entries:
            by_recording.setdefault(entry.task.recording, []).append(entry)
        for name, of_one in by_recording.items():
            # A worker without a GPU would claim more than the GPUs can process soon.
            gpu = any(entry.task.gpu for entry in of_one)
            roots = (e for e in of_one if e.task.gpu == gpu and not e.task.inputs)
            first = min(roots, key=lambda entry: entry.priority)
            self._recordings[name] = _Recording(of_one, first, gpu)
            heapq.heappush(self._queue[gpu], (first.priority, name))

    def first(self, gpu: bool) -> Entry | None:
        """The task that begins the next recording; None while an answer is awaited."""
        queue = self._queue[gpu]
        return None if self._asked or not queue else self._recordings[queue[0][1]].first

    def first_held(self, gpu: bool, now_s: float) -> Entry | None:
        """As `first`, of those that another run held a while ago."""
        held = self._held[gpu]
        if self._asked or not held or now_s - held[0][0] < RETRY_S:
            return None
        return self._recordings[held[0][1]].first

    def ask(self, name: str) -> None:
        """A recording, the first or the first one held, is asked for."""
        self._asked = True
        gpu = self._recordings[name].gpu
        if self._queue[gpu] and self._queue[gpu][0][1] == name:
            heapq.heappop(self._queue[gpu])
            self._held_since = None
        else:
            self._held_since, _ = self._held[gpu].popleft()

    def take(self, name: str) -> list[Entry]:
        """Remove a recording that was asked for; returns its tasks."""
        self._asked = False
        return self._recordings.pop(name).entries

    def postpone(self, name: str) -> None:
        """It stays first in the queue, or of those that are held."""
        self._asked = False
        recording = self._recordings[name]
        if self._held_since is None:
            heapq.heappush(self._queue[recording.gpu], (recording.first.priority, name))
        else:
            self._held[recording.gpu].appendleft((self._held_since, name))

    def hold(self, name: str, now_s: float) -> None:
        """Another run is working on it."""
        self._asked = False
        self._held[self._recordings[name].gpu].append((now_s, name))
