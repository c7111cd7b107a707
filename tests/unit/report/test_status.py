"""How far a run is, from logs as a driver writes them."""

from __future__ import annotations

import io
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from raypose.errors import UsageError
from raypose.report.status import RunningTask, RunStatus, read_status
from raypose.report.status_view import follow_status, print_status
from raypose.storage import run_log


def finished(kind: str, **values: Any) -> dict[str, Any]:
    event = {
        "task": f"{kind}/a",
        "kind": kind,
        "subject": "model · a",
        "n_outputs": 1,
        "facts": {},
        **values,
    }
    return event


def far(n_done: int, n_total: int, **values: Any) -> dict[str, Any]:
    return {"n_done": n_done, "n_total": n_total, **values}


def failure(**values: Any) -> dict[str, Any]:
    return {"path": "/v/a.mp4", "message": "is broken", "hint": "", "skipped": False, **values}


def told(status: RunStatus, *, now: float) -> str:
    out = io.StringIO()
    print_status(Console(file=out, width=200), status, now=now)
    return out.getvalue()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[run_log.RunLog]:
    opened = run_log.RunLog(tmp_path / "run")
    yield opened
    opened.close()


def start(log: run_log.RunLog, **driver: Any) -> None:
    log.event("planned", n_recordings=2, n_pending=2, **driver)
    log.event("started", on="one GPU", n_tasks=4, tasks={"predict": 2, "table": 2}, n_frames=200)


def test_what_other_runs_do_is_not_left_to_do(log: run_log.RunLog) -> None:
    start(log)
    log.event("replanned", dropped={"predict": 1, "table": 1}, added={"load": 1}, n_frames=-100)
    waits = "1 recording is being done by another run (node2, process 7)"
    log.event("waiting", what=waits)
    status = read_status(log.directory)
    assert status.left == {"predict": 1, "table": 1, "load": 1} and status.n_frames == 100
    assert waits in told(status, now=time.time())
    log.event("task started", task="predict/b")
    assert waits not in told(read_status(log.directory), now=time.time())
    log.event("waiting", what=waits)
    log.event("replanned", dropped={"predict": 1, "table": 1}, added={}, n_frames=-100)
    assert waits not in told(read_status(log.directory), now=time.time())


def test_a_run_that_goes_on(log: run_log.RunLog) -> None:
    start(log, host=socket.gethostname(), pid=os.getpid())
    log.event("task started", task="predict/a")
    log.event("task finished", **finished("predict", facts={"n_frames": 60}, n_made=2))
    log.event("task started", task="predict/b")
    log.event("alive", running={"predict/b": far(10, 40, n_outputs=2)})
    status = read_status(log.directory)
    assert status.state == "running" and status.on == "one GPU"
    assert (status.done["predict"], status.left) == (1, {"predict": 1, "table": 2})
    assert status.n_predicted == 2 * 60 + 2 * 10
    assert status.running == {"predict/b": RunningTask(10, 40)}


def test_pace_and_time_to_go(log: run_log.RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1000.0, 1010.0, 1030.0])
    monkeypatch.setattr(time, "time", lambda: next(times))
    start(log)
    log.event("task finished", **finished("predict", facts={"n_frames": 40}))
    status = read_status(log.directory, now=1031.0)
    assert status.frames_per_s == pytest.approx(40 / 20)
    assert status.remaining_s == pytest.approx(160 / 2)


def test_what_failed_and_what_only_waited_for_it(log: run_log.RunLog) -> None:
    start(log)
    log.event("task finished", **finished("predict", failures=[failure()]))
    log.event("task finished", **finished("table", failures=[failure(skipped=True)]))
    log.event("ended", seconds=3, failures=1)
    status = read_status(log.directory)
    assert status.state == "ended"
    assert status.failed == {"predict": 1, "table": 1}
    assert status.failures == ["model · a: /v/a.mp4: is broken"]


def test_a_stopped_run(log: run_log.RunLog) -> None:
    start(log)
    log.event("task started", task="predict/a")
    log.event("stopped", error="KeyboardInterrupt: ")
    log.event("ended", seconds=3, failures=0)
    status = read_status(log.directory)
    assert status.state == "stopped" and status.running == {}
    assert status.stopped_by == ""  # a user stopped it


