"""Who does what, and when: decided without Ray, files and clocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from raypose.execution import scheduler as module
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
from raypose.execution.scheduler import MAX_EXCUSED, MAX_LOSSES, MAX_STALLS, Scheduler
from raypose.specs import Owner
from raypose.steps import Load, Table
from tests.tasks import make_recording, make_task


class Run:
    """A scheduler with workers that are up, and a record of what it asked for."""

    def __init__(
        self, n_gpu: int = 2, n_cpu: int = 2, *, up: bool = True, **options: float
    ) -> None:
        self.scheduler = Scheduler(n_gpu, n_cpu, **options)  # type: ignore[arg-type]
        self.given: dict[str, Submit] = {}
        self.actions: list[Action] = []
        self._note(self.scheduler.start())
        self.gpu = [a.worker for a in self.actions if isinstance(a, StartWorker) and a.gpu]
        self.cpu = [a.worker for a in self.actions if isinstance(a, StartWorker) and not a.gpu]
        if up:
            self.tell(*(WorkerUp(number) for number in (*self.gpu, *self.cpu)))

    def _note(self, actions: Sequence[Action]) -> list[Action]:
        self.actions += actions
        self.given.update((a.task.id, a) for a in actions if isinstance(a, Submit))
        return list(actions)

    def tell(self, *events: Event) -> list[Action]:
        return [a for event in events for a in self._note(self.scheduler.handle(event))]

    def finish(self, task: str) -> list[Action]:
        return self.tell(Finished(task, self.given[task].attempt))

    def begin(self, task: str) -> None:
        self.tell(Progressed(task, self.given[task].attempt))

    def lose(self, *workers: int) -> list[Action]:
        return self.tell(WorkersLost(workers, "its worker process died"))

    def worker_of(self, task: str) -> int:
        return self.given[task].worker


def names(actions: Sequence[Action], kind: type = Submit) -> list[str]:
    return [a.task.id for a in actions if isinstance(a, kind)]  # type: ignore[attr-defined]


def test_a_task_starts_when_its_inputs_exist() -> None:
    run = Run()
    assert names(run.tell(TasksAdded(make_recording("v", members=2)))) == ["predict/v"]
    assert names(run.finish("predict/v")) == ["table/v/0", "table/v/1"]
    assert names(run.finish("table/v/1")) == []
    assert names(run.finish("table/v/0")) == ["smooth/v"]
    run.finish("smooth/v")
    assert run.scheduler.is_done


def test_a_result_is_forgotten_after_its_last_use() -> None:
    run = Run()
    run.tell(TasksAdded(make_recording("v", members=2)))
    run.finish("predict/v")
    assert run.finish("table/v/0")[0] == Forget("predict/v#0")
    actions = run.finish("table/v/1")
    assert Forget("predict/v#1") in actions and Forget("table/v/0") not in actions
    assert {a for a in run.finish("smooth/v") if isinstance(a, Forget)} == {
        Forget("table/v/0"),
        Forget("table/v/1"),
        Forget("smooth/v"),
    }


def test_a_gpu_worker_has_its_next_task_in_its_queue() -> None:
    run = Run(n_gpu=2)
    tasks = tuple(make_task(f"p{i}", gpu=True) for i in range(5))
    actions = run.tell(TasksAdded(tasks))
    assert names(actions) == ["p0", "p1", "p2", "p3"]
    assert sorted(run.worker_of(t.id) for t in tasks[:2]) == sorted(run.gpu)
    assert names(run.finish("p0")) == ["p4"]
    assert run.worker_of("p4") == run.worker_of("p0")


def test_nothing_waits_behind_a_long_cpu_task() -> None:
    run = Run(n_cpu=2)
    run.tell(TasksAdded(tuple(make_task(f"c{i}") for i in range(4))))
    assert set(run.given) == {"c0", "c1"}
    # The first is a labelled video of two hours; all others go through the other worker.
    for i in (1, 2, 3):
        run.finish(f"c{i}")
    assert {run.worker_of(f"c{i}") for i in (1, 2, 3)} == {run.worker_of("c1")}


def test_a_gpu_worker_without_work_gets_what_is_queued_at_another() -> None:
    run = Run(n_gpu=2)
    run.tell(TasksAdded(tuple(make_task(f"p{i}", gpu=True) for i in range(3))))
    assert run.worker_of("p2") == run.worker_of("p0")
    asked = run.finish("p1")
    assert asked == [Forget("p1"), Cancel(run.given["p2"].task, run.worker_of("p0"), 1)]
    assert run.tell(TimePassed(1.0)) == []  # asked once
    assert names(run.tell(Cancelled("p2", 1))) == ["p2"]
    assert run.worker_of("p2") == run.worker_of("p1")
    run.tell(Finished("p2", 1))  # of the attempt that was taken back: it means nothing
    assert not run.scheduler.is_done
    run.finish("p2")
    run.finish("p0")
    assert run.scheduler.is_done


def test_a_task_that_has_started_before_it_was_taken_back_just_ends() -> None:
    run = Run(n_gpu=2)
    run.tell(TasksAdded(tuple(make_task(f"p{i}", gpu=True) for i in range(3))))
    run.finish("p1")
    run.finish("p0")
    assert run.finish("p2") == [Forget("p2")]
    assert run.scheduler.is_done


def test_what_secures_the_work_of_gpus_comes_first() -> None:
    run = Run(n_gpu=1, n_cpu=1)
    first, second = make_recording("a"), make_recording("b")
    extra = make_task("label/a", inputs=("table/a/0",))
    run.tell(TasksAdded((*first, extra, *second)))
    run.finish("predict/a")
    run.finish("predict/b")
    assert names(run.finish("table/a/0")) == ["table/b/0"]


def test_memory_bounds_what_is_brought_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_FRAMES", 2500)
    monkeypatch.setattr(module, "HELD_FRAMES_PER_GPU", 0)
    run = Run(n_gpu=4)
    recordings = [make_recording(str(i), n_frames=1000) for i in range(4)]
    run.tell(TasksAdded(tuple(task for recording in recordings for task in recording)))
    assert set(run.given) == {"predict/0", "predict/1"}
    run.finish("predict/0")
    assert set(run.given) == {"predict/0", "predict/1", "table/0/0"}
    run.finish("table/0/0")
    assert names(run.finish("smooth/0")) == ["predict/2"]


def test_one_task_is_always_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_FRAMES", 10)
    monkeypatch.setattr(module, "HELD_FRAMES_PER_GPU", 0)
    run = Run()
    run.tell(TasksAdded((*make_recording("a"), *make_recording("b"))))
    assert set(run.given) == {"predict/a"}


def test_a_recording_larger_than_memory_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ranges wait in memory for the last one, which must not wait for them."""
    monkeypatch.setattr(module, "HELD_FRAMES", 2500)
    monkeypatch.setattr(module, "HELD_FRAMES_PER_GPU", 0)
    run = Run(n_gpu=1)
    ranges = [make_task(f"p{i}", gpu=True, recording="v", n_frames=1000) for i in range(5)]
    table = make_task("t", recording="v", inputs=tuple(task.id for task in ranges), n_frames=5000)
    other = make_task("q", gpu=True, recording="w", n_frames=1000)
    run.tell(TasksAdded((*ranges, table, other, make_task("u", inputs=("q",), recording="w"))))
    for i in range(5):
        run.finish(f"p{i}")
        assert "q" not in run.given
    run.finish("t")
    run.finish("q")
    run.finish("u")
    assert run.scheduler.is_done


