"""A start that was too slow is tried once more."""

from __future__ import annotations

import pytest

from raypose.execution.ray.starting import twice_if_slow


class Start:
    """Fails a number of times, and takes some seconds each time."""

    def __init__(self, n_failures: int, seconds: float) -> None:
        self.n_calls = 0
        self.now = 0.0
        self.said: list[str] = []
        self._n_failures, self._seconds = n_failures, seconds

    def __call__(self) -> str:
        self.n_calls += 1
        self.now += self._seconds
        if self.n_calls <= self._n_failures:
            raise RuntimeError("the node timed out")
        return "started"

    def tried(self) -> str:
        return twice_if_slow(self, self.said.append, lambda: self.now)


def test_a_start_that_works() -> None:
    start = Start(0, 100)
    assert start.tried() == "started"
    assert start.said == ["Starting Ray"]


def test_a_slow_start_that_fails_is_tried_once_more_and_says_so() -> None:
    start = Start(1, 40)
    assert start.tried() == "started"
    assert start.n_calls == 2
    assert start.said[1].startswith("Starting Ray once more: it was not ready in time")
    with pytest.raises(RuntimeError):
        Start(2, 40).tried()


def test_a_start_that_fails_at_once_is_not_tried_again() -> None:
    start = Start(1, 2)
    with pytest.raises(RuntimeError):
        start.tried()
    assert start.n_calls == 1