def test_a_run_that_an_error_stopped(log: run_log.RunLog) -> None:
    start(log)
    log.event("stopped", error="StorageError: s3://b/out: the store refuses the key")
    log.event("ended", seconds=3, failures=0)
    status = read_status(log.directory)
    assert (status.state, status.stopped_by) == (
        "stopped", "s3://b/out: the store refuses the key",
    )  # fmt: skip
    assert "stopped by s3://b/out: the store refuses the key" in told(status, now=0)


def test_videos_that_could_not_be_planned(log: run_log.RunLog) -> None:
    fatal = {"subject": "/v/b.mp4", "message": "is empty", "hint": "Copy it.", "fatal": True}
    note = {"subject": "/v/a.mp4", "message": "is long", "hint": "", "fatal": False}
    log.describe({"problems": [fatal, note, 7]})
    start(log)
    log.event("ended", seconds=3, failures=1)
    assert read_status(log.directory).failures == ["/v/b.mp4: is empty. Copy it."]


def test_hundreds_of_bad_videos_leave_the_rest_in_sight(log: run_log.RunLog) -> None:
    fatal = {"message": "is empty", "hint": "Copy it.", "fatal": True}
    log.describe({"problems": [{"subject": f"/v/{i}.mp4", **fatal} for i in range(200)]})
    start(log)
    counts = {f"/v/{i}.mp4": {"ok": 100 - i, "corrupt": i} for i in range(1, 90)}
    log.event("task finished", **finished("predict"), damaged=counts)
    log.event("ended", seconds=3, failures=200)
    lines = told(read_status(log.directory), now=0).splitlines()
    damaged = [line for line in lines if line.startswith("damaged")]
    assert len(damaged) == 20 and "/v/89.mp4: 89 of 100" in damaged[0]  # the worst first
    assert sum(line.startswith("failed") for line in lines) == 20
    assert "… and 69 more videos with damaged frames" in lines
    assert "… and 180 more failures" in lines
    assert lines[-1] == f"All of them: raypose report {log.directory}"


def test_the_parts_of_a_watch(log: run_log.RunLog) -> None:
    """A later part adds to the failures, and takes back those of tasks that it did well."""
    alive = {"host": socket.gethostname(), "pid": os.getpid()}
    start(log, **alive)
    log.event("task finished", **finished("predict", failures=[failure()]))
    log.event("task finished", **finished("table", failures=[failure()]))
    log.event("ended", seconds=3, failures=2, watching=True)
    status = read_status(log.directory)
    assert status.state == "waiting" and not status.is_over
    assert "is waiting for new videos" in told(status, now=status.last + 60)
    start(log, continues=True, **alive)
    log.event("task finished", **finished("table"))
    status = read_status(log.directory)
    assert status.state == "running"
    assert status.failures == ["model · a: /v/a.mp4: is broken"]
    start(log, continues=True, host=socket.gethostname(), pid=2**31 - 1)
    log.event("ended", seconds=3, failures=0, watching=True)
    assert read_status(log.directory).state == "ended"  # its process is gone


def test_silence_is_death(log: run_log.RunLog) -> None:
    start(log, host="another-machine", pid=1)
    now = time.time()
    assert read_status(log.directory, now=now + 60).state == "running"
    assert read_status(log.directory, now=now + 600).state == "dead"


def test_a_driver_that_is_gone_from_this_host_is_dead(log: run_log.RunLog) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    start(log, host=socket.gethostname(), pid=process.pid)
    assert read_status(log.directory).state == "dead"


def test_the_latest_run_counts(log: run_log.RunLog) -> None:
    start(log)
    log.event("task finished", **finished("predict", failures=[failure()]))
    log.event("ended", seconds=3, failures=1)
    log.event("planned", n_recordings=2, n_pending=1)
    status = read_status(log.directory)
    assert status.state == "starting" and not status.failures and not status.total


