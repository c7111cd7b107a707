"""Starts and stops the worker actors of a run, and says which are up and which are lost.

A worker is up when it has described itself and, on a cluster, has checked that it can reach what
the run reads and writes. Workers that replace lost ones go through the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from raypose.errors import ClusterError, DeviceError, Failure
from raypose.execution.events import Event, RoomForCpuWorkers, WorkersLost, WorkerUp
from raypose.execution.ray.connection import first_line
from raypose.execution.ray.sizes import Sizes, node_resources
from raypose.execution.ray.worker import WorkerInfo
from raypose.worker.storage_check import IoPaths


@dataclass
class WorkerHandle:
    actor: Any
    gpu: bool
    info: WorkerInfo | None = None  # None until it has described itself


class WorkerPool:
    """All worker actors of a run; `start` creates one by its number, with a GPU or without.

    Attributes:
        is_local: whether all of them are on the driver's node, which can't be lost alone.
    """

    def __init__(self, start: Callable[[int, bool], Any]) -> None:
        self.is_local = False
        self._start = start
        self._handles: dict[int, WorkerHandle] = {}
        self._pending: dict[Any, int] = {}
        self._places: IoPaths | None = None
        self._is_open = False

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(self._handles.values())

    def __getitem__(self, number: int) -> WorkerHandle:
        return self._handles[number]

    @property
    def pending(self) -> list[Any]:
        """References to the answers of workers that are starting."""
        return list(self._pending)

    def start(self, number: int, gpu: bool) -> None:
        """Start a worker, as soon as Ray has room for it."""
        actor = self._start(number, gpu)
        self._handles[number] = WorkerHandle(actor, gpu)
        # The name is what `ps` and Ray's dashboard show of the process meanwhile.
        name = f"start {'GPU' if gpu else 'CPU'} worker {number}"
        self._pending[actor.describe.options(name=name).remote()] = number

    def stop(self, number: int) -> None:
        """Stop a worker; it may be dead already."""
        ray.kill(self._handles.pop(number).actor)

    def open(self, places: IoPaths | None) -> list[Event]:
        """Let workers take tasks once they can reach these places; None skips the check."""
        self._places, self._is_open = places, True
        described = [number for number, handle in self._handles.items() if handle.info]
        return [event for number in described for event in self._described(number)]

    def events(self) -> list[Event]:
        """What starting workers have answered since the last call."""
        if not self._pending:
            return []
        ready, _ = ray.wait(self.pending, num_returns=len(self._pending), timeout=0)
        return [event for reference in ready for event in self._answered(reference)]

    def watch(self, sizes: Sizes | None) -> list[Event]:
        """Workers on lost nodes, and room for more CPU workers; None where none are wanted."""
        if self.is_local:
            return []  # a Ray that has died would answer the question after a minute
        alive = node_resources()
        started = [(number, handle.info) for number, handle in self._handles.items()]
        lost = tuple(number for number, info in started if info and info.node not in alive)
        events: list[Event] = (
            [WorkersLost(lost, "its node was lost", with_node=True)] if lost else []
        )
        if sizes is not None:
            events.append(RoomForCpuWorkers(sizes.n_cpu(list(alive.values()))))
        return events

    def lost(self, event: WorkersLost) -> list[Event]:
        """The event, preceded by that of all workers on nodes that are lost as well."""
        is_known = any(number in self._handles for number in event.workers)
        return [*self.watch(None), event] if is_known else []

    def _answered(self, reference: Any) -> list[Event]:
        number = self._pending.pop(reference)
        handle = self._handles.get(number)
        if handle is None:
            return []  # it was stopped
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            return [WorkersLost((number,), first_line(error))]
        if isinstance(answer, Failure):
            kind = DeviceError if handle.info is None else ClusterError
            raise kind(answer.message, path=answer.path, hint=answer.hint)
        if handle.info is None:
            handle.info = answer
            return self._described(number) if self._is_open else []
        return [WorkerUp(number)]

    def _described(self, number: int) -> list[Event]:
        """A worker that has described itself is up, or checks the storage first."""
        if self._places is None:
            return [WorkerUp(number)]
        self._pending[self._handles[number].actor.check_storage.remote(self._places)] = number
        return []
