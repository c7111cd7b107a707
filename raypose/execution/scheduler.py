"""Decides which worker runs which task, and when, without Ray, files, threads or a clock.

```
event ─→ Scheduler.handle ─→ actions
```

An executor tells the scheduler what happened and executes the actions that it returns:

- A task is sent to a worker when all its inputs exist and the worker can start it soon. A GPU
  worker holds one more task in its queue, so that it never waits for the driver; a CPU worker
  holds none, so that nothing waits behind a labelled video of two hours. An idle GPU worker gets
  what is queued at another one.
- The longest recordings go first, so that workers end together on short ones; a single worker
  takes recordings in the order of the plan.
- A task is lost when the worker that runs it is lost: its process died, its node is gone, or it
  made no progress for too long. Tasks that were only queued there go to others at no cost. A
  result is lost with the node that holds it; what produced it is redone, as far back as needed.
- A task ends once. It may be lost `MAX_LOSSES` times before it fails.
- Results that wait for their use are bounded (`HELD_FRAMES`), except those of one recording.
- Where other runs may do the same work, each recording is claimed when its first task is about to
  start; those that another run holds come last (`unclaimed`).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from raypose.execution import events
from raypose.execution.state import Entry, Priority, Results, Status, Workers
from raypose.execution.unclaimed import Unclaimed
from raypose.steps.base import Task

# How often a task may be lost before it fails. A file that crashes its worker does so every time,
# and each time costs the start of a worker, so the limit is low.
MAX_LOSSES = 4

# How often a task may be lost with its whole node, or before it reports anything; more count as
# losses. A node that is taken away is not the task's fault: on spot nodes that live for an hour on
# average, one in 58,000 tasks of four minutes is lost four times in a row. And a worker on a lost
# node fails whatever it is given until the loss is noticed.
MAX_EXCUSED = 20

# How often a task may stop making progress: what hangs on a second worker will hang on all.
MAX_STALLS = 2

# Rows that may wait in memory for their use: in all or per GPU worker, whichever is more.
# About 4 GB and 0.8 GB for 17 keypoints. Those of a long video wait until its last range is done.
HELD_FRAMES = 20_000_000
HELD_FRAMES_PER_GPU = 4_000_000

_MAX_FAILED_STARTS = 3


class Scheduler:
    """Decides for one run; see the module's docstring.

    Args:
        n_gpu, n_cpu: workers with a GPU, and without.
        stall_timeout_s: seconds without progress after which a task is stopped.
        wait_limit_s: seconds without any worker of a needed kind after which the run gives up.
    """

    def __init__(
        self, n_gpu: int, n_cpu: int, *, stall_timeout_s: float = 600, wait_limit_s: float = 900
    ) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._wait_limit_s = wait_limit_s
        self._now = 0.0
        self._workers = Workers()
        self._n_wanted = {True: n_gpu, False: n_cpu}
        self._failed_starts = {True: 0, False: 0}
        self._none_since: dict[bool, float] = {}
        self._entries: dict[str, Entry] = {}
        self._n_open = Counter[bool]()
        self._n_assigned = 0
        self._ready: dict[bool, list[tuple[Priority, str]]] = {True: [], False: []}
        self._results = Results()
        self._max_held_frames = max(HELD_FRAMES, HELD_FRAMES_PER_GPU * n_gpu)
        self._unbounded_recording = ""
        self._producers: dict[str, Entry] = {}
        self._consumers: dict[str, list[Entry]] = {}
        self._unclaimed = Unclaimed()
        self._may_claim_ahead = True
        self._n_added = 0
        self._actions: list[events.Action] = []
        self._handlers: dict[type, Callable[..., None]] = {
            events.TasksAdded: self._tasks_added,
            events.Claimed: self._claimed,
            events.Postponed: lambda event: self._unclaimed.postpone(event.recording),
            events.Held: lambda event: self._unclaimed.hold(event.recording, self._now),
            events.Replanned: self._replanned,
            events.WorkerUp: self._worker_up,
            events.WorkersLost: self._workers_lost,
            events.RoomForCpuWorkers: self._room_for_cpu_workers,
            events.ResultLost: self._result_lost,
            events.TimePassed: self._time_passed,
        }

    def start(self) -> list[events.Action]:
        """The workers to begin with."""
        for gpu, count in self._n_wanted.items():
            for _ in range(count):
                self._start_worker(gpu)
        return self._take_actions()

    def handle(self, event: events.Event) -> list[events.Action]:
        """Process an event; returns what to do now, in this order."""
        self._may_claim_ahead = not isinstance(event, events.Postponed)
        self._handlers.get(type(event), self._task_changed)(event)
        self._assign_ready(gpu=False)  # first, because most of these free memory
        self._assign_ready(gpu=True)
        return self._take_actions()

    @property
    def is_done(self) -> bool:
        return not any(self._n_open.values())

    def _take_actions(self) -> list[events.Action]:
        actions, self._actions = self._actions, []
        return actions

    def _start_worker(self, gpu: bool) -> None:
        self._actions.append(events.StartWorker(self._workers.add(gpu), gpu))

    def _worker_up(self, event: events.WorkerUp) -> None:
        if event.worker in self._workers:
            self._failed_starts[self._workers[event.worker].gpu] = 0
            self._workers.set_up(event.worker)

    def _workers_lost(self, event: events.WorkersLost) -> None:
        # Remove them all before the first of their tasks goes to another worker.
        lost = [(n, self._workers.remove(n)) for n in event.workers if n in self._workers]
        for number, worker in lost:
            self._actions.append(events.StopWorker(number))
            for place, entry in enumerate(worker.queue):
                self._unassign(entry)
                if place == 0:
                    self._retry_or_abandon(entry, event.reason, excused=event.with_node)
                else:
                    self._enqueue(entry)
            gpu = worker.gpu
            self._failed_starts[gpu] += not worker.up
            if self._failed_starts[gpu] < _MAX_FAILED_STARTS or self._workers.n_up(gpu):
                self._start_worker(gpu)
            else:
                reason = f"workers fail when they start ({event.reason})"
                self._actions.append(events.GiveUp(reason, starts_fail=True))

    def _room_for_cpu_workers(self, event: events.RoomForCpuWorkers) -> None:
        while self._n_wanted[False] < event.count:
            self._n_wanted[False] += 1
            self._start_worker(False)

    def _tasks_added(self, event: events.TasksAdded) -> None:
        added = self._add(event.tasks, self._n_added)
        self._n_added += len(added)
        if event.to_claim:
            self._unclaimed.add(added)
        else:
            for entry in added:
                self._enqueue(entry)

    def _claimed(self, event: events.Claimed) -> None:
        for entry in self._unclaimed.take(event.recording):
            self._enqueue(entry)

    def _replanned(self, event: events.Replanned) -> None:
        dropped = self._unclaimed.take(event.recording)
        for entry in dropped:
            del self._entries[entry.task.id]
            self._n_open[entry.task.gpu] -= 1
            self._results.remove(entry.task)
            for name in entry.task.outputs:
                del self._producers[name]
            for name in entry.task.inputs:
                self._consumers[name].remove(entry)
        for entry in self._add(event.added, dropped[0].priority[3]):
            self._enqueue(entry)

    def _add(self, tasks: Sequence[Task], place: int) -> list[Entry]:
        """Register tasks; `place` orders the first among those of equal rank and length."""
        gpu_results = {name for task in tasks if task.gpu for name in task.outputs}
        lengths = Counter[str]()
        if max(self._n_wanted.values()) > 1:
            for task in tasks:
                lengths[task.recording] += task.n_frames * len(task.outputs)
        added = []
        for number, task in enumerate(tasks, place):
            # First what stores the work of GPUs, then what frees memory, then what fills it.
            stores_gpu_work = bool(task.inputs) and gpu_results.issuperset(task.inputs)
            rank = 0 if stores_gpu_work else 1 if task.inputs else 2
            recording_length = lengths[task.recording]
            length = task.n_frames * len(task.outputs) if recording_length else 0
            priority = (rank, -recording_length, -length, number)
            entry = self._entries[task.id] = Entry(task, priority)
            added.append(entry)
            self._n_open[task.gpu] += 1
            self._results.add(task)
            self._producers.update(dict.fromkeys(task.outputs, entry))
            for name in task.inputs:
                self._consumers.setdefault(name, []).append(entry)
        return added

    def _enqueue(self, entry: Entry) -> None:
        """Make a task ready, or let it wait for its inputs."""
        entry.status = Status.WAITING
        if not self._results.missing(entry.task):
            entry.status = Status.READY
            heapq.heappush(self._ready[entry.task.gpu], (entry.priority, entry.task.id))

    def _next_ready(self, gpu: bool) -> Entry | None:
        """The first ready task; entries that are no longer ready are dropped on the way."""
        ready = self._ready[gpu]
        while ready:
            entry = self._entries[ready[0][1]]
            if entry.status is Status.READY:
                return entry
            heapq.heappop(ready)
        return None

    def _assign_ready(self, *, gpu: bool) -> None:
        """Send ready tasks to the workers that have room, shortest queues first."""
        while (number := self._workers.with_room(gpu)) is not None:
            entry = self._next_ready(gpu)
            if (first := self._to_claim(gpu, entry, number)) is not None:
                if self._fits_in_memory(first):
                    self._unclaimed.ask(first.task.recording)
                    ahead = self._workers.is_busy(number)
                    self._actions.append(events.Claim(first.task.recording, ahead))
                return
            if entry is None:
                break
            if not self._fits_in_memory(entry):
                return
            heapq.heappop(self._ready[gpu])
            self._assign(entry, number)
        for number in self._workers.to_relieve(gpu):
            entry = self._workers[number].queue[-1]
            if not entry.cancelled:
                entry.cancelled = True
                self._actions.append(events.Cancel(entry.task, number, entry.attempt))

    def _to_claim(self, gpu: bool, ready: Entry | None, number: int) -> Entry | None:
        """The first task of the recording to claim now for a worker, if that comes before what is
        ready."""
        if self._workers.is_busy(number) and not self._may_claim_ahead:
            return None
        first = self._unclaimed.first(gpu)
        if ready is None:
            return first or self._unclaimed.first_held(gpu, self._now)
        return first if first is not None and first.priority < ready.priority else None

    def _fits_in_memory(self, entry: Entry) -> bool:
        """Whether there is memory for what a task adds.

        The results of a recording are freed when it ends. So where nothing else is running, it may
        exceed the limit; else it would wait for itself.
        """
        held = self._results.held_frames
        if entry.task.inputs or held == 0:
            return True  # a task with inputs frees their memory when it ends
        if held + self._results.frames_of(entry.task) <= self._max_held_frames:
            return True
        if not self._n_assigned:
            self._unbounded_recording = entry.task.recording
        return entry.task.recording == self._unbounded_recording

    def _assign(self, entry: Entry, number: int) -> None:
        self._workers.push(number, entry)
        self._results.reserve(entry.task)
        self._n_assigned += 1
        entry.status = Status.ASSIGNED
        entry.worker = number
        entry.attempt += 1
        entry.active_at = self._now
        entry.cancelled = entry.started = False
        self._actions.append(events.Submit(entry.task, number, entry.attempt))

    def _unassign(self, entry: Entry) -> None:
        """Take a task from its worker; the next one in the queue runs from now on."""
        if entry.worker in self._workers:
            following = self._workers.pull(entry.worker, entry)
            if following is not None:
                following.active_at = self._now
        self._n_assigned -= 1
        entry.worker = -1
        entry.status = Status.WAITING
        self._results.release(entry.task)

    def _task_changed(self, event: events.OfAttempt) -> None:
        entry = self._entries.get(event.task)
        if entry is None or entry.status is not Status.ASSIGNED or entry.attempt != event.attempt:
            return  # the event is about an earlier attempt
        if isinstance(event, events.Progressed):
            entry.active_at = self._now
            entry.started = True
            return
        self._unassign(entry)
        if isinstance(event, events.Finished):
            self._end(entry)
        elif isinstance(event, events.TaskLost) and not event.blameless:
            self._retry_or_abandon(entry, event.reason)
        else:
            self._enqueue(entry)

    def _end(self, entry: Entry) -> None:
        """The task's results, or failures in their place, exist."""
        entry.status = Status.ENDED
        self._n_open[entry.task.gpu] -= 1
        unused = self._results.produced(entry.task)
        for name in entry.task.outputs:
            for consumer in self._consumers.get(name, ()):
                if consumer.status is Status.WAITING:
                    self._enqueue(consumer)
        unused += self._results.consumed(entry.task)
        self._actions += [events.Forget(name) for name in unused]

    def _retry_or_abandon(self, entry: Entry, reason: str, *, excused: bool = False) -> None:
        """A task was lost while it ran: try it again, or let it fail."""
        if (excused or not entry.started) and entry.excused < MAX_EXCUSED:
            entry.excused += 1
        else:
            entry.losses += 1
        if entry.losses >= MAX_LOSSES or entry.stalls >= MAX_STALLS:
            self._actions.append(events.Abandon(entry.task, reason, entry.losses))
            self._end(entry)
        else:
            self._enqueue(entry)

    def _result_lost(self, event: events.ResultLost) -> None:
        """Redo what produced it, as far back as results are gone."""
        lost = [event.output] if event.output in self._results else []
        while lost:
            name = lost.pop()
            if name in self._results:
                self._results.lost(name)
                for consumer in self._consumers.get(name, ()):
                    if consumer.status in (Status.READY, Status.WAITING):
                        self._enqueue(consumer)
            producer = self._producers[name]
            if producer.status is Status.ASSIGNED:
                self._results.reserve(producer.task)  # it is about to produce this one too
            elif producer.status is Status.ENDED:
                lost += self._reopen(producer)

    def _reopen(self, entry: Entry) -> list[str]:
        """Redo a task that has ended; returns the inputs that it lacks."""
        step = entry.task.step.from_disk()
        if step is not None:
            entry.task = replace(entry.task, step=step, inputs=())
            entry.priority = (2, *entry.priority[1:])
        entry.status = Status.WAITING
        self._n_open[entry.task.gpu] += 1
        entry.started = True  # it ran, and its results are lost
        self._results.add(entry.task)
        missing = self._results.missing(entry.task)
        self._retry_or_abandon(entry, "the node that held its result was lost", excused=True)
        return missing if entry.status is not Status.ENDED else []

    def _time_passed(self, event: events.TimePassed) -> None:
        self._now = event.now_s
        for number, entry in self._workers.running():
            silent_s = self._now - entry.active_at
            if silent_s > self._stall_timeout_s:
                entry.stalls += 1
                reason = f"it made no progress for {silent_s:.0f} s"
                self._workers_lost(events.WorkersLost((number,), reason))
        for gpu in (True, False):
            if not self._n_open[gpu] or self._workers.n_up(gpu):
                self._none_since.pop(gpu, None)
                continue
            waited_s = self._now - self._none_since.setdefault(gpu, self._now)
            if waited_s > self._wait_limit_s:
                kind = "with a GPU " if gpu else ""
                reason = f"no worker {kind}came up for {waited_s:.0f} s"
                self._actions.append(events.GiveUp(reason))
