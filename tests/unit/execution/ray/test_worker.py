"""What counts as doing something, on clocks that a test turns."""

from __future__ import annotations

import os

import pytest

from raypose.execution.ray.worker import Activity, bytes_moved


@pytest.mark.parametrize(
    ("passed_s", "cpu_s", "n_bytes", "active"),
    [
        (30.0, 0.2, 10_000, False),  # Ray's own threads
        (30.0, 3.0, 0, True),
        (30.0, 0.2, 50_000_000, True),
        (3600.0, 3.0, 10_000, False),
    ],
)
def test_what_counts(passed_s: float, cpu_s: float, n_bytes: int, active: bool) -> None:
    now = {"clock": 5.0, "cpu": 100.0, "bytes": 7}
    activity = Activity(lambda: now["clock"], lambda: now["cpu"], lambda: int(now["bytes"]))
    now["clock"] += passed_s
    now["cpu"] += cpu_s
    now["bytes"] += n_bytes
    assert activity.since_last() is active
    now["clock"] += 30.0
    assert not activity.since_last(), "each question is about the time since the one before"


def test_reading_counts() -> None:
    before = bytes_moved()
    with open(os.devnull, "wb") as file:
        file.write(b"x" * 1_000_000)
    assert bytes_moved() - before >= 1_000_000
