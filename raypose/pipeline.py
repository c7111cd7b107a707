"""One run: plan, hand to an executor, keep the ledger, say how it went.

`plan` and `run` are the public functions `raypose.plan` and `raypose.run`; the command line calls
them and nothing else. Displays are told what happens through the `Display` contract, so that a
notebook, a terminal and a log file see the same run.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from raypose import ledger
from raypose._version import __version__
from raypose.arrange import arrange
from raypose.config import RunConfig
from raypose.errors import Failure
from raypose.executors.base import Executor
from raypose.planning import Plan, Problem, make_plan
from raypose.taskgraph import session_tasks
from raypose.tasks import Progress, Summary, Task


class Display(Protocol):
    """Shows a run while it goes on."""

    def planned(self, plan: Plan) -> None:
        """The plan is made; nothing has started."""

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        """The executor is ready and these tasks will be done."""

    def progress(self, task: Task, progress: Progress) -> None:
        """A task has come so far."""

    def finished(self, task: Task, summary: Summary) -> None:
        """A task has ended."""

    def ended(self) -> None:
        """The run is over, whatever the reason."""


@dataclass(frozen=True, slots=True)
class FailedTask:
    """Something that was asked for and was not made.

    Attributes:
        subject: the video, and the model where one is concerned.
        failure: what went wrong.
    """

    subject: str
    failure: Failure


@dataclass
class RunResult:
    """What came of a run.

    Attributes:
        plan: what was to be done.
        run_dir: the run's directory.
        made: committed files by kind of task.
        failures: what failed, at the step where it failed; what only depended on it is counted.
        skipped: number of steps that were not tried because one before them had failed.
        warnings: `(subject, sentence)`.
        n_frames: frames predicted, counted once a model.
        seconds: wall time.
    """

    plan: Plan
    run_dir: Path
    made: dict[str, list[str]] = field(default_factory=dict)
    failures: list[FailedTask] = field(default_factory=list)
    skipped: int = 0
    warnings: list[tuple[str, str]] = field(default_factory=list)
    n_frames: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True where everything that was asked for is there."""
        return not self.failures

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1

    @property
    def nothing_to_do(self) -> bool:
        return self.plan.done

    def __str__(self) -> str:
        n_made = sum(len(paths) for paths in self.made.values())
        if self.nothing_to_do and self.ok:
            return f"everything is done already ({len(self.plan.sessions)} videos)"
        text = f"{n_made} files made in {self.seconds:.0f} s"
        return text + (f", {len(self.failures)} failures" if self.failures else "")


def plan(config: RunConfig) -> Plan:
    """What `run` would do, without touching anything.

    Raises:
        RayposeError: the configuration or a model can't be used.
    """
    return make_plan(config, run_dir=run_directory(config))


def run_directory(config: RunConfig) -> Path:
    """Where the run's ledger goes: `--run-dir`, else below `-o`, else one by date and time."""
    if config.run_dir is not None:
        return Path(os.path.abspath(config.run_dir))
    if config.output_dir is not None:
        return Path(os.path.abspath(config.output_dir)) / "raypose"
    return Path.cwd() / "raypose-runs" / time.strftime("%Y-%m-%dT%H-%M-%S")