def test_the_longest_recordings_go_first() -> None:
    run = Run(n_gpu=2, n_cpu=1)
    lengths = {"a": 10, "b": 3000, "c": 200, "d": 40, "e": 500}
    recordings = [make_recording(name, n_frames=n) for name, n in lengths.items()]
    run.tell(TasksAdded(tuple(task for recording in recordings for task in recording)))
    assert list(run.given) == ["predict/b", "predict/e", "predict/c", "predict/d"]


def test_a_single_worker_keeps_the_order_of_the_plan() -> None:
    run = Run(n_gpu=1, n_cpu=1)
    recordings = [make_recording(name, n_frames=n) for name, n in (("a", 10), ("b", 3000))]
    run.tell(TasksAdded(tuple(task for recording in recordings for task in recording)))
    assert list(run.given) == ["predict/a", "predict/b"]


# --- losses ----------------------------------------------------------------------------------


def test_a_lost_worker_is_replaced_and_its_tasks_go_to_others() -> None:
    run = Run(n_gpu=2)
    run.tell(TasksAdded(tuple(make_task(f"p{i}", gpu=True) for i in range(4))))
    lost = run.worker_of("p0")
    run.begin("p0")
    run.finish("p1")
    actions = run.lose(lost)
    assert actions[0] == StopWorker(lost)
    (started,) = [a for a in actions if isinstance(a, StartWorker)]
    assert started.gpu and started.worker not in (*run.gpu, *run.cpu)
    assert names(actions) == ["p0"]  # the other worker has p3 and room for one more
    assert names(run.tell(WorkerUp(started.worker))) == ["p2"]
    assert run.worker_of("p2") == started.worker


