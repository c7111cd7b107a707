"""How long a plan will take, as far as anything is known about it.

The best source is the log of an earlier run in the same run directory: what each kind of step took
per frame, and how many tasks ran at a time. Without one, the doctor's trials of the models on this
machine tell how long the predictions take. Without either there is no estimate.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raypose.config import RunConfig
from raypose.errors import UsageError
from raypose.inference.device import visible_gpus
from raypose.planning.graph import plan_tasks
from raypose.planning.model import Estimate, Plan
from raypose.steps import STEPS, Predict
from raypose.storage import run_log
from raypose.storage.trials import last_trial

_LEAST_S = 1.0
"""A run with less work than this says little about speed."""
_ALIKE = 2.0
"""Ratio of pixels up to which a trial tells of another video."""


def estimate(plan: Plan) -> Estimate | None:
    """How long the plan will take; None where nothing is known, or nothing is to do."""
    if plan.done:
        return None
    return _from_log(plan) or _from_trials(plan)


def _from_log(plan: Plan) -> Estimate | None:
    try:
        runs = list(_runs(run_log.read_events(plan.run_dir)))
    except UsageError:
        return None  # nothing has run there yet
    if not runs:
        return None
    to_do: Counter[str] = Counter()
    for recording in plan_tasks(plan, 1):
        for task in recording:
            to_do[task.step.name] += task.work
    needed = Predict.name if to_do[Predict.name] else max(to_do, key=lambda kind: to_do[kind])
    device = _local_device(plan)
    for run in reversed(runs):
        if run.tells_of(needed) and device in ("", run.device or device):
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.planned))
            seconds = run.startup_s + run.seconds_for(to_do)
            return Estimate(seconds, f"the speed of the run of {when} in the same directory")
    return None


@dataclass(slots=True)
class _Run:
    """What the log says of one run; times in seconds since the epoch.

    Attributes:
        planned, started: when the plan was made, and when the executor was ready.
        first, last: when the first task started, and when the last one ended.
        seconds: that tasks took, by kind of step.
        work: of these tasks, as `Task.work`.
        device: `cpu` or `cuda`; empty where nothing was predicted.
    """

    planned: float
    started: float = 0.0
    first: float = 0.0
    last: float = 0.0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    work: Counter[str] = field(default_factory=Counter)
    device: str = ""

    def tells_of(self, kind: str) -> bool:
        """Whether its tasks say how long this kind of step takes."""
        enough = self.last - self.first >= _LEAST_S and self.started >= self.planned
        return enough and self.work[kind] > 0

    @property
    def startup_s(self) -> float:
        return self.started - self.planned

    def seconds_for(self, to_do: Mapping[str, int]) -> float:
        """Wall time of other work, with as many tasks at a time as here."""
        at_a_time = sum(self.seconds.values()) / (self.last - self.first)
        return sum(self._cost(kind) * work for kind, work in to_do.items()) / at_a_time

    def _cost(self, kind: str) -> float:
        """Seconds per frame, of a kind that it has not run by how that compares with others."""
        if self.work[kind]:
            return self.seconds[kind] / self.work[kind]
        known = [k for k in self.work if self.work[k]]
        weighed = sum(STEPS[k].frame_cost * self.work[k] for k in known)
        return STEPS[kind].frame_cost * sum(self.seconds[k] for k in known) / weighed

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event of this run."""
        now = float(event["time"])
        match event["event"]:
            case "started":
                self.started = now
            case "task started":
                self.first = self.first or now
            case "task finished":
                self.last = now
                kind, seconds, work = (event.get(name) for name in ("kind", "seconds", "work"))
                if not isinstance(seconds, int | float) or not isinstance(work, int):
                    return
                if kind in STEPS and not event.get("failures"):
                    self.seconds[kind] += seconds
                    self.work[kind] += work
                    device = str((event.get("facts") or {}).get("device", ""))
                    self.device = device.partition(":")[0] or self.device


def _runs(events: Iterable[Mapping[str, Any]]) -> Iterator[_Run]:
    """The runs that a log tells of, in their order."""
    run: _Run | None = None
    for event in events:
        if event["event"] == "planned":
            if run is not None:
                yield run
            run = _Run(float(event["time"]))
        elif run is not None:
            run.add(event)
    if run is not None:
        yield run


def _from_trials(plan: Plan) -> Estimate | None:
    """How long the predictions take on this machine, by the doctor's trials of their models."""
    device = _local_device(plan)
    if not device:
        return None
    seconds, last = 0.0, 0.0
    for recording in plan.pending:
        for demand in recording.demands:
            for i in demand.models:
                video = recording.videos[demand.videos[0]]
                model = video.members[i].owner.model
                trial = None if model is None else last_trial(model.fingerprint)
                if trial is None or trial.device != device:
                    return None
                ratio = trial.pixels / max(1, video.video.width * video.video.height)
                if not 1 / _ALIKE <= ratio <= _ALIKE:
                    return None
                seconds += video.video.n_frames / trial.frames_per_s
                last = max(last, trial.time_s)
    if not seconds:
        return None
    if device == "cuda":
        seconds /= max(1, min(plan.config.gpus or visible_gpus(), visible_gpus()))
    when = time.strftime("%Y-%m-%d", time.localtime(last))
    return Estimate(seconds, f"the trial of raypose doctor on {when}", predictions_alone=True)


def _local_device(plan: Plan) -> str:
    """Where this machine would predict, `cpu` or `cuda`; empty where another one may."""
    config = plan.config
    if not isinstance(config, RunConfig) or config.address not in (None, "local"):
        return ""
    return "cpu" if config.device == "cpu" or visible_gpus() == 0 else "cuda"
