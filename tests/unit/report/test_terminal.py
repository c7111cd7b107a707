"""The displays of a run, on a terminal and in a file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from raypose.errors import Failure
from raypose.planning import Plan
from raypose.report import terminal
from raypose.report.terminal import LiveDisplay, PlainDisplay, duration, live_display
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


def test_plain_lines(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_PLAIN_EVERY_S", 0.0)
    out, file = console()
    display = PlainDisplay(out)
    display.planned(plan)
    predict, label = task("predict"), task("label")
    display.started("this process, on cpu", [predict, label])
    display.progress(predict, Progress(predict.id, 0, 100))
    display.progress(predict, Progress(predict.id, 50, 100))
    display.finished(predict, Summary(predict.id, warnings=("3 frames [odd]",)))
    failure = Failure("label", "the disk is full", "/o/x", "Free some space.")
    display.finished(label, Summary(label.id, failures=(failure, failure)))
    display.ended()
    text = file.getvalue()
    assert "empty.mp4: the file is empty" in text
    assert "1 of 1 videos to do" in text
    assert "Running on this process, on cpu: 2 tasks" in text
    assert re.search(r" 36% 0/2 tasks.* \| predict a · \[1\] 50/100 [\d,]+ frames/s", text)
    assert "note a · [1]: 3 frames [odd]" in text
    assert text.count("failed label a · [1]: /o/x: the disk is full. Free some space.") == 1
    assert re.search(r"100% 2/2 tasks, 1 failed", text)
    assert "\x1b" not in text


def test_plain_lines_come_every_few_seconds_only(plan: Plan) -> None:
    out, file = console()
    display = PlainDisplay(out)
    predict = task("predict")
    display.started("cpu", [predict])
    for n in range(100):
        display.progress(predict, Progress(predict.id, n, 100))
    assert file.getvalue().count("predict") == 1


def test_a_step_that_was_left_out_is_no_failure_of_its_own(plan: Plan) -> None:
    out, file = console()
    display = PlainDisplay(out)
    label = task("label")
    display.started("cpu", [label])
    skipped = Failure("predict", "no frames").as_skipped("label")
    display.finished(label, Summary(label.id, failures=(skipped,)))
    assert "failed" not in file.getvalue()


def test_live_bars(plan: Plan) -> None:
    out, file = console(is_terminal=True)
    display = LiveDisplay(out)
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
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "Running on 1 GPU" in text
    assert "overall" in text
    assert "failed predict a · [1]: /v/[1].mp4: no frames" in text


def test_live_display_of_a_finished_plan_shows_no_bar(plan: Plan) -> None:
    out, file = console(is_terminal=True)
    display = LiveDisplay(out)
    done = Plan(plan.config, plan.models, plan.videos, (), (), plan.run_dir)
    display.planned(done)
    display.ended()
    assert file.getvalue() == ""


def test_the_overall_bar_weighs_members_and_drawing() -> None:
    assert terminal._work(task("predict", n_outputs=3)) == 300
    assert terminal._work(task("label")) < terminal._work(task("predict"))
    assert terminal._work(task("metrics")) < terminal._work(task("label"))
