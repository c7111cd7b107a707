"""The displays of a run, on a terminal and in a file."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from raypose.errors import Failure
from raypose.planning import Plan
from raypose.report.live import LiveDisplay
from raypose.report.plain import PlainDisplay
from raypose.report.tally import work_of
from raypose.report.terminal import duration, live_display
from raypose.specs import Owner, Progress, VideoSpec
from raypose.steps import Summary, Task
from tests.projects import Project
from tests.steps import label_step, metrics_step, predict_step

VIDEO = VideoSpec("/v/[1].mp4", "[1]", 100, 96, 64, 25.0, 4.0, "fp")


OWNER = Owner("a", "/o")
STEPS = {
    "predict": predict_step(VIDEO, (), 0, 100, ()),
    "label": label_step(VIDEO, OWNER, "/o/x.mp4", {}),
    "metrics": metrics_step(VIDEO, OWNER, {}, {}),
}


def task(name: str, *, n_outputs: int = 1) -> Task:
    return Task(
        id=f"{name}/[1]/a",
        step=STEPS[name],
        recording="[1]",
        subject="a · [1]",
        outputs=tuple(f"{name}#{i}" for i in range(n_outputs)),
        n_frames=100,
    )


def console(*, is_terminal: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(
        file=file, force_terminal=is_terminal, width=200, highlight=False, _environ={}
    ), file


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    project = Project(tmp_path)
    project.video()
    (project.videos / "empty.mp4").touch()
    return project.plan()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (4200, "1 h 10 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_display_follows_the_output() -> None:
    assert isinstance(live_display(console()[0]), PlainDisplay)
    assert isinstance(live_display(console(is_terminal=True)[0]), LiveDisplay)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def worker(name: str, task: Task, n_done: int) -> Progress:
    return Progress(task.id, n_done, task.n_frames, name)


def test_plain_lines(plan: Plan) -> None:
    out, file = console()
    clock = Clock()
    display = PlainDisplay(out, clock)
    display.waiting("Starting Ray")
    display.waiting("Starting Ray")
    display.planned(plan)
    predict, label = task("predict"), task("label")
    display.started("this process, on cpu", [predict, label])
    display.progress(predict, Progress(predict.id, 10, 100))
    clock.now_s += 61
    display.progress(predict, Progress(predict.id, 71, 100))
    display.finished(predict, Summary(predict.id, warnings=("3 frames [odd]",)))
    failure = Failure("label", "the disk is full", "/o/x", "Free some space.")
    display.finished(label, Summary(label.id, failures=(failure, failure)))
    clock.now_s += 60
    display.progress(label, Progress(label.id, 9, 100))
    display.ended()
    text = file.getvalue()
    assert text.count("Starting Ray") == 1
    assert "empty.mp4: the file is empty" in text
    assert "1 of 2 videos to do (1 can't be read)" in text
    assert "Running on this process, on cpu: 2 tasks" in text
    share = terminal_share(71, predict, label)
    line = f"after 1 min 01 s: {share}, 0 of 2 tasks, about"
    assert line in text and "| predict a · [1] 71 of 100 frames, 1 frames/s" in text
    assert "note a · [1]: 3 frames [odd]" in text
    assert text.count("failed label a · [1]: /o/x: the disk is full. Free some space.") == 1
    assert "after 2 min 01 s: 100%, 2 of 2 tasks, 1 failed" in text
    assert "\x1b" not in text


def terminal_share(n_done: int, running: Task, other: Task) -> str:
    return f"{work_of(running) * n_done / 100 / (work_of(running) + work_of(other)):.0%}"


def test_plain_lines_come_once_per_minute(plan: Plan) -> None:
    out, file = console()
    clock = Clock()
    display = PlainDisplay(out, clock)
    predict = task("predict")
    display.started("cpu", [predict])
    for n in range(100):
        display.progress(predict, Progress(predict.id, n, 100))
        clock.now_s += 1.5
    assert file.getvalue().count("predict") == 2


def test_the_same_note_on_many_videos_is_said_once() -> None:
    out, file = console()
    display = PlainDisplay(out)
    tasks = [task("metrics"), task("label"), task("predict")]
    display.started("cpu", tasks)
    for each in tasks:
        display.finished(each, Summary(each.id, warnings=("PCA metrics are left out",)))
    assert file.getvalue().count("PCA metrics are left out") == 1


def test_a_step_that_was_left_out_is_no_failure_of_its_own(plan: Plan) -> None:
    out, file = console()
    display = PlainDisplay(out)
    label = task("label")
    display.started("cpu", [label])
    skipped = Failure("predict", "no frames").as_skipped("label")
    display.finished(label, Summary(label.id, failures=(skipped,)))
    assert "failed" not in file.getvalue()


def plain(file: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def drawn(display: LiveDisplay, width: int) -> list[str]:
    """The lines that a display draws on a terminal of this width."""
    out = Console(file=io.StringIO(), width=width, force_terminal=True, record=True, _environ={})
    out.print(display)
    return out.export_text().rstrip("\n").split("\n")


def test_live_bars(plan: Plan) -> None:
    out, file = console(is_terminal=True)
    display = LiveDisplay(out)
    display.waiting("Starting Ray")
    display.planned(plan)
    predict = task("predict", n_outputs=2)
    try:
        display.started("1 GPU", [predict])
        display.progress(predict, Progress(predict.id, 0, 100))
        display.progress(predict, Progress(predict.id, 60, 100))
        failure = Failure("predict", "no frames", "/v/[1].mp4")
        display.finished(predict, Summary(predict.id, failures=(failure,)))
    finally:
        display.ended()
    display.ended()  # again is no error
    text = plain(file)
    assert "Running on 1 GPU" in text
    assert "failed predict a · [1]: /v/[1].mp4: no frames" in text


@pytest.mark.parametrize("width", [80, 200])
def test_a_line_per_worker(width: int) -> None:
    clock = Clock()
    display = LiveDisplay(console(is_terminal=True)[0], clock)
    predict, label = task("predict", n_outputs=2), task("label")
    display.started("2 GPUs", [predict, label])
    display.progress(label, worker("node:12", label, 0))
    display.progress(predict, worker("node:10 gpu 0", predict, 0))
    clock.now_s += 10  # in which the network is loaded
    display.progress(predict, worker("node:10 gpu 0", predict, 10))
    display.progress(label, worker("node:12", label, 4))
    clock.now_s += 8
    display.progress(predict, worker("node:10 gpu 0", predict, 50))
    display.progress(label, worker("node:12", label, 20))
    overall, numbers, gpu, cpu = drawn(display, width)
    assert all(len(line) <= width for line in (overall, numbers, gpu, cpu))
    share = terminal_share(50, predict, label)[:1]
    assert overall.startswith("overall ") and share in overall and overall.endswith("%")
    assert "0 of 2 tasks, about 12 s left, 18 s so far, 6 frames/s" in numbers
    assert gpu.startswith("GPU 0    predict a · [1]") and gpu.endswith("5 frames/s")
    assert cpu.startswith("worker 1 label a · [1]") and cpu.endswith("2 frames/s")
    assert ("50%" in gpu) == (width == 80)
    assert ("━━━━━━━━━━" in gpu and "50 of 100" in gpu) == (width == 200)


def test_a_worker_without_work_and_one_that_was_lost() -> None:
    out, file = console(is_terminal=True)
    display = LiveDisplay(out)
    predict, label = task("predict"), task("label")
    display.started("2 GPUs", [predict, label])
    display.progress(predict, worker("node:10 gpu 0", predict, 0))
    display.progress(label, worker("node:12", label, 3))
    display.lost("node:10 gpu 0", "its worker process died")
    assert "note GPU 0 was lost: its worker process died. Its task is tried again." in plain(file)
    display.progress(predict, worker("node:11 gpu 1", predict, 0))
    display.finished(label, Summary(label.id))
    lines = drawn(display, 80)[2:]
    assert lines[0].startswith("GPU 1    predict a · [1]") and "starting" in lines[0]
    assert lines[1] == "worker 1 waits for work"
    assert len(lines) == 2


def test_what_the_start_waits_for() -> None:
    clock = Clock()
    display = LiveDisplay(console(is_terminal=True)[0], clock)
    try:
        display.waiting("Preparing network 1 of 2, first time only")
        clock.now_s += 12
        display.waiting("Preparing network 1 of 2, first time only")
        assert drawn(display, 80) == ["Preparing network 1 of 2, first time only … (12 s)"]
    finally:
        display.ended()


def test_long_names_lose_their_middle() -> None:
    display = LiveDisplay(console(is_terminal=True)[0])
    predict = replace(task("predict"), subject=f"a · {'session_' * 20}end")
    display.started("1 GPU", [predict])
    display.progress(predict, worker("node:10 gpu 0", predict, 0))
    line = drawn(display, 80)[2]
    assert len(line.rstrip()) <= 80 and "…" in line and "session_end" in line


def test_live_display_of_a_finished_plan_shows_no_bar(plan: Plan) -> None:
    out, file = console(is_terminal=True)
    display = LiveDisplay(out)
    done = Plan(plan.config, plan.models, plan.videos, (), (), plan.run_dir)
    display.planned(done)
    display.ended()
    assert file.getvalue() == ""


def test_the_overall_bar_weighs_members_and_drawing() -> None:
    assert work_of(task("predict", n_outputs=3)) == 300
    assert work_of(task("label")) < work_of(task("predict"))
    assert work_of(task("metrics")) < work_of(task("label"))
