"""The run behind a report: what ran on what, how long, what failed, and what limited its speed.

Read from `run.json` and `events.jsonl`, of the last run in the directory. Both may be of another
version, torn, or another program's: what does not fit is left out.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypose.errors import UsageError
from raypose.storage.run_log import read_description, read_events

_MUCH = 0.3  # the share of the time from which something limits a run


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure, in the words of the run; `step` is `plan` for one found before."""

    subject: str
    step: str
    message: str
    hint: str = ""
    path: str = ""
    videos: tuple[str, ...] = ()  # keys of those that it was about


@dataclass(slots=True)
class Worker:
    """What one worker did."""

    busy_s: float = 0.0  # in tasks
    predict_s: float = 0.0  # of these, predicting, without loading models
    waited_s: float = 0.0  # of these, while networks waited for frames
    n_frames: int = 0  # predicted, counted once per model
    n_tasks: int = 0

    @property
    def frames_per_s(self) -> float | None:
        return self.n_frames / self.predict_s if self.predict_s > 0 else None


@dataclass(slots=True)
class RunFacts:
    """A run; times are seconds since the epoch, 0 where they are not known."""

    description: Mapping[str, Any] = field(default_factory=dict)  # `run.json`
    on: str = ""
    began: float = 0.0
    started: float = 0.0  # when its workers were ready
    ended: float = 0.0
    idle_s: float = 0.0  # between the parts of a run that waited for new videos
    state: str = ""  # `ended`, `stopped`, or empty where the log says neither
    problems: list[Failed] = field(default_factory=list)  # what could not be planned
    failed_tasks: dict[str, list[Failed]] = field(default_factory=dict)  # by the id of the task
    notes: list[tuple[str, str]] = field(default_factory=list)  # subject, sentence
    n_skipped: int = 0  # steps that were not tried because of a failure
    workers: dict[str, Worker] = field(default_factory=lambda: defaultdict(Worker))
    seconds: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  # by kind of step, over all workers
    tasks: Counter[str] = field(default_factory=Counter)  # by kind of step
    parts: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  # of predictions: decode, network, …
    gpu: bool = False  # whether networks ran on a GPU

    @property
    def failures(self) -> list[Failed]:
        """Everything that failed."""
        return [*self.problems, *(failed for of in self.failed_tasks.values() for failed in of)]

    @property
    def output_dir(self) -> str:
        """The directory of all outputs (`-o`) when it ran; empty where there was none."""
        config = self.description.get("config")
        if not isinstance(config, dict):
            return ""
        return str(config.get("output_dir") or config.get("eks_dir") or "")

    @property
    def among_outputs(self) -> bool:
        """Whether its directory lies in that of all outputs, wherever both are now."""
        where = self.description.get("run_dir")
        return isinstance(where, str) and os.path.dirname(where) == self.output_dir != ""

    @property
    def wall_s(self) -> float:
        return max(0.0, self.ended - self.began - self.idle_s)

    @property
    def running_s(self) -> float:
        """Seconds since its workers were ready, above 0."""
        return max(1e-9, self.ended - (self.started or self.began) - self.idle_s)

    @property
    def n_frames(self) -> int:
        return sum(worker.n_frames for worker in self.workers.values())


def read_run(run_dir: Path) -> RunFacts:
    """The last run in a directory; without facts where the directory holds none."""
    facts = RunFacts(read_description(run_dir))
    for problem in _mappings(facts.description.get("problems")):
        words = [_text(problem, name) for name in ("subject", "message", "hint")]
        if problem.get("fatal") is True:
            facts.problems.append(Failed(words[0], "plan", words[1], words[2], words[0]))
        else:
            facts.notes.append((words[0], " ".join(filter(None, words[1:]))))
    problems, notes = facts.problems, list(facts.notes)
    try:
        for event in read_events(run_dir):
            if event["event"] == "planned" and event.get("continues") is True and facts.began:
                facts.idle_s += event["time"] - facts.ended
            elif event["event"] == "planned":
                facts = RunFacts(facts.description, began=event["time"])
                facts.problems, facts.notes = problems, list(notes)
            _take(event, facts)
    except UsageError:
        pass  # no log: a report of the tables alone
    return facts


