"""Anything that can happen to a run, in any order, with invariants checked after each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raypose.execution import scheduler as module
from raypose.execution.events import (
    Abandon,
    Action,
    Cancel,
    Cancelled,
    Claim,
    Claimed,
    Event,
    Finished,
    Forget,
    GiveUp,
    Held,
    Postponed,
    Progressed,
    Replanned,
    ResultLost,
    StartWorker,
    StopWorker,
    Submit,
    TaskLost,
    TasksAdded,
    TimePassed,
    WorkersLost,
    WorkerUp,
)
from raypose.execution.scheduler import MAX_EXCUSED, MAX_LOSSES, Scheduler
from raypose.steps import Task
from tests.tasks import make_recording, make_task

HELD_FRAMES = 3000


class World(RuleBasedStateMachine):
    """A cluster that executes the scheduler's actions, and to which anything may happen."""

    @initialize(
        n_gpu=st.integers(1, 3),
        n_cpu=st.integers(1, 3),
        members=st.lists(st.integers(1, 3), min_size=1, max_size=5),
        to_claim=st.booleans(),
    )
    def begin(self, n_gpu: int, n_cpu: int, members: list[int], to_claim: bool) -> None:
        self.limit = module.HELD_FRAMES, module.HELD_FRAMES_PER_GPU
        module.HELD_FRAMES, module.HELD_FRAMES_PER_GPU = HELD_FRAMES, 0
        self.scheduler = Scheduler(n_gpu, n_cpu, stall_timeout_s=600, wait_limit_s=1e12)
        self.now = 0.0
        self.starting: dict[int, bool] = {}
        self.up: dict[int, bool] = {}
        self.queues: dict[int, list[Submit]] = {}
        self.values: set[str] = set()
        self.ended = Counter[str]()
        self.redone = Counter[str]()
        self.attempts = Counter[str]()
        self.losses = Counter[str]()
        self.asked_back: set[tuple[str, int]] = set()
        self.gave_up = False
        self.n_claims = 0
        self.held: set[str] = set()  # by another run
        self.claimed: set[str] = set()
        self.tasks: dict[str, Task] = {}
        for i, n in enumerate(members):
            for task in (*make_recording(str(i), members=n), make_task(f"load/{i}")):
                self.tasks[task.id] = task
        if not to_claim:
            self.claimed.update(task.recording for task in self.tasks.values())
        self._obey(self.scheduler.start())
        self._tell(TasksAdded(tuple(self.tasks.values()), to_claim))

    def teardown(self) -> None:
        if hasattr(self, "limit"):
            module.HELD_FRAMES, module.HELD_FRAMES_PER_GPU = self.limit

    # --- the scheduler's side ---------------------------------------------------------------

    def _tell(self, *events: Event) -> None:
        for event in events:
            self._obey(self.scheduler.handle(event))

    def _obey(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case StartWorker(number, gpu):
                    assert number not in self.starting and number not in self.up
                    self.starting[number] = gpu
                case StopWorker(number):
                    self.starting.pop(number, None)
                    self.up.pop(number, None)
                    self.queues.pop(number, None)
                case Submit(task, worker, attempt):
                    assert self.up[worker] == task.gpu, "on a worker of its kind that is up"
                    assert self.values >= set(task.inputs), "with inputs that exist"
                    assert task.recording in self.claimed
                    assert attempt == self.attempts[task.id] + 1
                    self.attempts[task.id] = attempt
                    self.queues[worker].append(action)
                case Cancel(task, worker, attempt):
                    assert self.queues[worker][-1].task.id == task.id
                    assert len(self.queues[worker]) > 1, "what runs is never taken back"
                    assert (task.id, attempt) not in self.asked_back
                    self.asked_back.add((task.id, attempt))
                case Claim(recording, ahead):
                    self._tell(self._answer(recording, ahead))
                case Forget(output):
                    assert output in self.values
                    self.values.discard(output)
                case Abandon(task):
                    self._end(task)
                case GiveUp():
                    self.gave_up = True

    def _answer(self, recording: str, ahead: bool) -> Event:
        """Other runs hold a recording now and then, and have finished another."""
        assert recording not in self.claimed
        self.n_claims += 1
        self.held.discard(recording)
        if ahead and self.n_claims % 2:
            return Postponed(recording)
        if self.n_claims % 3 == 0:
            self.held.add(recording)
            return Held(recording)
        self.claimed.add(recording)
        if self.n_claims % 5:
            return Claimed(recording)
        tasks = tuple(task for task in self.tasks.values() if task.recording == recording)
        for task in tasks:
            del self.tasks[task.id]
        return Replanned(recording, tasks, ())

    def _end(self, task: Task) -> None:
        self.ended[task.id] += 1
        self.values.update(task.outputs)

    # --- what happens -----------------------------------------------------------------------

    def _running(self) -> list[Submit]:
        return [queue[0] for queue in self.queues.values() if queue]

    def _queued(self) -> list[Submit]:
        return [s for queue in self.queues.values() for s in queue[1:]]

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def a_worker_comes_up(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.starting)))
        self.up[number] = self.starting.pop(number)
        self.queues[number] = []
        self._tell(WorkerUp(number))

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def a_task_makes_progress(self, data: st.DataObject) -> None:
        submit = data.draw(st.sampled_from(self._running()))
        self._tell(Progressed(submit.task.id, submit.attempt))

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def a_task_finishes(self, data: st.DataObject) -> None:
        submit = data.draw(st.sampled_from(self._running()))
        self.queues[submit.worker].remove(submit)
        self._end(submit.task)
        self._tell(
            Progressed(submit.task.id, submit.attempt), Finished(submit.task.id, submit.attempt)
        )

    @precondition(lambda self: self.asked_back)
    @rule(data=st.data())
    def a_queued_task_is_given_back(self, data: st.DataObject) -> None:
        task, attempt = data.draw(st.sampled_from(sorted(self.asked_back)))
        self.asked_back.discard((task, attempt))
        for submit in self._queued():
            if (submit.task.id, submit.attempt) == (task, attempt):
                self.queues[submit.worker].remove(submit)
                self._tell(Cancelled(task, attempt))

    @precondition(lambda self: self.up or self.starting)
    @rule(data=st.data())
    def a_node_is_lost(self, data: st.DataObject) -> None:
        everyone = sorted((*self.up, *self.starting))
        lost = data.draw(st.lists(st.sampled_from(everyone), min_size=1, max_size=3, unique=True))
        self.losses.update(self.queues[n][0].task.id for n in lost if self.queues.get(n))
        self._tell(WorkersLost(tuple(lost), "its node was lost", with_node=True))

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def a_task_fails_in_the_cluster(self, data: st.DataObject) -> None:
        submit = data.draw(st.sampled_from(self._running()))
        self.queues[submit.worker].remove(submit)
        self.losses[submit.task.id] += 1
        self._tell(TaskLost(submit.task.id, submit.attempt, "Ray's error"))

    @precondition(lambda self: any(s.task.inputs for s in self._running()))
    @rule(data=st.data())
    def an_input_is_lost(self, data: st.DataObject) -> None:
        submits = [submit for submit in self._running() if submit.task.inputs]
        submit = data.draw(st.sampled_from(submits))
        name = data.draw(st.sampled_from(submit.task.inputs))
        self.queues[submit.worker].remove(submit)
        if name in self.values:
            self.values.discard(name)
            self.redone.update(list(self.tasks))  # which of them end again, does not matter
        self._tell(
            ResultLost(name), TaskLost(submit.task.id, submit.attempt, "gone", blameless=True)
        )

    @rule(seconds=st.sampled_from([1.0, 100.0, 650.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._tell(TimePassed(self.now))

    @precondition(lambda self: self.tasks)
    @rule(attempt=st.integers(0, 3), data=st.data())
    def an_answer_comes_too_late(self, attempt: int, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.tasks)))
        if attempt != self.attempts[task]:
            self._tell(
                Finished(task, attempt), Progressed(task, attempt), Cancelled(task, attempt)
            )

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def every_task_ends_once(self) -> None:
        for task in getattr(self, "tasks", {}):
            assert self.ended[task] <= 1 + self.redone[task]

    @invariant()
    def losses_are_bounded(self) -> None:
        for task in getattr(self, "tasks", {}):
            assert self.losses[task] <= MAX_LOSSES + MAX_EXCUSED

    @invariant()
    def nothing_runs_on_a_lost_worker(self) -> None:
        if hasattr(self, "queues"):
            assert self.queues.keys() == self.up.keys()
            lengths = {True: 2, False: 1}
            assert all(len(q) <= lengths[self.up[n]] for n, q in self.queues.items())

    @invariant()
    def no_worker_idles_while_there_is_work(self) -> None:
        """What could start has started, unless memory is short."""
        if not hasattr(self, "tasks") or self._held() + 3000 > HELD_FRAMES:
            return
        busy = {s.task.id for queue in self.queues.values() for s in queue}
        for gpu in (True, False):
            idle = [n for n, is_gpu in self.up.items() if is_gpu == gpu and not self.queues[n]]
            startable = [
                task.id
                for task in self.tasks.values()
                if task.gpu == gpu
                and not self.ended[task.id]
                and task.recording not in self.held
                and task.id not in busy
                and self.values >= set(task.inputs)
            ]
            assert not (idle and startable)

    @invariant()
    def memory_is_bounded(self) -> None:
        """Tasks that bring new results into memory together stay below the limit."""
        if hasattr(self, "tasks"):
            # What is done again brings back only what is still needed.
            needing = [task for task in self.tasks.values() if not self.ended[task.id]]
            used = {name for task in needing for name in task.inputs}
            sources = [s for queue in self.queues.values() for s in queue if not s.task.inputs]
            coming = [len(used.intersection(s.task.outputs)) * s.task.n_frames for s in sources]
            assert sum(coming) <= max([HELD_FRAMES, *coming])

    def _held(self) -> int:
        given = [s.task for queue in self.queues.values() for s in queue]
        return 1000 * (len(self.values) + sum(len(task.outputs) for task in given))

    @invariant()
    def the_run_never_stands_still(self) -> None:
        """A result that is needed exists or is being made, or a worker is on its way."""
        if hasattr(self, "tasks") and not self.scheduler.is_done:
            assert self.gave_up or self._running() or self.starting or self.held


TestScheduler = World.TestCase
TestScheduler.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