def test_it_is_told_in_words(log: run_log.RunLog) -> None:
    start(log)
    log.event("task finished", **finished("predict", facts={"n_frames": 60}))
    log.event("task finished", **finished("table", failures=[failure(hint="Copy it again.")]))
    console = Console(record=True, width=200)
    print_status(console, read_status(log.directory))
    text = console.export_text()
    assert "is running on one GPU" in text
    assert "60 of 200 frames predicted" in text
    assert "failed model · a: /v/a.mp4: is broken. Copy it again." in text


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run of raypose"):
        read_status(tmp_path)


def test_a_heartbeat_tells_what_runs(log: run_log.RunLog) -> None:
    calls, called_often = itertools.count(), threading.Event()

    def running() -> dict[str, list[int]]:
        if next(calls) == 3:
            called_often.set()
        return {"predict/a": [3, 9, 1]}

    with run_log.heartbeat(log, running, every_s=0.01):
        assert called_often.wait(20)
    events = [e for e in run_log.read_events(log.directory) if e["event"] == "alive"]
    assert len(events) > 2 and events[0]["running"] == {"predict/a": [3, 9, 1]}


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"event": "alive"}',
        b'{"event": "alive", "time": "now", "running": {}}',
        b'{"event": "alive", "time": 1e999, "running": {}}',
        b'{"event": "alive", "time": 5, "running": []}',
        b'{"event": "alive", "time": 5, "running": {"predict/a": [1]}}',
        b'{"event": "alive", "time": 5, "running": {"predict/a": {"n_done": "x", "n_total": 3}}}',
        b'{"event": "task finished", "time": 5, "task": "x"}',
        b'{"event": "task finished", "time": 5, "task": "x", "kind": "predict", "subject": "a", '
        b'"facts": {"n_frames": "many"}}',
        b'{"event": "task finished", "time": 5, "task": "x", "kind": "predict", "subject": "a", '
        b'"facts": {}, "failures": [7]}',
        b'{"event": "started", "time": 5, "on": "x", "tasks": {"predict": -1}}',
        b'{"event": "planned", "time": 5, "host": "h", "pid": 1e30}',
        b'{"event": 5, "time": 5}',
        b'{"event": "ended", "time": 5, "damaged": 7}',
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_malformed_lines_are_counted_and_left_out(log: run_log.RunLog, line: bytes) -> None:
    start(log)
    with (log.directory / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    log.event("task finished", **finished("predict", facts={"n_frames": 60}))
    status = read_status(log.directory)
    assert (status.n_unreadable, status.n_predicted, status.state) == (1, 60, "running")
    console = Console(file=io.StringIO(), width=200)
    print_status(console, status)
    assert "1 line of the log can't be read" in console.file.getvalue()  # type: ignore[attr-defined]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["planned", "started", "alive", "task started", "task finished"])},
    optional={
        "time": st.floats(0, 2e9) | JSON,
        "on": st.text(max_size=3) | JSON,
        "tasks": st.dictionaries(st.text(max_size=3), st.integers(0, 9) | JSON, max_size=2),
        "n_frames": st.integers(0, 99) | JSON,
        "running": st.dictionaries(
            st.text(max_size=3),
            st.fixed_dictionaries({"n_done": st.integers(-1, 9), "n_total": st.integers(0, 9)})
            | JSON,
            max_size=2,
        ),
        "task": st.text(max_size=3) | JSON,
        "kind": st.sampled_from(["predict", "table"]) | JSON,
        "subject": st.text(max_size=3) | JSON,
        "facts": st.dictionaries(st.just("n_frames"), JSON) | JSON,
        "failures": st.lists(JSON, max_size=2) | JSON,
        "damaged": st.dictionaries(st.text(max_size=3), JSON, max_size=2) | JSON,
        "n_outputs": JSON,
        "host": st.just(socket.gethostname()) | JSON,
        "pid": JSON,
    },
)


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(lines=st.lists((EVENTS | JSON).map(json.dumps).map(str.encode) | st.binary(max_size=30)))
def test_any_log_has_a_status(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "events.jsonl").write_bytes(b"\n".join(lines))
        status = read_status(Path(folder))
    print_status(Console(file=io.StringIO(), width=200), status)


