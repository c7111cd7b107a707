"""Who does what, and when: the decisions of a run, without Ray, files, threads or a clock.

```
event ─→ Scheduler.handle ─→ actions
```

An executor tells the scheduler what happened (a worker is up, a task has finished, a result is
lost, time has passed) and does what it answers (give this task to that worker, start a worker,
forget a result). Nothing here knows how.

The rules:

- A task is given to a worker when all its inputs exist and the worker can start it soon. A GPU
  worker has one more task in its queue, so that it never waits for the driver; a CPU worker has
  none, so that nothing waits behind a labelled video of two hours. When a GPU worker has nothing
  to do, it gets what is queued at another one.
- A task is lost when the worker that runs it is lost: its process died, its node is gone, or it
  made no progress for too long. Tasks in the queue of a lost worker are given to others, and that
  counts for nothing. A result is lost with the node that holds it; what it was made from is then
  done again, as far back as results are gone.
- A task ends once. It may be lost `MAX_LOSSES` times before it fails.
- Results that wait for their use are bounded (`HELD_FRAMES`): no GPU task starts beyond.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from raypose.execution.entries import Entry, Status
from raypose.execution.events import (
    Abandon,
    Action,
    Cancel,
    Cancelled,
    Event,
    Finished,
    Forget,
    GiveUp,
    Progressed,
    ResultLost,
    RoomForCpuWorkers,
    StartWorker,
    StopWorker,
    Submit,
    TaskLost,
    TasksAdded,
    TimePassed,
    WorkersLost,
    WorkerUp,
)
from raypose.execution.results import Results
from raypose.execution.workers import Workers

MAX_LOSSES = 4
"""Times that a task may be lost before it fails.

A file that crashes its worker does so every time, and each time costs the start of a worker: few
tries are enough. A node that is taken away is not the task's fault: where one in ten nodes goes
every hour and a task takes half an hour, four losses in a row happen once in 160,000 tasks.
"""

MAX_UNSTARTED = 20
"""Times that a task's worker may be lost before the task was heard to run; more count as losses.

A worker on a node that is gone, and has not been missed yet, fails whatever it is given.
"""

MAX_STALLS = 2
"""Times that a task may stop making progress: what hangs on a second worker will hang on all."""

HELD_FRAMES = 20_000_000
HELD_FRAMES_PER_GPU = 4_000_000
"""Rows that may wait in memory for their use, in all or per GPU worker, whichever is more.