def _take(event: Mapping[str, Any], facts: RunFacts) -> None:
    facts.ended = event["time"]
    match event["event"]:
        case "started":
            facts.on = _text(event, "on")
            facts.started = facts.started or event["time"]
        case "stopped":
            facts.state = "stopped"
        case "ended" if facts.state != "stopped":
            facts.state = "ended"
        case "task finished":
            _take_task(event, facts)


def _take_task(event: Mapping[str, Any], facts: RunFacts) -> None:
    kind, subject = _text(event, "kind"), _text(event, "subject")
    seconds = _number(event, "seconds")
    told = event.get("facts")
    said: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    failures = list(_mappings(event.get("failures")))
    worker = facts.workers[_text(event, "worker") or "unknown"]
    worker.busy_s += seconds
    worker.n_tasks += 1
    facts.seconds[kind] += seconds
    facts.tasks[kind] += 1
    if kind == "predict":
        worker.n_frames += int(_number(event, "n_made") * _number(said, "n_frames"))
        worker.predict_s += _number(said, "predict_s")
        worker.waited_s += _number(said, "decode_s")
        facts.gpu |= _text(said, "device").startswith("cuda")
        for name in ("decode_s", "network_s", "subpixel_s"):
            facts.parts[name] += _number(said, name)
        facts.parts["load_s"] += max(0.0, seconds - _number(said, "predict_s"))
    listed = event.get("videos")
    videos = tuple(map(str, listed)) if isinstance(listed, list) else ()
    failed = []
    for failure in failures:
        if failure.get("skipped") is True:
            facts.n_skipped += 1
            continue
        message, hint, path = (_text(failure, name) for name in ("message", "hint", "path"))
        step = _text(failure, "step") or kind
        failed.append(Failed(subject, step, message, hint, path, videos))
    facts.failed_tasks.pop(_text(event, "task"), None)  # it may have been done again
    if failed:
        facts.failed_tasks[_text(event, "task")] = failed
    warnings = event.get("warnings")
    if isinstance(warnings, list):
        facts.notes += [(subject, str(warning)) for warning in warnings]


def bottleneck(facts: RunFacts) -> tuple[str, str]:
    """What limited the speed of a run, by name, and why, as a sentence; empty if unknown."""
    predicting = [worker for worker in facts.workers.values() if worker.predict_s > 0]
    if not facts.wall_s or not facts.seconds:
        return "", ""
    start_up = max(0.0, facts.started - facts.began) / facts.wall_s
    if start_up > 0.5:
        return "start-up", f"Workers were ready after {start_up:.0%} of the run's time."
    busy = max((w.busy_s / facts.running_s for w in predicting), default=0.0)
    if predicting and busy > 2 * _MUCH:
        return _of_prediction(facts, busy)
    others = {kind: seconds for kind, seconds in facts.seconds.items() if kind != "predict"}
    if others:
        kind, seconds = max(others.items(), key=lambda item: item[1])
        share = seconds / (sum(others.values()) or 1.0)
        if not predicting:
            return kind, f"This step took {share:.0%} of all workers' time."
        return kind, (
            f"Predicting took {busy:.0%} of the time of the busiest worker; of the time of all "
            f"other steps, {share:.0%} went into this one."
        )
    return _of_prediction(facts, busy)


def _of_prediction(facts: RunFacts, busy: float) -> tuple[str, str]:
    """The part of the predictions that took longest."""
    names = {
        "decode_s": ("decoding", "networks waited for frames"),
        "network_s": ("networks", "was spent in networks"),
        "subpixel_s": ("heatmaps", "was spent turning heatmaps into keypoints"),
        "load_s": ("loading models", "was spent loading networks"),
    }
    total = sum(facts.parts.values())
    if not total:
        return "predictions", f"The busiest worker was predicting for {busy:.0%} of the time."
    part, seconds = max(facts.parts.items(), key=lambda item: item[1])
    name, what = names[part]
    where = " on the GPU" if facts.gpu and part == "network_s" else ""
    sentence = f"Of the time of predictions, {seconds / total:.0%} {what}{where}."
    if part == "decode_s" and facts.gpu:
        sentence += " --decoder nvdec decodes on the GPU; --workers-per-gpu 2 shares it."
    return name, sentence


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _text(mapping: Mapping[str, Any], name: str) -> str:
    value = mapping.get(name, "")
    return value if isinstance(value, str) else ""


def _number(mapping: Mapping[str, Any], name: str) -> float:
    value = mapping.get(name, 0)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0.0
