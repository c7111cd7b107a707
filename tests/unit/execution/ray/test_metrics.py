"""Numbers for Prometheus, as a run reports them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raypose.errors import Failure
from raypose.execution.events import Replanned
from raypose.execution.ray import metrics
from raypose.execution.ray.metrics import MeteredObserver
from raypose.specs import Progress
from raypose.steps import Summary
from tests.tasks import make_task

DASHBOARD = Path(__file__).parents[4] / "cluster" / "grafana.json"


class Sink:
    """In the place of Ray's classes of metrics, whose values can't be read again."""

    values: dict[tuple[str, ...], float]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self._name, self._keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self._keys)
        assert tags["run"] in ("/out/raypose", r"/out/\xfc\udcff/raypose")
        Sink.values[self._key(tags)] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.set(Sink.values.get(self._key(tags), 0) + value, tags)

    def _key(self, tags: dict[str, str]) -> tuple[str, ...]:
        return (self._name, *(tags[name] for name in self._keys if name != "run"))


class Told:
    """An observer that counts what it is told."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def progress(self, progress: Progress) -> None:
        self.calls["progress"] += 1

    def finished(self, summary: Summary) -> None:
        self.calls["finished"] += 1

    def lost(self, worker: str, reason: str) -> None:
        self.calls["lost"] += 1

    def replanned(self, event: Replanned) -> None:
        self.calls["replanned"] += 1


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], float]:
    Sink.values = {}
    monkeypatch.setattr(metrics.metrics, "Gauge", Sink)
    monkeypatch.setattr(metrics.metrics, "Counter", Sink)
    clock = iter(range(1000))
    monkeypatch.setattr(metrics.time, "monotonic", lambda: float(next(clock)))
    return Sink.values


def test_a_run_directory_of_any_name(values: dict[tuple[str, ...], float]) -> None:
    predict = make_task("predict/v", gpu=True, outputs=("a",), n_frames=100)
    MeteredObserver(Told(), [predict], "/out/\xfc\udcff/raypose")
    assert values["raypose_tasks", "predict", "waiting"] == 1


def test_tasks_frames_and_failures(values: dict[tuple[str, ...], float]) -> None:
    predict = make_task("predict/v", gpu=True, outputs=("a", "b"), n_frames=100)
    tables = [make_task(name, inputs=("a",)) for name in ("load/1", "load/2")]
    told = Told()
    observer = MeteredObserver(told, [predict, *tables], "/out/raypose")
    assert values["raypose_tasks", "predict", "waiting"] == 1
    for n_done in (0, 30, 70):
        observer.progress(Progress(predict.id, n_done, 100, "lab:7 gpu 0"))
    observer.refresh()
    assert values["raypose_tasks", "predict", "running"] == 1
    assert values["raypose_tasks", "predict", "waiting"] == 0
    assert values["raypose_frames", "lab:7 gpu 0"] == 2 * 70
    assert values["raypose_frames_per_second", "lab:7 gpu 0", "predict"] == 40
    observer.finished(Summary(predict.id, stats={"n_frames": 100}))
    assert values["raypose_frames", "lab:7 gpu 0"] == 2 * 100
    assert values["raypose_frames_per_second", "lab:7 gpu 0", "predict"] == 0
    failure = Failure("load", "is broken")
    observer.finished(Summary("load/1", failures=(failure,)))
    observer.finished(Summary("load/2", failures=(failure.as_skipped("load"),)))
    assert values["raypose_failures", "load"] == 1
    observer.refresh()
    states = {s: values["raypose_tasks", "load", s] for s in metrics.STATES}
    assert states == {"waiting": 0, "running": 0, "done": 0, "failed": 1, "skipped": 1}
    assert told.calls == {"progress": 3, "finished": 3}


def test_what_another_run_has_finished_does_not_wait(
    values: dict[tuple[str, ...], float],
) -> None:
    dropped = [make_task(name, gpu=True) for name in ("predict/a", "predict/b")]
    added = make_task("load/a")
    told = Told()
    observer = MeteredObserver(told, dropped, "/out/raypose")
    observer.replanned(Replanned("v", tuple(dropped), (added,)))
    observer.refresh()
    waiting = [values["raypose_tasks", kind, "waiting"] for kind in ("predict", "load")]
    assert waiting == [0, 1] and told.calls == {"replanned": 1}
    observer.progress(Progress(added.id, 0, 10, "lab:7"))


def test_a_task_that_moves_to_another_worker_counts_its_frames_there(
    values: dict[tuple[str, ...], float],
) -> None:
    task = make_task("predict/v", gpu=True, n_frames=100)
    observer = MeteredObserver(Told(), [task], "/out/raypose")
    for n_done, worker in ((0, "a"), (60, "a"), (0, "b"), (50, "b")):
        observer.progress(Progress(task.id, n_done, 100, worker))
    assert (values["raypose_frames", "a"], values["raypose_frames", "b"]) == (60, 50)


def test_the_dashboard_asks_for_what_there_is(values: dict[tuple[str, ...], float]) -> None:
    import json
    import re

    asked: set[str] = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            asked.update(re.findall(r"ray_(raypose_\w+)", str(part.get("expr", ""))))
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(json.loads(DASHBOARD.read_text()))
    names = {"raypose_tasks", "raypose_frames_total", "raypose_frames_per_second"}
    assert asked == {*names, "raypose_failures_total"}
