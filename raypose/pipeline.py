"""One run: plan, hand to an executor, keep the ledger, say how it went.

`plan`, `run` and `smooth` are the public functions of these names; the command line calls them and
nothing else. Displays are told what happens through the `Display` contract, so that a notebook, a
terminal and a log file see the same run.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from raypose._version import __version__
from raypose.config import RunConfig, Settings, SmoothConfig
from raypose.errors import Failure, StorageError
from raypose.execution.base import Executor
from raypose.inputs.ensembles import describe_ensemble
from raypose.planning import Plan, Problem, make_plan
from raypose.planning.smoothing.plan import SmoothPlan, make_smooth_plan, smooth_tasks
from raypose.planning.taskgraph import arranged_tasks
from raypose.specs import ModelSpec
from raypose.storage import AnyPath, as_path, local_path, run_log, scratch, temporary_files
from raypose.tasks import Progress, Summary, Task
from raypose.video.frames import damage
from raypose.worker.storage_check import check_storage, io_paths


class Planned(Protocol):
    """What all plans tell, of `run` and of `smooth`."""

    @property
    def run_dir(self) -> Path:
        """Where the run's ledger goes."""

    @property
    def models(self) -> Sequence[ModelSpec]:
        """The models that predict."""

    @property
    def problems(self) -> Sequence[Problem]:
        """What is wrong or odd."""

    @property
    def sessions(self) -> Sequence[object]:
        """All recordings."""

    @property
    def pending(self) -> Sequence[object]:
        """Those that something must be done for."""

    @property
    def done(self) -> bool:
        """True where there are none."""

    @property
    def n_videos(self) -> int:
        """Videos of all recordings."""

    @property
    def n_pending_videos(self) -> int:
        """Videos of those that something must be done for."""

    @property
    def output_folders(self) -> set[AnyPath]:
        """Where outputs go."""

    @property
    def damaged(self) -> Mapping[str, Mapping[str, int]]:
        """Videos with frames that are not ok in a finished table: path → number of each status."""


class Display(Protocol):
    """Shows a run while it goes on."""

    def planned(self, plan: Planned) -> None:
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


_P = TypeVar("_P", bound=Planned)


@dataclass
class RunResult(Generic[_P]):
    """What came of a run.

    Attributes:
        plan: what was to be done.
        run_dir: the run's directory.
        made: committed files by kind of task.
        failures: what failed, at the step where it failed; what only depended on it is counted.
        skipped: number of steps that were not tried because one before them had failed.
        warnings: `(subject, sentence)`.
        damaged: videos with frames that are not ok, found now or by an earlier run: path → number
            of frames of each status (`ok`, `suspect`, `corrupt`, `missing`).
        n_frames: frames predicted, counted once a model.
        gpu_s: seconds of prediction on GPUs, without loading models, summed over workers.
        gpu_waited_s: of those, seconds in which a network waited for frames.
        seconds: wall time, without that of the plan.
    """

    plan: _P
    run_dir: Path
    made: dict[str, list[str]] = field(default_factory=dict)
    failures: list[FailedTask] = field(default_factory=list)
    skipped: int = 0
    warnings: list[tuple[str, str]] = field(default_factory=list)
    damaged: dict[str, Mapping[str, int]] = field(default_factory=dict)
    n_frames: int = 0
    gpu_s: float = 0.0
    gpu_waited_s: float = 0.0
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
            return f"everything is done already ({self.plan.n_videos} videos)"
        text = f"{n_made} files made in {self.seconds:.0f} s"
        return text + (f", {len(self.failures)} failures" if self.failures else "")


def plan(config: RunConfig) -> Plan:
    """What `run` would do, without touching anything.

    Raises:
        RayposeError: the configuration or a model can't be used.
    """
    with scratch.used(config.scratch_dir, config.scratch_gb):
        return make_plan(config, run_dir=run_directory(config, config.output_dir))


def run_directory(config: Settings, output_dir: AnyPath | None) -> Path:
    """Where the run's ledger goes: `--run-dir`, else below `-o`, else one by date and time.

    With `-o` in a store it is the last: a log that grows line by line needs a file system.
    """
    if config.run_dir is not None:
        return config.run_dir
    local = None if output_dir is None else local_path(output_dir)
    if local is not None:
        return local / "raypose"
    return Path.cwd() / "raypose-runs" / time.strftime("%Y-%m-%dT%H-%M-%S")