def test_damaged_frames_are_told(log: run_log.RunLog) -> None:
    start(log, damaged={"/v/a.mp4": {"ok": 90, "suspect": 10}})
    counts = {"ok": 97, "missing": 1, "corrupt": 2}
    log.event("task finished", **finished("table", damaged={"/v/b.mp4": counts}))
    status = read_status(log.directory)
    assert status.damaged == {"/v/a.mp4": {"ok": 90, "suspect": 10}, "/v/b.mp4": counts}
    out = io.StringIO()
    print_status(Console(file=out, width=200), status)
    assert "damaged /v/a.mp4: 10 of 100 frames are suspect" in out.getvalue()
    assert "damaged /v/b.mp4: 1 of 100 frames is missing, 2 corrupt" in out.getvalue()


def test_frames_are_never_more_than_there_are(log: run_log.RunLog) -> None:
    """A task that is redone, and one that ends after another run has taken its place."""
    start(log)
    for _ in range(3):
        log.event("task started", task="predict/a", worker="lab:7 gpu 0")
        log.event("alive", running={"predict/a": far(150, 150)})
        log.event("task finished", **finished("predict", facts={"n_frames": 150}))
    log.event("alive", running={"predict/a": far(100, 150), "predict/b": far(80, 50)})
    status = read_status(log.directory)
    assert (status.n_predicted, status.n_frames) == (200, 200)
    assert status.done == {"predict": 1} and status.left == {"predict": 1, "table": 2}
    assert status.remaining_s in (0.0, None)
    out = io.StringIO()
    print_status(Console(file=out, width=200), status)
    assert "predict/b 50 of 50 frames" in out.getvalue()


def test_a_busy_worker_and_one_that_hangs(
    log: run_log.RunLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    start(log, host="elsewhere", pid=1)
    busy, hangs = (far(10, 40, worker=f"lab:{n}", silent_s=s) for n, s in ((7, 25.0), (8, 300.0)))
    log.event("alive", running={"predict/a": busy, "predict/b": hangs})
    status = read_status(log.directory, now=1010.0)
    out = io.StringIO()
    print_status(Console(file=out, width=200), status, now=1010.0)
    (line_a,) = (line for line in out.getvalue().splitlines() if "predict/a" in line)
    (line_b,) = (line for line in out.getvalue().splitlines() if "predict/b" in line)
    assert line_a.strip() == "predict/a 10 of 40 frames on lab:7"
    assert line_b.endswith("on lab:8  no sign of life for 5 min 10 s: it may hang")


def test_a_run_in_one_process_says_nothing_while_it_reads(log: run_log.RunLog) -> None:
    start(log)
    log.event("started", on="this process, on cpu", tasks={"table": 1})
    log.event("alive", running={"table/a": far(0, 40, silent_s=300.0)})
    status = read_status(log.directory)
    (task,) = status.running.values()
    assert status.stalled_s(task, status.last) == 0


def test_the_output_directory_is_enough(tmp_path: Path) -> None:
    log = run_log.RunLog(tmp_path / "out" / "raypose")
    start(log)
    log.close()
    assert read_status(tmp_path / "out").run_dir == tmp_path / "out" / "raypose"
    assert read_status(tmp_path / "out" / "raypose").total == {"predict": 2, "table": 2}


@pytest.mark.parametrize("is_terminal", [False, True])
def test_following_ends_with_the_run(log: run_log.RunLog, is_terminal: bool) -> None:
    start(log, host=socket.gethostname(), pid=os.getpid())
    now, n_sleeps = time.time(), itertools.count()

    def sleep(seconds: float) -> None:
        if next(n_sleeps) == 40:
            log.event("ended", seconds=3, failures=0)

    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=is_terminal, _environ={})
    clock = itertools.count(int(now), 2)
    status = follow_status(console, log.directory, clock=lambda: next(clock), sleep=sleep)
    assert status.state == "ended" and next(n_sleeps) == 41
    assert "has ended" in out.getvalue()
    if not is_terminal:
        assert out.getvalue().count("is running: 0 of 4 tasks, 0 of 200 frames") == 2