def test_tasks_that_were_only_queued_count_no_loss() -> None:
    run = Run(n_gpu=1)
    run.tell(TasksAdded(tuple(make_task(f"p{i}", gpu=True) for i in range(2))))
    for _ in range(MAX_LOSSES - 1):
        run.begin("p0")
        (started,) = [a for a in run.lose(run.worker_of("p0")) if isinstance(a, StartWorker)]
        assert names(run.tell(WorkerUp(started.worker))) == ["p0", "p1"]
    run.begin("p0")
    actions = run.lose(run.worker_of("p0"))
    assert names(actions, Abandon) == ["p0"]
    (started,) = [a for a in actions if isinstance(a, StartWorker)]
    assert names(run.tell(WorkerUp(started.worker))) == ["p1"]


def test_a_node_that_is_not_yet_missed_costs_a_task_nothing() -> None:
    """All its workers fail whatever they are given, one after the other."""
    run = Run(n_gpu=1, n_cpu=8)
    run.tell(TasksAdded((make_task("c"),)))
    for _ in range(7):
        actions = run.lose(run.worker_of("c"))
        assert names(actions, Abandon) == []
    assert names(actions) == ["c"]


def test_workers_of_one_node_are_gone_before_their_tasks_are_given_away() -> None:
    run = Run(n_gpu=1, n_cpu=4)
    run.tell(TasksAdded((make_task("c0"), make_task("c1"))))
    node = (run.worker_of("c0"), run.worker_of("c1"), *run.cpu[2:3])
    run.lose(*node)
    assert run.worker_of("c0") in run.cpu and run.worker_of("c0") not in node


def test_a_task_that_never_gets_to_run_fails_in_the_end() -> None:
    run = Run(n_gpu=1, n_cpu=1)
    run.tell(TasksAdded((make_task("c"),)))
    for _ in range(MAX_EXCUSED + MAX_LOSSES):
        actions = run.lose(run.worker_of("c"))
        run.tell(*(WorkerUp(a.worker) for a in actions if isinstance(a, StartWorker)))
    assert names(run.actions, Abandon) == ["c"]
    assert run.scheduler.is_done


def test_nodes_that_are_taken_away_are_not_a_tasks_fault() -> None:
    run = Run(n_gpu=1)
    run.tell(TasksAdded((make_task("p", gpu=True),)))
    for _ in range(MAX_EXCUSED):
        run.begin("p")
        lost = WorkersLost((run.worker_of("p"),), "its node was lost", with_node=True)
        actions = run.tell(lost)
        assert names(actions, Abandon) == []
        run.tell(*(WorkerUp(a.worker) for a in actions if isinstance(a, StartWorker)))
    run.finish("p")
    assert run.scheduler.is_done


def test_what_waits_for_an_abandoned_task_gets_its_failure() -> None:
    run = Run(n_gpu=1)
    run.tell(TasksAdded(make_recording("v")))
    for _ in range(MAX_LOSSES):
        run.begin("predict/v")
        actions = run.lose(run.worker_of("predict/v"))
        run.tell(*(WorkerUp(a.worker) for a in actions if isinstance(a, StartWorker)))
    (abandon,) = [a for a in run.actions if isinstance(a, Abandon)]
    assert abandon.losses == MAX_LOSSES and abandon.reason == "its worker process died"
    assert "table/v/0" in run.given


def test_workers_that_can_not_start_end_the_run() -> None:
    run = Run(n_gpu=1, n_cpu=1, up=False)
    worker = run.gpu[0]
    for _ in range(2):
        (_, started) = run.lose(worker)
        assert isinstance(started, StartWorker)
        worker = started.worker
    reason = "workers fail when they start (its worker process died)"
    assert run.lose(worker)[-1] == GiveUp(reason, starts_fail=True)


def test_a_lost_input_is_made_again_and_costs_its_user_nothing() -> None:
    run = Run(n_gpu=1, n_cpu=2)
    run.tell(TasksAdded(make_recording("v", members=2)))
    run.finish("predict/v")
    run.finish("table/v/0")
    # `predict/v#0` is forgotten; the table of the second member finds its input gone.
    actions = run.tell(ResultLost("predict/v#1"), TaskLost("table/v/1", 1, "gone", True))
    assert names(actions) == ["predict/v"]
    assert names(run.finish("predict/v")) == ["table/v/1"]
    assert names(run.finish("table/v/1")) == ["smooth/v"]
    run.finish("smooth/v")
    assert run.scheduler.is_done
    assert names(run.actions, Abandon) == []


