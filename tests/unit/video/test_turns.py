"""How many threads take a turn at once, under a fake clock."""

from __future__ import annotations

import threading

import pytest

from raypose.video.turns import Turns, map_in_turns

MOST = 3


class Clocks:
    """A clock, and the seconds that a thread has computed."""

    def __init__(self) -> None:
        self.now = self.computed = 0.0

    def turns(self) -> Turns:
        return Turns(MOST, cpu_s=lambda: self.computed, clock=lambda: self.now)

    def take(self, turns: Turns, *, busy: float) -> None:
        """A turn of ten seconds."""
        with turns.turn():
            self.now += 10
            self.computed += 10 * busy


def at_once(turns: Turns) -> int:
    """How many threads can have a turn at the same time."""
    inside, leave = threading.Semaphore(0), threading.Event()

    def stay() -> None:
        with turns.turn():
            inside.release()
            leave.wait()

    threads = [threading.Thread(target=stay) for _ in range(MOST + 1)]
    for thread in threads:
        thread.start()
    n = 0
    while inside.acquire(timeout=0.2):
        n += 1
    leave.set()
    for thread in threads:
        thread.join()
    return n


@pytest.mark.parametrize(("busy", "n_turns", "expected"), [(1, 5, 1), (0.5, 5, 1), (0.1, 1, 2)])
def test_more_at_once_only_where_they_wait(busy: float, n_turns: int, expected: int) -> None:
    clocks = Clocks()
    turns = clocks.turns()
    for _ in range(n_turns):
        clocks.take(turns, busy=busy)
    assert at_once(turns) == expected


def test_never_more_than_the_most() -> None:
    clocks = Clocks()
    turns = clocks.turns()
    for _ in range(MOST + 2):
        clocks.take(turns, busy=0)
    assert at_once(turns) == MOST


def test_an_error_ends_a_turn() -> None:
    turns = Clocks().turns()
    with pytest.raises(ValueError), turns.turn():
        raise ValueError
    assert at_once(turns) == 1


def test_nothing_is_passed_to_other_threads_until_one_waits() -> None:
    clocks = Clocks()
    here, threads = threading.current_thread(), []

    def work(i: int) -> int:
        clocks.now += 10
        clocks.computed += 10 if i < 3 else 0
        threads.append(threading.current_thread())
        return 2 * i

    assert map_in_turns(work, range(8), turns=clocks.turns()) == [2 * i for i in range(8)]
    assert [thread is here for thread in threads] == [True] * 4 + [False] * 4
