"""The actors of a run: starts and ends them, and says which are up and which are lost.

A worker is up when it has described itself and, on a cluster, has seen that it can reach what the
run reads and writes. That holds for those that a run begins with and for those that are started
later, in the place of others: there is one way for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from raypose.errors import ClusterError, DeviceError, Failure
from raypose.execution.events import Event, RoomForCpuWorkers, WorkersLost, WorkerUp
from raypose.execution.ray.errors import first_line
from raypose.execution.ray.sizes import Sizes, node_resources
from raypose.execution.ray.worker import WorkerInfo
from raypose.worker.storage_check import Places


@dataclass
class Handle:
    """A worker as the driver sees it.

    Attributes:
        actor: the actor's handle.
        gpu: whether it runs networks.
        answer: reference to what it was asked last.
        info: what it is; None until it has said so.
        up: whether it takes tasks.
    """

    actor: Any
    gpu: bool
    answer: Any
    info: WorkerInfo | None = None
    up: bool = False


class WorkerPool:
    """All actors that do tasks.

    Args:
        start: makes the actor of a number, with a GPU or without.
    """

    def __init__(self, start: Callable[[int, bool], Any]) -> None:
        self._start = start
        self._handles: dict[int, Handle] = {}
        self._asked: dict[Any, int] = {}
        self._places: Places | None = None
        self._may_work = False

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._handles.values())

    def __getitem__(self, number: int) -> Handle:
        return self._handles[number]

    @property
    def questions(self) -> list[Any]:
        """References to what workers are being asked."""
        return list(self._asked)

    def start(self, number: int, gpu: bool) -> None:
        """Start a worker, as soon as Ray has room for it."""
        actor = self._start(number, gpu)
        self._handles[number] = Handle(actor, gpu, None)
        # The name is what `ps` and Ray's dashboard show of the process meanwhile.
        name = f"start {'GPU' if gpu else 'CPU'} worker {number}"
        self._ask(number, actor.describe.options(name=name).remote())

    def stop(self, number: int) -> None:
        """End a worker; it may be dead already."""
        handle = self._handles.pop(number)
        self._asked.pop(handle.answer, None)
        ray.kill(handle.actor)

    def open(self, places: Places | None) -> list[Event]:
        """From now on workers take tasks, once they can reach these places; None for all."""
        self._places, self._may_work = places, True
        described = [number for number, handle in self._handles.items() if handle.info]
        return [event for number in described for event in self._next_step(number)]

    def events(self) -> list[Event]:
        """What the workers that were asked something have answered meanwhile.

        Raises:
            DeviceError: a worker can't use its GPU.
            ClusterError: a worker can't reach what the run reads or writes.
        """
        if not self._asked:
            return []
        answered, _ = ray.wait(self.questions, num_returns=len(self._asked), timeout=0)
        return [event for answer in answered for event in self._answered(answer)]

    def watch(self, sizes: Sizes | None) -> list[Event]:
        """Workers on nodes that are gone, and room for more.

        Args:
            sizes: of the workers; None where no more CPU workers are wanted.
        """
        alive = node_resources()
        lost = tuple(
            number
            for number, handle in self._handles.items()
            if handle.info is not None and handle.info.node not in alive
        )
        events: list[Event] = [WorkersLost(lost, "its node was lost")] if lost else []
        if sizes is not None:
            events.append(RoomForCpuWorkers(sizes.n_cpu(list(alive.values()))))
        return events

    def lost(self, event: WorkersLost) -> list[Event]:
        """Workers were seen to be dead, and with them perhaps all others of their node."""
        if not any(number in self._handles for number in event.workers):
            return []
        return [*self.watch(None), event]

    def _ask(self, number: int, answer: Any) -> None:
        self._handles[number].answer = answer
        self._asked[answer] = number

    def _answered(self, reference: Any) -> list[Event]:
        number = self._asked.pop(reference, -1)
        handle = self._handles.get(number)
        if handle is None:
            return []
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            return [WorkersLost((number,), first_line(error))]
        if isinstance(answer, Failure):
            kind = DeviceError if handle.info is None else ClusterError
            raise kind(answer.message, path=answer.path, hint=answer.hint)
        if handle.info is None:
            handle.info = answer
            return self._next_step(number) if self._may_work else []
        return self._is_up(number)

    def _next_step(self, number: int) -> list[Event]:
        """What follows once a worker has described itself."""
        if self._places is None:
            return self._is_up(number)
        self._ask(number, self._handles[number].actor.check_storage.remote(self._places))
        return []

    def _is_up(self, number: int) -> list[Event]:
        self._handles[number].up = True
        return [WorkerUp(number)]
