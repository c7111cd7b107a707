"""One run: plan, hand the tasks to an executor, keep the log, return what came of it.

`plan`, `run` and `smooth` are the public functions of these names; the command line calls them and
nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from raypose import sharing
from raypose._version import __version__
from raypose.config import RunConfig, Settings, SmoothConfig
from raypose.errors import Failure, RayposeError, StorageError
from raypose.execution.base import Executor
from raypose.inputs.ensembles import describe_ensemble, with_members
from raypose.inputs.probe import Unusable
from raypose.planning import Plan, plan_run, plan_smoothing, plan_tasks
from raypose.planning.estimate import estimate
from raypose.report import events
from raypose.results import Display, Recorder, RunResult
from raypose.sharing import SharedWork
from raypose.specs import VideoSpec
from raypose.steps import Load
from raypose.steps.base import io_paths
from raypose.storage import AnyPath, as_path, local_path, run_log, scratch, temporary_files
from raypose.storage.claims import Claims
from raypose.text import without_secrets
from raypose.worker.memory import without_collecting
from raypose.worker.storage_check import check_storage

__all__ = ["Display", "RunResult", "plan", "run", "smooth"]

RAY_LOG = "ray.log"
"""File in the run directory with what Ray printed, if anything."""

_FORMAT = ("codec", "pix_fmt", "rotation", "is_vfr")


def plan(config: RunConfig) -> Plan:
    """What `run` would do, without touching anything.

    Raises:
        RayposeError: the configuration or a model can't be used.
    """
    with scratch.used(config.scratch_dir, config.scratch_gb), without_collecting():
        made = plan_run(config, run_dir=run_directory(config, config.output_dir))
        return replace(made, estimate=estimate(made))


def run(config: RunConfig, *, display: Display | None = None, quiet: bool = False) -> RunResult:
    """Make every output that is not finished yet; see `RunConfig` for what there is to ask for.

    Args:
        config: what to run.
        display: is told what happens; by default it is printed.
        quiet: print nothing.

    Returns:
        What came of it. One failure stays one failure: look at `RunResult.failures`.

    Raises:
        RayposeError: nothing could be run at all.
        KeyboardInterrupt: it was stopped; finished outputs stay.
    """
    with _shown(display, quiet) as shown:
        result = run_some(config, None, shown)
        if not result.plan.done:
            write_report(result)
        return result


def run_some(
    config: RunConfig,
    videos: Collection[str] | None,
    display: Display | None,
    *,
    continues: bool = False,
) -> RunResult:
    """`run` without the report, for some of the videos that the arguments name.

    Args:
        config: what to run.
        videos: paths of the videos of this part of a watch; None for a run of all videos.
        display: shows the run; None for none.
        continues: whether this part goes on with the last run in the run directory.
    """
    with scratch.used(config.scratch_dir, config.scratch_gb):
        config = with_members(config)  # which decide where other runs are looked for

        def make_plan() -> Plan:
            run_dir = run_directory(config, config.output_dir)
            with without_collecting():
                return plan_run(config, run_dir=run_dir, only=videos)

        watching = videos is not None
        result = _execute(config, make_plan, display, watching=watching, continues=continues)
        _describe_ensemble(result)
        return result


def smooth(
    config: SmoothConfig, *, display: Display | None = None, quiet: bool = False
) -> RunResult:
    """Smooth existing tables of any tool, those that are not smoothed yet.

    Arguments, result and errors are those of `run`.
    """
    with _shown(display, quiet) as shown, scratch.used(config.scratch_dir, config.scratch_gb):
        run_dir = run_directory(config, config.eks_dir)
        result = _execute(config, lambda: plan_smoothing(config, run_dir=run_dir), shown)
        if not result.plan.done:
            write_report(result)
        return result


@contextmanager
def _shown(display: Display | None, quiet: bool) -> Iterator[Display | None]:
    """The display of a run, which ends with the block; None for none."""
    if display is None and not quiet:
        from raypose.report.terminal import live_display, stdout_console

        display = live_display(stdout_console())
    if display is None:
        yield None
        return
    try:
        display.planning()
        yield display
    finally:
        display.ended()


def run_directory(config: Settings, output_dir: AnyPath | None) -> Path:
    """Where the run's log goes: `--run-dir`, else below `-o`, else one by date and time.

    With `-o` in a store it is the last: a log that grows line by line needs a file system.
    """
    if config.run_dir is not None:
        return config.run_dir
    local = None if output_dir is None else local_path(output_dir)
    if local is not None:
        return local / run_log.DIRECTORY
    return Path.cwd() / "raypose-runs" / time.strftime("%Y-%m-%dT%H-%M-%S")


def _describe_ensemble(result: RunResult) -> None:
    """Name the members beside smoothed tables, also where an earlier run was stopped before."""
    made = result.plan
    smoothed = [output for output in made.outputs if output.table.step.name == "smooth"]
    made_now = result.made.get("smooth") or (smoothed and result.elsewhere)
    if not made_now and not any(output.table.done for output in smoothed):
        return
    views = dict.fromkeys(output.video.view for output in smoothed if output.video.view)
    members = [model.directory for model in made.models]
    root = as_path(smoothed[0].owner.root)
    try:
        describe_ensemble(root, members, tuple(views), made.config.eks_options)
    except (OSError, RayposeError) as error:
        result.failures.append(replace(Failure.of("smooth", error), subject=root.name))


def _execute(
    config: Settings,
    make_plan: Callable[[], Plan],
    display: Display | None,
    *,
    watching: bool = False,
    continues: bool = False,
) -> RunResult:
    """Make a plan and do what it says; raises as `run`."""
    warnings: list[tuple[str, str]] = []
    with sharing.claiming(config, warnings) as claims:
        result = RunResult.of(make_plan())
        if not result.plan.done:
            result.warnings += warnings
            if claims is not None:
                sharing.own_run_dir(result, claims)
            _execute_claimed(result, claims, display, watching=watching, continues=continues)
        elif display is not None:
            display.planned(result.plan)
        return result


def _execute_claimed(
    result: RunResult,
    claims: Claims | None,
    display: Display | None,
    *,
    watching: bool,
    continues: bool,
) -> None:
    began = time.perf_counter()
    made = result.plan
    if display is not None:
        display.planned(made)
    temporary_files.remove_leftovers(made.output_folders)
    log = run_log.RunLog(made.run_dir)
    executor = make_executor(made.config, made.run_dir)
    try:
        described = _description(made)
        if continues:
            described = _with_earlier_parts(described, run_log.read_description(made.run_dir))
        log.describe(described)
        log.event("planned", **events.planned(made), continues=continues)
        _execute_tasks(executor, result, log, display, claims)
    except BaseException as error:
        log.event("stopped", error=without_secrets(f"{type(error).__name__}: {error}"))
        raise
    finally:
        try:
            if display is not None:
                with suppress(OSError):  # its terminal was closed
                    display.ended()
        finally:
            executor.close()
        temporary_files.remove_leftovers(made.output_folders)
        result.seconds = time.perf_counter() - began
        log.event(
            "ended",
            seconds=round(result.seconds, 2),
            failures=len(result.failures),
            watching=watching,
        )
        log.close()


def write_report(result: RunResult) -> None:
    """Write the report of a run, if it asked for one; if that fails, the run has failed."""
    if not result.plan.config.report:
        return
    from raypose.report import html

    try:
        result.report, _ = html.write_report(result.run_dir)
    except Exception as error:  # the outputs are there, whatever the report met
        result.failures.append(replace(Failure.of("report", error), subject="report"))


def make_executor(config: Settings, run_dir: Path) -> Executor:
    """The executor that the configuration asks for; ray is imported only where it is used."""
    if config.inline:
        from raypose.execution.inline import InlineExecutor

        return InlineExecutor(config)
    from raypose.execution.ray import RayExecutor

    return RayExecutor(config, log=run_dir / RAY_LOG)


def _execute_tasks(
    executor: Executor,
    result: RunResult,
    log: run_log.RunLog,
    display: Display | None,
    claims: Claims | None,
) -> None:
    plan = result.plan
    on_wait = (lambda what: None) if display is None else display.waiting
    n_gpus = executor.start(plan.models, plan.task_bytes, on_wait)
    recordings = plan_tasks(plan, n_gpus)
    tasks = {task.id: task for recording in recordings for task in recording}
    in_stores = io_paths(tasks.values()).in_stores
    refused = None if in_stores is None else check_storage(in_stores)
    if refused is not None:
        raise StorageError(refused.message, path=refused.path, hint=refused.hint)
    log.event("started", **events.started(executor.description, list(tasks.values())))
    if display is not None:
        display.started(executor.description, list(tasks.values()))
    recorder = Recorder(tasks, result, log, display)
    with run_log.heartbeat(log, recorder.running):
        if claims is None:
            executor.run(list(tasks.values()), recorder)
            return
        work = SharedWork(claims, result, recordings, recorder, n_gpus=n_gpus)
        executor.run(list(tasks.values()), work, work.claim)


def _description(made: Plan) -> dict[str, Any]:
    """What `run.json` says: settings, inputs, outputs and problems, for people and programs."""
    return {
        "raypose": __version__,
        "config": made.config.model_dump(mode="json"),
        "cwd": os.getcwd(),
        "run_dir": str(made.run_dir),
        "models": [
            {
                "name": model.name,
                "directory": model.directory,
                "checkpoint": model.checkpoint,
                "type": model.model_type,
                "backbone": model.backbone,
                "fingerprint": model.fingerprint,
                "skeleton": model.skeleton,
                "engine": asdict(model.exported) if model.exported else None,
            }
            for model in made.models
        ],
        "videos": list(map(_video, made.videos)),
        "tables": [
            {"video": output.video.key, "owner": output.owner.name, "path": output.path}
            for output in made.outputs
            if isinstance(output.table.step, Load)
        ],
        "outputs": (
            {
                "video": planned.step.video.key,
                "owner": owner,
                "kind": planned.step.name,
                "paths": dict(planned.outputs),
                "done_before": planned.done,
            }
            for owner, planned in made.steps
        ),
        "problems": [
            {"subject": p.subject, "message": p.message, "hint": p.hint, "fatal": p.fatal}
            for p in made.problems
        ],
    }


def _with_earlier_parts(now: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The description of the latest part of a run, extended by what earlier parts described.

    A video that is described again replaces its earlier description, with its problems.
    """
    again = {video[name] for video in now["videos"] for name in ("key", "path")}
    again |= {problem["subject"] for problem in now["problems"]}
    extended = dict(now)
    for name, subject in (("videos", "key"), ("outputs", "video"), ("problems", "subject")):
        kept = [item for item in before.get(name, ()) if item[subject] not in again]
        extended[name] = [*kept, *now[name]]
    return extended


def _video(video: VideoSpec | Unusable) -> dict[str, Any]:
    named = {"path": video.path, "key": video.key}
    if isinstance(video, Unusable):
        return named | {"n_frames": 0, "fps": 0.0, "format": None, "error": str(video.error)}
    form = {name: getattr(video, name) for name in _FORMAT}
    return named | {"n_frames": video.n_frames, "fps": video.fps, "format": form, "error": ""}
