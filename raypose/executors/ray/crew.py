"""The workers of a run: who is there, who is gone with its node, who is still to come.

On a cluster nodes come and go. Ray starts a lost worker again where there is room; where there is
none, its calls would wait for ever, though others could do them. So a worker that stays away is
given up, and another one is hired in its place, which waits for a node to come.

Nothing here talks to Ray: `hire` and `dismiss` do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 30.0
"""How long a worker whose node is gone has to come up on another one."""


@dataclass
class Slot:
    """A worker as the driver sees it: the actor, and the frames it was given and has not done.

    Attributes:
        number: its number among the workers of the run; no two ever have the same.
        actor: the actor's handle.
        described: reference to what it says of itself; asked first, so that torch is imported
            before a task comes.
        load: frames of each task that it was given.
        up: whether it runs on a node that is alive.
        missed_since: when it was first seen to be gone; None while it is up, or was never there.
    """

    actor: Any
    number: int
    described: Any = None
    load: dict[str, int] = field(default_factory=dict)
    up: bool = False
    missed_since: float | None = None

    @property
    def weight(self) -> int:
        return sum(self.load.values())


class Crew:
    """All workers of a run.

    Args:
        hire: starts a worker of a number, with a GPU or without, and returns its slot.
        dismiss: ends a worker for good; what it was given fails.
        n_gpu: workers with a GPU.
        n_cpu: workers without.
        clock: seconds.
    """

    def __init__(
        self,
        hire: Callable[[int, bool], Slot],
        dismiss: Callable[[Slot], None],
        n_gpu: int,
        n_cpu: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hire, self._dismiss, self._clock = hire, dismiss, clock
        self._n_hired = 0
        self.gpu = [self._new(True) for _ in range(n_gpu)]
        self.cpu = [self._new(False) for _ in range(n_cpu)]
        self._alone_since: float | None = None

    def __iter__(self) -> Iterator[Slot]:
        yield from self.gpu
        yield from self.cpu

    @property
    def gpu_up(self) -> list[Slot]:
        return [slot for slot in self.gpu if slot.up]

    @property
    def is_there(self) -> bool:
        """Whether anybody can begin with a session."""
        return any(slot.up for slot in self.gpu or self.cpu)

    @property
    def cpu_up(self) -> list[Slot]:
        """The CPU workers to give work to: those that are there, else those that will be."""
        return [slot for slot in self.cpu if slot.up] or self.cpu

    @property
    def alone_s(self) -> float:
        """Seconds for which nobody has been there to begin with a session."""
        return 0.0 if self._alone_since is None else self._clock() - self._alone_since

    def update(self, where: Mapping[int, str], nodes: Collection[str], n_cpu: int = 0) -> None:
        """Take note of who is where; give up and replace who was away for too long.

        Args:
            where: number of a worker → the node on which it was last heard of.
            nodes: the nodes that are alive.
            n_cpu: workers without a GPU that there is room for; more are hired where there are
                fewer.
        """
        for slots, with_gpu in ((self.gpu, True), (self.cpu, False)):
            for i, slot in enumerate(slots):
                if self._is_given_up(slot, where.get(slot.number, ""), nodes):
                    slots[i] = self._new(with_gpu)
                    self._dismiss(slot)
        self.cpu += [self._new(False) for _ in range(n_cpu - len(self.cpu))]
        if self.is_there:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = self._clock()

    def _is_given_up(self, slot: Slot, node: str, nodes: Collection[str]) -> bool:
        slot.up = node in nodes
        if slot.up or not node:
            slot.missed_since = None  # it is there, or was never: then Ray still looks for room
            return False
        if slot.missed_since is None:
            slot.missed_since = self._clock()
        return self._clock() - slot.missed_since > PATIENCE_S

    def _new(self, with_gpu: bool) -> Slot:
        self._n_hired += 1
        return self._hire(self._n_hired - 1, with_gpu)