def run(config: RunConfig, *, display: Display | None = None) -> RunResult:
    """Do what is not done yet; see `RunConfig` for what there is to ask for.

    Args:
        config: what to run.
        display: is told what happens.

    Returns:
        What came of it. One failure stays one failure: look at `RunResult.failures`.

    Raises:
        RayposeError: nothing could be run at all.
        KeyboardInterrupt: it was stopped; what is done stays done.
    """
    began = time.perf_counter()
    made = plan(config)
    result = RunResult(made, made.run_dir)
    result.failures += [_failed(problem) for problem in made.problems if problem.fatal]
    if display is not None:
        display.planned(made)
    if made.done:
        result.seconds = time.perf_counter() - began
        return result
    ledger.remove_leftovers(_output_folders(made))
    log = ledger.RunLog(made.run_dir)
    executor = make_executor(config)
    try:
        log.describe(_description(made))
        log.event("planned", n_sessions=len(made.sessions), n_pending=len(made.pending))
        _execute(made, executor, result, log, display)
    except BaseException as error:
        log.event("stopped", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        if display is not None:
            display.ended()
        executor.close()
        ledger.remove_leftovers(_output_folders(made))
        result.seconds = time.perf_counter() - began
        log.event("ended", seconds=round(result.seconds, 2), failures=len(result.failures))
        log.close()
    return result


def make_executor(config: RunConfig) -> Executor:
    """The executor that the configuration asks for; ray is imported only where it is used."""
    if config.inline:
        from raypose.executors.inline import InlineExecutor

        return InlineExecutor(config)
    from raypose.executors.ray import RayExecutor

    return RayExecutor(config)


def _execute(
    made: Plan, executor: Executor, result: RunResult, log: ledger.RunLog, display: Display | None
) -> None:
    n_workers = executor.start(made.models)
    shares = arrange(made.work(), n_workers, made.config.chunk_frames)
    sessions = [
        session_tasks(session, share, made.config)
        for session, share in zip(made.pending, shares, strict=True)
    ]
    tasks = {task.id: task for session in sessions for task in session}
    log.event("started", on=executor.description, n_tasks=len(tasks))
    if display is not None:
        display.started(executor.description, list(tasks.values()))
    executor.run(sessions, _Recorder(tasks, result, log, display))


class _Recorder:
    """Listens to an executor: into the result, the log and the display."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        result: RunResult,
        log: ledger.RunLog,
        display: Display | None,
    ) -> None:
        self._tasks = tasks
        self._result = result
        self._log = log
        self._display = display
        self._running: Counter[str] = Counter()

    def progress(self, progress: Progress) -> None:
        task = self._tasks[progress.task]
        if progress.n_done == 0:
            self._log.event("task started", task=task.id, worker=progress.worker)
        if self._display is not None:
            self._display.progress(task, progress)

    def finished(self, summary: Summary) -> None:
        task, result = self._tasks[summary.task], self._result
        result.made.setdefault(task.kind, []).extend(summary.made)
        result.warnings += [(task.subject, warning) for warning in summary.warnings]
        if task.kind == "predict":
            n_members = len(task.outputs) - len(summary.failures)
            result.n_frames += n_members * int(summary.facts.get("n_frames", 0))
        for failure in dict.fromkeys(summary.failures):
            if failure.skipped:
                result.skipped += 1
            else:
                result.failures.append(FailedTask(task.subject, failure))
        self._log.event("task finished", **_event(task, summary))
        if self._display is not None:
            self._display.finished(task, summary)


def _event(task: Task, summary: Summary) -> dict[str, Any]:
    event: dict[str, Any] = {
        "task": task.id,
        "kind": task.kind,
        "session": task.session,
        "subject": task.subject,
        "seconds": round(summary.seconds, 3),
        "worker": summary.worker,
        "made": list(summary.made),
        "facts": dict(summary.facts),
    }
    if summary.warnings:
        event["warnings"] = list(summary.warnings)
    if summary.failures:
        event["failures"] = [
            {
                "step": failure.step,
                "message": failure.message,
                "path": failure.path,
                "hint": failure.hint,
                "error": failure.error,
                "details": failure.details,
                "skipped": failure.skipped,
            }
            for failure in dict.fromkeys(summary.failures)
        ]
    return event


def _failed(problem: Problem) -> FailedTask:
    failure = Failure("plan", problem.message, problem.subject, problem.hint)
    return FailedTask(Path(problem.subject).name, failure)


def _output_folders(made: Plan) -> set[Path]:
    return {
        Path(path).parent
        for session in made.sessions
        for work in session.works
        for step in work.steps
        for path in step.outputs.values()
    }


def _description(made: Plan) -> dict[str, Any]:
    """What `run.json` says: enough to read the run without the code that made it."""
    return {
        "raypose": __version__,
        "config": made.config.model_dump(mode="json"),
        "models": [
            {
                "name": model.name,
                "directory": model.directory,
                "checkpoint": model.checkpoint,
                "type": model.model_type,
                "backbone": model.backbone,
                "fingerprint": model.fingerprint,
            }
            for model in made.models
        ],
        "videos": [
            {
                "path": str(video.path),
                "key": video.key,
                "n_frames": video.spec.n_frames if video.spec else 0,
                "fps": video.spec.fps if video.spec else 0.0,
                "format": asdict(video.format) if video.format else None,
                "error": str(video.error) if video.error else "",
            }
            for video in made.videos
        ],
        "outputs": [
            {
                "session": session.video.key,
                "owner": work.owner.name,
                "kind": step.kind,
                "paths": dict(step.outputs),
                "done_before": step.done,
            }
            for session in made.sessions
            for work in session.works
            for step in work.steps
        ],
        "problems": [
            {"subject": p.subject, "message": p.message, "hint": p.hint, "fatal": p.fatal}
            for p in made.problems
        ],
    }