def run(config: RunConfig, *, display: Display | None = None) -> RunResult[Plan]:
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
    with scratch.used(config.scratch_dir, config.scratch_gb):
        made = make_plan(config, run_dir=run_directory(config, config.output_dir))
        result = carry_out(
            made,
            lambda n_gpus: arranged_tasks(made.pending, n_gpus, made.config),
            description=_description(made),
            config=made.config,
            display=display,
        )
        if result.made.get("smooth"):
            _describe_ensemble(made)
        return result


def _describe_ensemble(made: Plan) -> None:
    smoothed = [video for session in made.sessions for video in session.videos if video.eks]
    root = next(video.eks.owner.root for video in smoothed if video.eks)
    views = dict.fromkeys(video.video.view for video in smoothed if video.video.view)
    members = [model.directory for model in made.models]
    describe_ensemble(as_path(root), members, tuple(views), made.config.eks_options)


def carry_out(
    made: _P,
    tasks: Callable[[int], Sequence[Sequence[Task]]],
    *,
    description: Mapping[str, Any],
    config: Settings,
    display: Display | None,
) -> RunResult[_P]:
    """Do what a plan says.

    Args:
        made: the plan.
        tasks: the tasks of each pending session, for a number of GPU workers.
        description: what `run.json` says beside the version, the settings and the problems.
        config: what to run on.
        display: is told what happens.

    Raises:
        RayposeError: nothing could be run at all.
        KeyboardInterrupt: it was stopped; what is done stays done.
    """
    began = time.perf_counter()
    result = RunResult(made, made.run_dir)
    result.failures += [_failed(problem) for problem in made.problems if problem.fatal]
    result.damaged.update(made.damaged)
    if display is not None:
        display.planned(made)
    if made.done:
        result.seconds = time.perf_counter() - began
        return result
    temporary_files.remove_leftovers(made.output_folders)
    log = run_log.RunLog(made.run_dir)
    executor = make_executor(config)
    try:
        log.describe(
            {
                "raypose": __version__,
                "config": config.model_dump(mode="json"),
                **description,
                "problems": [
                    {"subject": p.subject, "message": p.message, "hint": p.hint, "fatal": p.fatal}
                    for p in made.problems
                ],
            }
        )
        log.event(
            "planned",
            n_sessions=len(made.sessions),
            n_pending=len(made.pending),
            host=socket.gethostname(),
            pid=os.getpid(),
            damaged=dict(result.damaged),
        )
        _execute(tasks, executor, result, log, display)
    except BaseException as error:
        log.event("stopped", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        if display is not None:
            display.ended()
        executor.close()
        temporary_files.remove_leftovers(made.output_folders)
        result.seconds = time.perf_counter() - began
        log.event("ended", seconds=round(result.seconds, 2), failures=len(result.failures))
        log.close()
    return result


def make_executor(config: Settings) -> Executor:
    """The executor that the configuration asks for; ray is imported only where it is used."""
    if config.inline:
        from raypose.execution.inline import InlineExecutor

        return InlineExecutor(config)
    from raypose.execution.ray import RayExecutor

    return RayExecutor(config)


def _execute(
    tasks_for: Callable[[int], Sequence[Sequence[Task]]],
    executor: Executor,
    result: RunResult[Any],
    log: run_log.RunLog,
    display: Display | None,
) -> None:
    sessions = tasks_for(executor.start(result.plan.models))
    tasks = {task.id: task for session in sessions for task in session}
    in_stores = io_paths(tasks.values()).in_stores
    refused = None if in_stores is None else check_storage(in_stores)
    if refused is not None:
        raise StorageError(refused.message, path=refused.path, hint=refused.hint)
    log.event(
        "started",
        on=executor.description,
        n_tasks=len(tasks),
        tasks=Counter(task.kind for task in tasks.values()),
        n_frames=sum(task.n_frames * len(task.outputs) for task in tasks.values() if task.gpu),
    )
    if display is not None:
        display.started(executor.description, list(tasks.values()))
    recorder = _Recorder(tasks, result, log, display)
    with run_log.heartbeat(log, recorder.running):
        executor.run(sessions, recorder)


class _Recorder:
    """Listens to an executor: into the result, the log and the display."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        result: RunResult[Any],
        log: run_log.RunLog,
        display: Display | None,
    ) -> None:
        self._tasks = tasks
        self._result = result
        self._log = log
        self._display = display
        self._running: dict[str, Progress] = {}

    def running(self) -> dict[str, Any]:
        """What runs at the moment, as `[frames done, frames to do, outputs]` of each task."""
        return {
            name: [word.n_done, word.n_total, len(self._tasks[name].outputs)]
            for name, word in dict(self._running).items()
        }

    def progress(self, progress: Progress) -> None:
        task = self._tasks[progress.task]
        self._running[task.id] = progress
        if progress.n_done == 0:
            self._log.event("task started", task=task.id, worker=progress.worker)
        if self._display is not None:
            self._display.progress(task, progress)

    def finished(self, summary: Summary) -> None:
        task, result = self._tasks[summary.task], self._result
        self._running.pop(task.id, None)
        result.made.setdefault(task.kind, []).extend(summary.made)
        result.warnings += [(task.subject, warning) for warning in summary.warnings]
        if task.kind == "predict":
            n_members = len(task.outputs) - len(summary.failures)
            result.n_frames += n_members * int(summary.facts.get("n_frames", 0))
            if str(summary.facts.get("device", "")).startswith("cuda"):
                result.gpu_s += summary.facts["predict_s"]
                result.gpu_waited_s += summary.facts["decode_s"]
        for path, counts in _damage(task, summary).items():
            known = result.damaged.get(path, counts)
            result.damaged[path] = min(known, counts, key=lambda n: n.get("ok", 0))
        for failure in dict.fromkeys(summary.failures):
            if failure.skipped:
                result.skipped += 1
            else:
                result.failures.append(FailedTask(task.subject, failure))
        self._log.event("task finished", **_event(task, summary))
        if self._display is not None:
            self._display.finished(task, summary)


def _damage(task: Task, summary: Summary) -> Mapping[str, Mapping[str, int]]:
    """Of the tables that a task has made, those with frames that are not ok."""
    if task.kind == "table" and damage(summary.facts.get("frames", {})):
        return {task.videos[0].path: summary.facts["frames"]}
    damaged: Mapping[str, Mapping[str, int]] = summary.facts.get("damaged", {})
    return damaged


def _event(task: Task, summary: Summary) -> dict[str, Any]:
    event: dict[str, Any] = {
        "task": task.id,
        "kind": task.kind,
        "session": task.session,
        "subject": task.subject,
        "n_outputs": len(task.outputs),
        "seconds": round(summary.seconds, 3),
        "worker": summary.worker,
        "made": list(summary.made),
        "facts": dict(summary.facts),
    }
    if _damage(task, summary):
        event["damaged"] = dict(_damage(task, summary))
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


def _description(made: Plan) -> dict[str, Any]:
    """What `run.json` says of the plan, to be read without the code that made it."""
    return {
        "models": [
            {
                "name": model.name,
                "directory": model.directory,
                "checkpoint": model.checkpoint,
                "type": model.model_type,
                "backbone": model.backbone,
                "fingerprint": model.fingerprint,
                "engine": asdict(model.engine) if model.engine else None,
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
                "video": video.key,
                "owner": work.owner.name,
                "kind": step.kind,
                "paths": dict(step.outputs),
                "done_before": step.done,
            }
            for video, work, step in made.steps()
        ],
    }


def smooth(config: SmoothConfig, *, display: Display | None = None) -> RunResult[SmoothPlan]:
    """Smooth what is not smoothed yet; see `SmoothConfig` for what there is to ask for.

    Args:
        config: what to smooth.
        display: is told what happens.

    Returns:
        What came of it. One failure stays one failure: look at `RunResult.failures`.

    Raises:
        RayposeError: nothing could be smoothed at all.
        KeyboardInterrupt: it was stopped; what is done stays done.
    """
    with scratch.used(config.scratch_dir, config.scratch_gb):
        made = make_smooth_plan(config, run_dir=run_directory(config, config.eks_dir))
        return carry_out(
            made,
            lambda _: [smooth_tasks(step, config) for step in made.pending],
            description=_smooth_description(made),
            config=config,
            display=display,
        )


def _smooth_description(made: SmoothPlan) -> dict[str, Any]:
    """What `run.json` says of the plan, to be read without the code that made it."""
    return {
        "sessions": [
            {
                "name": step.session.name,
                "members": list(step.session.members),
                "views": list(step.session.views),
                "tables": [[str(table) for table in view] for view in step.session.tables],
                "outputs": [str(path) for path in step.paths],
                "done_before": step.done,
            }
            for step in made.sessions
        ],
    }
