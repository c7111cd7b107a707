"""Who is given work, who is given up, and who is hired: decided without Ray."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raypose.executors.ray.crew import PATIENCE_S, Crew, Slot


class Workplace:
    """Nodes that a test switches on and off, and a clock that it turns."""

    def __init__(self, n_gpu: int, n_cpu: int) -> None:
        self.now = 0.0
        self.where: dict[int, str] = {}
        self.nodes: set[str] = {"head"}
        self.hired: list[int] = []
        self.dismissed: list[int] = []
        self.crew = Crew(self.hire, self.dismiss, n_gpu, n_cpu, clock=lambda: self.now)

    def hire(self, number: int, with_gpu: bool) -> Slot:
        assert number not in self.hired
        self.hired.append(number)
        return Slot("gpu" if with_gpu else "cpu", number)

    def dismiss(self, slot: Slot) -> None:
        self.dismissed.append(slot.number)

    def arrive(self, slot: Slot, node: str) -> None:
        self.nodes.add(node)
        self.where[slot.number] = node

    def look(self, after_s: float = 0.0, n_cpu: int = 0) -> None:
        self.now += after_s
        self.crew.update(self.where, self.nodes, n_cpu)


@pytest.fixture
def work() -> Iterator[Workplace]:
    workplace = Workplace(2, 1)
    for i, slot in enumerate(workplace.crew.gpu):
        workplace.arrive(slot, f"node-{i}")
    workplace.arrive(workplace.crew.cpu[0], "head")
    workplace.look()
    yield workplace
    assert len(workplace.crew.gpu) == 2  # as many as were asked for, whatever happens


def test_who_has_not_come_is_not_given_work_and_not_given_up() -> None:
    work = Workplace(2, 1)
    work.arrive(work.crew.gpu[0], "node-0")
    work.look()
    work.look(after_s=3600)
    assert work.crew.gpu_up == work.crew.gpu[:1]
    assert work.dismissed == []
    # Work for CPUs may wait for those who will come: without it no session could be handed over.
    assert work.crew.cpu_up == work.crew.cpu


def test_a_worker_that_comes_up_elsewhere_keeps_its_work(work: Workplace) -> None:
    work.nodes.remove("node-0")
    work.look()
    assert [slot.up for slot in work.crew.gpu] == [False, True]
    work.arrive(work.crew.gpu[0], "node-1")
    work.look(after_s=PATIENCE_S + 1)
    assert [slot.up for slot in work.crew.gpu] == [True, True]
    assert work.dismissed == []


def test_a_worker_that_stays_away_is_replaced(work: Workplace) -> None:
    lost = work.crew.gpu[0]
    work.nodes.remove("node-0")
    work.look()
    work.look(after_s=PATIENCE_S - 1)
    assert work.dismissed == []
    work.look(after_s=2)
    assert work.dismissed == [lost.number]
    new = work.crew.gpu[0]
    assert new is not lost and not new.up
    work.arrive(new, "node-2")
    work.look(after_s=200)
    assert work.crew.gpu_up == work.crew.gpu


def test_patience_begins_anew_with_each_loss(work: Workplace) -> None:
    for _ in range(3):
        work.nodes.remove("node-0")
        work.look()
        work.look(after_s=PATIENCE_S - 1)
        work.nodes.add("node-0")
        work.look()
    assert work.dismissed == []


def test_workers_without_a_gpu_are_replaced_too(work: Workplace) -> None:
    work.nodes.remove("head")
    work.look()
    work.look(after_s=PATIENCE_S + 1)
    assert work.dismissed == [2]
    assert [(slot.actor, slot.number) for slot in work.crew.cpu] == [("cpu", 3)]


def test_more_are_hired_where_there_is_room(work: Workplace) -> None:
    work.look(n_cpu=3)
    assert len(work.crew.cpu) == 3
    work.look(n_cpu=1)  # nobody is sent away
    assert len(work.crew.cpu) == 3


def test_how_long_nobody_was_there(work: Workplace) -> None:
    work.look(after_s=100)
    assert work.crew.alone_s == 0
    work.nodes.clear()
    work.look()
    work.look(after_s=40)
    assert work.crew.alone_s == 40
    work.arrive(work.crew.gpu[0], "node-9")
    work.look()
    assert work.crew.alone_s == 0
