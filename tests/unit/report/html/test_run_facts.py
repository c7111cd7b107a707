"""What a report says of the run: from logs whole, torn, and of another kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raypose.report.html.run_facts import RunFacts, Worker, bottleneck, read_run
from tests.reports import BEGAN, WORKER, describe_run


def test_times_failures_and_speed(tmp_path: Path) -> None:
    failures = {"b": "the file is cut short"}
    run = read_run(describe_run(tmp_path / "out", ["a", "b"], ["m1", "m2"], failures=failures))
    assert run.state == "ended" and run.on == "2 CPU workers"
    (failed,) = run.failures
    assert (failed.subject, failed.step, failed.message) == ("a · b", "predict", failures["b"])
    worker = run.workers[WORKER]
    # One video by two models, and one by the model that did not fail.
    assert worker.n_frames == run.n_frames == 400 * 3
    assert worker.frames_per_s == 300 and worker.predict_s == 4 and worker.n_tasks == 4
    assert run.seconds == pytest.approx({"predict": 5.0, "metrics": 0.2})
    assert run.parts == pytest.approx(
        {"decode_s": 1, "network_s": 2.4, "subpixel_s": 0.4, "load_s": 1}
    )
    assert run.notes == [("somewhere", "is odd It is left.")]


def test_of_several_runs_the_last_counts(tmp_path: Path) -> None:
    describe_run(tmp_path, ["a"], ["m"], failures={"a": "is broken"})
    assert not read_run(describe_run(tmp_path, ["a"], ["m"])).failures


def test_the_parts_of_a_run_that_waited_for_videos(tmp_path: Path) -> None:
    for part in range(2):
        describe_run(
            tmp_path, ["ab"[part]], ["m"], failures={"ab"[part]: "is broken"}, continues=part > 0,
            began=BEGAN + 1000 * part,
        )  # fmt: skip
    run = read_run(tmp_path / "raypose")
    alone = read_run(describe_run(tmp_path / "alone", ["a"], ["m"], failures={"a": "is broken"}))
    assert [failed.subject for failed in run.failures] == ["a · a", "a · b"]
    assert run.began == BEGAN and run.wall_s == 2 * alone.wall_s
    assert run.running_s == run.wall_s - (alone.wall_s - alone.running_s)


def test_without_a_log_there_are_no_facts(tmp_path: Path) -> None:
    assert read_run(tmp_path) == RunFacts()


@pytest.mark.parametrize(
    "description", ["", "[]", "[" * 100_000, '{"problems": [3, {"fatal": true}], "videos": 4}']
)
def test_a_description_that_is_none(tmp_path: Path, description: str) -> None:
    (tmp_path / "run.json").write_text(description)
    assert read_run(tmp_path).state == ""


def test_events_of_another_shape_are_taken_as_far_as_they_go(tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"event": "planned", "time": 5},
        {"event": "task finished", "time": 6, "seconds": "x", "facts": 3, "failures": {"a": 1}},
        {"event": "task finished", "time": 7, "kind": ["predict"], "warnings": "none"},
        {"event": "stopped", "time": 8},
        {"event": "ended", "time": 9},
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, odd)) + "\n{torn")
    run = read_run(tmp_path)
    assert run.state == "stopped" and run.wall_s == 4 and run.tasks == {"": 2}


def facts(**values: Any) -> RunFacts:
    run = RunFacts(began=100, started=101, ended=111, **values)
    run.seconds.setdefault("predict", 9.0)
    return run


def predicting(busy_s: float = 9.0, **parts: float) -> RunFacts:
    run = facts()
    run.workers["w"] = Worker(busy_s=busy_s, predict_s=busy_s, n_frames=900)
    run.parts.update(parts)
    return run


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("decode_s", "decoding"),
        ("network_s", "networks"),
        ("subpixel_s", "heatmaps"),
        ("load_s", "loading models"),
    ],
)
def test_the_bottleneck_of_predictions_is_named(part: str, name: str) -> None:
    parts = dict.fromkeys(("decode_s", "network_s", "subpixel_s", "load_s"), 1.0)
    found, why = bottleneck(predicting(**{**parts, part: 6.0}))  # type: ignore[arg-type]
    assert found == name and "67%" in why


def test_a_gpu_that_waits_for_frames_is_told_what_helps() -> None:
    run = predicting(decode_s=7.0, network_s=2.0)
    run.gpu = True
    assert "--decoder nvdec" in bottleneck(run)[1]


def test_other_steps_limit_a_run_whose_predicting_workers_idle() -> None:
    run = predicting(busy_s=2.0, network_s=2.0)
    run.seconds.update({"label": 40.0})
    assert bottleneck(run)[0] == "label"


def test_a_run_that_mostly_starts() -> None:
    run = predicting(network_s=2.0)
    run.started = 110
    assert bottleneck(run)[0] == "start-up"


def test_without_a_log_nothing_is_named() -> None:
    assert bottleneck(RunFacts()) == ("", "")