About 4 GB and 0.8 GB for 17 keypoints. Those of a long video wait until its last range is done.
"""

_MAX_FAILED_STARTS = 3


class Scheduler:
    """Decides for one run; see the module's docstring.

    Args:
        n_gpu: workers with a GPU.
        n_cpu: workers without.
        stall_timeout_s: seconds without progress after which a task is stopped.
        wait_limit_s: seconds without any worker of a needed kind after which the run gives up.
    """

    def __init__(
        self,
        n_gpu: int,
        n_cpu: int,
        *,
        stall_timeout_s: float = 600.0,
        wait_limit_s: float = 900.0,
    ) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._wait_limit_s = wait_limit_s
        self._now = 0.0
        self._workers: Workers[Entry] = Workers()
        self._n_wanted = {True: n_gpu, False: n_cpu}
        self._failed_starts = {True: 0, False: 0}
        self._alone_since: dict[bool, float | None] = {True: None, False: None}
        self._entries: dict[str, Entry] = {}
        self._open = Counter[bool]()
        self._ready: dict[bool, list[tuple[int, int, str]]] = {True: [], False: []}
        self._results = Results()
        self._max_held_frames = max(HELD_FRAMES, HELD_FRAMES_PER_GPU * n_gpu)
        self._producers: dict[str, Entry] = {}
        self._consumers: dict[str, list[Entry]] = {}
        self._actions: list[Action] = []
        self._handlers: dict[type, Callable[..., None]] = {
            TasksAdded: self._tasks_added,
            WorkerUp: self._worker_up,
            WorkersLost: self._workers_lost,
            RoomForCpuWorkers: self._room_for_cpu_workers,
            Progressed: self._progressed,
            Finished: self._finished,
            Cancelled: self._cancelled,
            TaskLost: self._task_lost,
            ResultLost: self._result_lost,
            TimePassed: self._time_passed,
        }

    # --- what an executor calls ------------------------------------------------------------

    def start(self) -> list[Action]:
        """The workers to begin with."""
        for gpu, count in self._n_wanted.items():
            for _ in range(count):
                self._start_worker(gpu)
        return self._taken()

    def handle(self, event: Event) -> list[Action]:
        """Take note of an event; returns what is to be done now, in this order."""
        self._handlers[type(event)](event)
        self._assign(gpu=True)
        self._assign(gpu=False)
        return self._taken()

    @property
    def is_done(self) -> bool:
        """Whether every task has ended."""
        return not any(self._open.values())

    def n_up(self, *, gpu: bool) -> int:
        """Workers of a kind that can be given tasks."""
        return self._workers.n_up(gpu)

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    # --- workers ---------------------------------------------------------------------------

    def _start_worker(self, gpu: bool) -> None:
        self._actions.append(StartWorker(self._workers.add(gpu), gpu))

    def _worker_up(self, event: WorkerUp) -> None:
        worker = self._workers.get(event.worker)
        if worker is not None:
            self._failed_starts[worker.gpu] = 0
            self._workers.up(event.worker)

    def _workers_lost(self, event: WorkersLost) -> None:
        # All are gone before the first of their tasks is given to another one.
        lost = [(n, self._workers.remove(n)) for n in event.workers if n in self._workers]
        for number, worker in lost:
            self._actions.append(StopWorker(number))
            for place, entry in enumerate(worker.queue):
                self._leave(entry)
                if place == 0:
                    self._lose(entry, event.reason)
                else:
                    self._enqueue(entry)
            self._failed_starts[worker.gpu] += not worker.up
            if self._failed_starts[worker.gpu] < _MAX_FAILED_STARTS or self.n_up(gpu=worker.gpu):
                self._start_worker(worker.gpu)
            else:
                self._actions.append(GiveUp(f"workers fail when they start ({event.reason})"))

    def _room_for_cpu_workers(self, event: RoomForCpuWorkers) -> None:
        while self._n_wanted[False] < event.count:
            self._n_wanted[False] += 1
            self._start_worker(False)

    # --- tasks, from their addition to their end -------------------------------------------

    def _tasks_added(self, event: TasksAdded) -> None:
        gpu_results = {name for task in event.tasks if task.gpu for name in task.outputs}
        for task in event.tasks:
            secures = bool(task.inputs) and gpu_results.issuperset(task.inputs)
            rank = 0 if secures else 1 if task.inputs else 2
            entry = Entry(task, len(self._entries), rank)
            self._entries[task.id] = entry
            self._open[task.gpu] += 1
            self._results.add(task)
            self._producers.update(dict.fromkeys(task.outputs, entry))
            for name in task.inputs:
                self._consumers.setdefault(name, []).append(entry)
            self._enqueue(entry)

    def _enqueue(self, entry: Entry) -> None:
        """Put a task among those that can start, or those that wait for inputs."""
        entry.missing = len(self._results.missing(entry.task))
        entry.status = Status.WAITING if entry.missing else Status.READY
        if not entry.missing:
            heapq.heappush(self._ready[entry.task.gpu], (entry.rank, entry.order, entry.task.id))

    def _next_ready(self, gpu: bool) -> Entry | None:
        """The first task that can start; what no longer can is dropped on the way."""
        ready = self._ready[gpu]
        while ready:
            entry = self._entries[ready[0][2]]
            if entry.status is Status.READY:
                return entry
            heapq.heappop(ready)
        return None

    def _assign(self, *, gpu: bool) -> None:
        """Give tasks to the workers that have room, those with the least first."""
        while (number := self._workers.with_room(gpu)) is not None:
            entry = self._next_ready(gpu)
            if entry is None:
                break
            if not self._memory_bears(entry):
                return
            heapq.heappop(self._ready[gpu])
            self._give(entry, number)
        for number in self._workers.to_relieve(gpu):
            entry = self._workers[number].queue[-1]
            if not entry.cancelled:
                entry.cancelled = True
                self._actions.append(Cancel(entry.task, number, entry.attempt))

    def _memory_bears(self, entry: Entry) -> bool:
        """Tasks with inputs free memory in the end; one task is always borne."""
        held = self._results.held_frames
        return (
            entry.rank < 2
            or held == 0
            or held + self._results.frames_of(entry.task) <= self._max_held_frames
        )

    def _give(self, entry: Entry, number: int) -> None:
        self._workers.push(number, entry)
        self._results.reserve(entry.task)
        entry.status = Status.GIVEN
        entry.worker = number
        entry.attempt += 1
        entry.told_at = self._now
        entry.cancelled = entry.runs = False
        self._actions.append(Submit(entry.task, number, entry.attempt))

    def _leave(self, entry: Entry) -> None:
        """The task is no longer at its worker; the next one in the queue runs from now on."""
        if entry.worker in self._workers:
            following = self._workers.pull(entry.worker, entry)
            if following is not None:
                following.told_at = self._now
        entry.worker = -1
        entry.status = Status.WAITING
        self._results.give_back(entry.task)

    def _current(self, event: Progressed | Finished | Cancelled | TaskLost) -> Entry | None:
        """The task that an event is about; None where it speaks of an earlier attempt."""
        entry = self._entries.get(event.task)
        if entry is None or entry.status is not Status.GIVEN or entry.attempt != event.attempt:
            return None
        return entry

    def _progressed(self, event: Progressed) -> None:
        entry = self._current(event)
        if entry is not None:
            entry.told_at = self._now
            entry.runs = True

    def _cancelled(self, event: Cancelled) -> None:
        entry = self._current(event)
        if entry is not None:
            self._leave(entry)
            self._enqueue(entry)

    def _finished(self, event: Finished) -> None:
        entry = self._current(event)
        if entry is not None:
            self._leave(entry)
            self._end(entry)

    def _end(self, entry: Entry) -> None:
        """The task's results exist, be they failures."""
        entry.status = Status.ENDED
        self._open[entry.task.gpu] -= 1
        new, useless = self._results.made(entry.task)
        for name in new:
            for consumer in self._consumers.get(name, ()):
                if consumer.status is Status.WAITING and consumer.missing:
                    consumer.missing -= 1
                    if not consumer.missing:
                        self._enqueue(consumer)
        useless += self._results.used(entry.task)
        self._actions += [Forget(name) for name in useless]

    # --- losses ----------------------------------------------------------------------------

    def _task_lost(self, event: TaskLost) -> None:
        entry = self._current(event)
        if entry is None:
            return
        self._leave(entry)
        if event.blameless:
            self._enqueue(entry)
        else:
            self._lose(entry, event.reason)

    def _lose(self, entry: Entry, reason: str) -> None:
        """A task was lost while it ran: try it again, or let it fail."""
        if entry.runs or entry.unstarted >= MAX_UNSTARTED:
            entry.losses += 1
        else:
            entry.unstarted += 1
        if entry.losses >= MAX_LOSSES or entry.stalls >= MAX_STALLS:
            self._actions.append(Abandon(entry.task, reason, entry.losses))
            self._end(entry)
        else:
            self._enqueue(entry)

    def _result_lost(self, event: ResultLost) -> None:
        """Do again what made it, as far back as results are gone."""
        lost = [event.output] if event.output in self._results else []
        while lost:
            name = lost.pop()
            if name in self._results:
                self._results.lost(name)
                for consumer in self._consumers.get(name, ()):
                    if consumer.status in (Status.READY, Status.WAITING):
                        self._enqueue(consumer)
            producer = self._producers[name]
            if producer.status is Status.GIVEN:
                self._results.reserve(producer.task)  # it is about to make this one too
            elif producer.status is Status.ENDED:
                lost += self._reopen(producer)

    def _reopen(self, entry: Entry) -> list[str]:
        """Do a task once more that has ended; returns the inputs that it lacks."""
        step = entry.task.step.from_disk()
        if step is not None:
            entry.task = replace(entry.task, step=step, inputs=())
            entry.rank = 2
        entry.status = Status.WAITING
        self._open[entry.task.gpu] += 1
        entry.runs = True  # it did, and what it made is lost
        self._results.use_again(entry.task)
        missing = self._results.missing(entry.task)
        self._lose(entry, "the node that held its result was lost")
        return missing if entry.status is not Status.ENDED else []

    # --- time ------------------------------------------------------------------------------

    def _time_passed(self, event: TimePassed) -> None:
        self._now = event.now_s
        for number, entry in self._workers.running():
            silent_s = self._now - entry.told_at
            if silent_s > self._stall_timeout_s:
                entry.stalls += 1
                reason = f"it made no progress for {silent_s:.0f} s"
                self._workers_lost(WorkersLost((number,), reason))
        for gpu in (True, False):
            if not self._open[gpu] or self.n_up(gpu=gpu):
                self._alone_since[gpu] = None
                continue
            since = self._alone_since[gpu]
            if since is None:
                self._alone_since[gpu] = self._now
            elif self._now - since > self._wait_limit_s:
                kind = "with a GPU " if gpu else ""
                waited_s = self._now - since
                self._actions.append(GiveUp(f"no worker {kind}came up for {waited_s:.0f} s"))