def test_results_are_made_again_as_far_back_as_they_are_gone() -> None:
    run = Run(n_gpu=1, n_cpu=1)
    run.tell(TasksAdded(make_recording("v")))
    run.finish("predict/v")
    run.finish("table/v/0")
    actions = run.tell(ResultLost("table/v/0"), TaskLost("smooth/v", 1, "gone", True))
    assert names(actions) == ["predict/v"]
    assert names(run.finish("predict/v")) == ["table/v/0"]
    assert names(run.finish("table/v/0")) == ["smooth/v"]


def test_a_committed_table_is_read_instead() -> None:
    video = make_task("v").step.video
    owner = Owner("m", "/o")
    table = Table(videos=(video,), owner=owner, outputs={"table": "/o/t.csv"}, provenance={})
    run = Run(n_gpu=1, n_cpu=1)
    predict, stitch, smooth = make_recording("v")
    run.tell(TasksAdded((predict, replace(stitch, step=table), smooth)))
    run.finish("predict/v")
    run.finish("table/v/0")
    run.tell(ResultLost("table/v/0"), TaskLost("smooth/v", 1, "gone", True))
    again = run.given["table/v/0"].task
    assert again.inputs == () and again.step == Load(videos=(video,), path="/o/t.csv")
    assert names(run.finish("table/v/0")) == ["smooth/v"]


# --- time ------------------------------------------------------------------------------------


def test_a_task_without_progress_is_stopped_tried_elsewhere_and_then_fails() -> None:
    run = Run(n_gpu=2, stall_timeout_s=600)
    run.tell(TimePassed(0.0), TasksAdded((make_task("p", gpu=True),)))
    run.begin("p")
    run.tell(TimePassed(590.0))
    run.begin("p")  # progress
    assert run.tell(TimePassed(1190.0)) == []
    first = run.worker_of("p")
    actions = run.tell(TimePassed(1191.0))
    assert actions[0] == StopWorker(first) and names(actions) == ["p"]
    assert run.worker_of("p") != first
    run.begin("p")
    actions = run.tell(TimePassed(1792.0))
    (abandon,) = [a for a in actions if isinstance(a, Abandon)]
    assert abandon.losses == MAX_STALLS and "no progress for 601 s" in abandon.reason


def test_time_in_the_queue_is_no_stall() -> None:
    run = Run(n_gpu=1, stall_timeout_s=600)
    run.tell(TimePassed(0.0), TasksAdded(tuple(make_task(f"p{i}", gpu=True) for i in range(2))))
    run.tell(TimePassed(500.0))
    run.finish("p0")
    assert run.tell(TimePassed(1100.0)) == []
    assert isinstance(run.tell(TimePassed(1101.0))[0], StopWorker)


def test_a_run_without_workers_gives_up_in_the_end() -> None:
    run = Run(n_gpu=1, up=False, wait_limit_s=900)
    run.tell(*(WorkerUp(number) for number in run.cpu))
    run.tell(TasksAdded((make_task("p", gpu=True),)), TimePassed(0.0))
    assert run.tell(TimePassed(900.0)) == []
    assert run.tell(TimePassed(901.0)) == [GiveUp("no worker with a GPU came up for 901 s")]


def test_a_kind_of_worker_without_tasks_is_not_waited_for() -> None:
    run = Run(n_gpu=1, up=False, wait_limit_s=300)
    run.tell(*(WorkerUp(number) for number in run.cpu))
    run.tell(TasksAdded((make_task("c"),)), TimePassed(0.0))
    assert run.tell(TimePassed(599.0)) == []


def test_a_worker_that_comes_late_is_given_work() -> None:
    run = Run(n_gpu=2, up=False)
    run.tell(WorkerUp(run.gpu[0]), TasksAdded(tuple(make_task(f"p{i}", gpu=True) for i in (0, 1))))
    assert run.worker_of("p0") == run.worker_of("p1") == run.gpu[0]
    (cancel,) = run.tell(WorkerUp(run.gpu[1]))
    assert isinstance(cancel, Cancel) and cancel.task.id == "p1"
    run.tell(Cancelled("p1", 1))
    assert run.worker_of("p1") == run.gpu[1]


def test_more_cpu_workers_start_where_there_is_room() -> None:
    run = Run(n_cpu=1)
    assert len(run.tell(RoomForCpuWorkers(3))) == 2
    assert run.tell(RoomForCpuWorkers(1)) == []  # none is sent away
