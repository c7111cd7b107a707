"""The sessions in flight: what was handed to Ray, and what must be handed to it again."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from raypose.display_text import shown
from raypose.errors import Failure
from raypose.executors.ray.crew import Crew, Slot
from raypose.tasks import Summary, Task

MAX_LOSSES = 5
"""Times that tasks of a session may be lost with a node before they fail."""


@dataclass
class _Session:
    """A session in flight.

    Attributes:
        tasks: all of them, in order.
        values: id of an output → reference to it, until all who need it have it.
        uses: id of an output → tasks that still need it.
        open: ids of the tasks that Ray has and has not finished.
        lost: ids of the tasks that ended in an error of Ray's, and are to be done again.
        n_losses: how often that has happened.
    """

    tasks: Sequence[Task]
    values: dict[str, Any] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    n_losses: int = 0

    def start_over(self) -> None:
        """Forget all results: some are gone with their node."""
        self.values.clear()
        self.uses = Counter(name for task in self.tasks for name in task.inputs)


class Flight:
    """Hands sessions to Ray and waits for their tasks.

    Tasks that are lost with a node are handed over again: first they alone, and if that comes to
    nothing, with all that they depend on.

    Args:
        crew: who does them.
        expect: is told which worker will need which video.
    """

    def __init__(self, crew: Crew, expect: Callable[[Slot, str], None]) -> None:
        self._crew = crew
        self._expect = expect
        self.references: dict[Any, Task] = {}
        self.tasks: dict[str, Slot] = {}
        self._sessions: dict[str, _Session] = {}
        self._again: deque[_Session] = deque()
        self._told: set[str] = set()

    @property
    def is_empty(self) -> bool:
        return not self.references and not self._again

    def has_room(self) -> bool:
        """Whether a session more keeps nobody waiting for the driver, and memory bears it."""
        crew = self._crew
        up = crew.gpu_up
        if self._again or not crew.is_there:
            return False
        # What a worker has queued beside the task it is at: enough to never wait for the driver.
        # While others are still to come, nothing is queued that they could do.
        most_gpu_tasks = (3 if len(up) == len(crew.gpu) else 1) * len(up)
        n_gpu_tasks = sum(len(slot.load) for slot in up)
        gpus_have_room = not crew.gpu or n_gpu_tasks < most_gpu_tasks
        return gpus_have_room and len(self.tasks) < most_gpu_tasks + 8 * len(crew.cpu) + 16

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand all tasks of a session to Ray; those that depend on others get their futures."""
        session = _Session(tasks)
        session.start_over()
        self._hand_over(session, tasks)

    def submit_again(self) -> None:
        """Hand over again what was lost, once there is somebody to do it."""
        while self._again and self._crew.is_there:
            session = self._again.popleft()
            tasks = [task for task in session.tasks if task.id in session.lost]
            if session.n_losses > 1:
                session.start_over()
                tasks = list(session.tasks)
            session.lost.clear()
            self._hand_over(session, tasks)

    def _hand_over(self, session: _Session, tasks: Sequence[Task]) -> None:
        for task in tasks:
            slot = min(self._crew.gpu_up if task.gpu else self._crew.cpu_up, key=_weight)
            inputs = [session.values[name] for name in task.inputs]
            summary, *results = slot.actor.do.options(
                num_returns=1 + len(task.outputs), name=shown(task.id)
            ).remote(task, *inputs)
            session.values.update(zip(task.outputs, results, strict=True))
            session.open.add(task.id)
            self._sessions[task.id] = session
            self.references[summary] = task
            self.tasks[task.id] = slot
            slot.load[task.id] = task.n_frames
            if task.gpu:
                for video in task.videos:
                    self._expect(slot, video.path)

    def wait(self, timeout_s: float) -> Iterator[Summary]:
        """Summaries of the tasks that have ended meanwhile, each told once."""
        references = list(self.references)
        if not references:
            time.sleep(timeout_s)  # nobody is there to do what was lost
            return
        ray.wait(references, num_returns=1, timeout=timeout_s)
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            task = self.references.pop(reference)
            slot = self.tasks.pop(task.id)
            del slot.load[task.id]
            session = self._sessions.pop(task.id)
            session.open.discard(task.id)
            summary = self._summary(task, session, reference)
            if session.lost and not session.open:
                session.n_losses += 1
                self._again.append(session)
            if summary is not None and task.id not in self._told:
                self._told.add(task.id)
                yield summary

    def _summary(self, task: Task, session: _Session, reference: Any) -> Summary | None:
        """What the task says; None where it is lost and will be done again."""
        try:
            summary: Summary = ray.get(reference)
        except ray.exceptions.RayError as error:
            if session.n_losses >= MAX_LOSSES:
                return _lost(task, error)
            session.lost.add(task.id)
            return None
        for name in task.inputs:
            session.uses[name] -= 1
            if not session.uses[name]:
                session.values.pop(name, None)  # memory
        return summary


def _weight(slot: Slot) -> tuple[int, int]:
    return len(slot.load), slot.weight


def _lost(task: Task, error: Exception) -> Summary:
    """The summary of a task that ended in an error of Ray's."""
    failure = Failure(
        task.kind,
        f"Ray could not finish it ({first_line(error)})",
        path=task.args.video.path,
        hint="Run the same command again: what is done is not done again.",
        error="WorkerLostError",
        details=str(error),
    )
    return Summary(task.id, task.kind, failures=(failure,))


def first_line(error: BaseException) -> str:
    """An error of Ray's without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
