"""Which recording is claimed, and when: decided without files and clocks."""

from __future__ import annotations

from raypose.execution.events import (
    Claim,
    Claimed,
    Held,
    Postponed,
    Replanned,
    RoomForCpuWorkers,
    TasksAdded,
    TimePassed,
)
from raypose.execution.unclaimed import RETRY_S
from tests.tasks import make_recording, make_task
from tests.unit.execution.test_scheduler import Run, names


def shared(*recordings: str, n_gpu: int = 1, n_cpu: int = 1) -> tuple[Run, list[object]]:
    run = Run(n_gpu, n_cpu)
    tasks = tuple(task for name in recordings for task in make_recording(name))
    return run, list(run.tell(TasksAdded(tasks, to_claim=True)))


def test_a_recording_is_claimed_when_a_worker_can_begin_it() -> None:
    run, actions = shared("a", "b", "c")
    assert actions == [Claim("a", ahead=False)]
    assert run.tell(RoomForCpuWorkers(1)) == []  # nothing happens until there is an answer
    actions = run.tell(Claimed("a"))
    assert names(actions) == ["predict/a"] and actions[-1] == Claim("b", ahead=True)


def test_the_next_one_is_not_claimed_for_a_busy_worker_if_that_is_not_wanted() -> None:
    run, _ = shared("a", "b")
    run.tell(Claimed("a"))
    assert run.tell(Postponed("b")) == []
    assert run.tell(TimePassed(1.0)) == [Claim("b", ahead=True)]  # asked again each time
    run.tell(Postponed("b"))
    actions = run.finish("predict/a")
    assert names(actions) == ["table/a/0"] and actions[-1] == Claim("b", ahead=False)


def test_what_is_ready_goes_before_a_new_recording() -> None:
    run = Run(1, 1)
    tasks = (*make_recording("a"), make_task("load/b", recording="b"))
    assert run.tell(TasksAdded(tasks, to_claim=True)) == [Claim("b", ahead=False)]
    run.tell(Claimed("b"))
    run.tell(Claimed("a"))
    run.finish("load/b")
    assert names(run.finish("predict/a")) == ["table/a/0"]


def test_recordings_that_others_hold_come_last_and_are_asked_for_again() -> None:
    run, _ = shared("a", "b", "c")
    run.tell(TimePassed(100.0))
    assert run.tell(Held("a")) == [Claim("b", ahead=False)]
    run.tell(Claimed("b"))
    run.tell(Held("c"))
    for task in ("predict/b", "table/b/0", "smooth/b"):
        run.finish(task)
    assert run.tell(TimePassed(100.0 + RETRY_S / 2)) == []
    assert run.tell(TimePassed(100.0 + RETRY_S)) == [Claim("a", ahead=False)]
    assert run.tell(Held("a")) == [Claim("c", ahead=False)]
    assert run.tell(Held("c")) == []
    assert not run.scheduler.is_done
    run.tell(TimePassed(200.0))
    assert names(run.tell(Claimed("a"))) == ["predict/a"]


def test_a_busy_worker_does_not_bring_forward_what_another_run_holds() -> None:
    run, _ = shared("a", "b")
    run.tell(TimePassed(100.0))
    run.tell(Held("a"))
    run.tell(Claimed("b"))
    assert run.tell(TimePassed(100.0 + RETRY_S)) == [Claim("a", ahead=True)]
    assert run.tell(Postponed("a")) == []
    assert run.scheduler._unclaimed.first(True) is None  # what is ready goes before it
    run.finish("predict/b")
    assert run.actions[-1] == Claim("a", ahead=False)
    run.tell(Held("a"))  # again: from now on it waits as long
    assert run.tell(TimePassed(101.0 + RETRY_S)) == []


def test_a_recording_that_another_run_finished_has_no_tasks() -> None:
    run, _ = shared("a", "b")
    actions = run.tell(Replanned("a", make_recording("a"), ()))
    assert actions == [Claim("b", ahead=False)]
    run.tell(Replanned("b", make_recording("b"), ()))
    assert run.scheduler.is_done


def test_only_what_is_missing_is_done_of_one_that_another_run_began() -> None:
    run, _ = shared("a", "b")
    rest = (
        make_task("load/a", outputs=("table/a/0",), recording="a"),
        make_task("smooth/a", inputs=("table/a/0",), recording="a"),
    )
    actions = run.tell(Replanned("a", make_recording("a"), rest))
    assert names(actions) == ["load/a"] and actions[-1] == Claim("b", ahead=False)
    assert names(run.finish("load/a")) == ["smooth/a"]
    run.tell(Replanned("b", make_recording("b"), ()))
    run.finish("smooth/a")
    assert run.scheduler.is_done


def test_workers_without_a_gpu_do_not_claim_what_gpus_can_not_process_yet() -> None:
    run = Run(1, 4)
    tasks = [
        task
        for name in "abcd"
        for task in (*make_recording(name), make_task(f"load/{name}", recording=name))
    ]
    run.tell(TasksAdded(tuple(tasks), to_claim=True))
    actions = run.tell(Claimed("a"))
    assert names(actions) == ["load/a", "predict/a"]
    run.tell(Postponed("b"))
    assert run.finish("load/a")[-1] == Claim("b", ahead=True)
    assert [a for a in run.actions if isinstance(a, Claim) and not a.ahead] == [
        Claim("a", ahead=False)
    ]


def test_the_longest_recordings_are_claimed_first() -> None:
    run = Run(2, 1)
    tasks = [
        t for name, n in (("short", 10), ("long", 99)) for t in make_recording(name, n_frames=n)
    ]
    assert run.tell(TasksAdded(tuple(tasks), to_claim=True)) == [Claim("long", ahead=False)]
