"""Runs on the same outputs share the work: each recording is done by one of them.

A run claims a recording (`raypose.storage.claims`) when its first task is about to start, and
gives the claim back after the last one. Where another run has been at a recording since this one
planned it, its outputs are looked at again: what is finished by now is not redone. A recording
that another run is working on is looked at again later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from raypose.config import RunConfig, Settings, SmoothConfig
from raypose.errors import RayposeError
from raypose.execution import events
from raypose.planning import plan_tasks, without_clashes
from raypose.planning.model import Problem, RecordingPlan
from raypose.results import Recorder, RunResult, as_failure
from raypose.specs import Progress
from raypose.steps.base import Summary, Task
from raypose.storage import AnyPath, as_path
from raypose.storage.claims import STALE_S, Claims, Holder, State
from raypose.storage.layout import CLAIMS, HIDDEN
from raypose.storage.temporary_files import remove_if_empty

_ALONE_S = 30.0
"""Seconds after which runs that started together know of each other."""

_PLENTY = 4
"""With this many recordings left per run and GPU, no run lacks work because of another run's
queue."""

_ERRORS = (OSError, RayposeError)


def claims_folder(config: Settings) -> AnyPath:
    """Where all runs of the same command look for each other's claims."""
    if isinstance(config, SmoothConfig):
        root = config.root
    else:
        assert isinstance(config, RunConfig)
        root = config.output_dir or min(map(as_path, config.models), key=str)
    return root / HIDDEN / CLAIMS


@contextmanager
def claiming(config: Settings, warnings: list[tuple[str, str]]) -> Iterator[Claims | None]:
    """The claims of a run, from before its plan is begun: else it could miss a run that works
    and ends while this one plans.

    Args:
        config: with the members of an ensemble in its place, see `with_members`.
        warnings: gets the reason where there can be no claims, which are None then.
    """
    folder = claims_folder(config)
    me = Holder.this_process(overwrites=config.overwrite)
    with ExitStack() as stack:
        claims: Claims | None = None
        if _may_be_made(config):
            _remove_at_end(stack, folder)
            try:
                claims = stack.enter_context(Claims(folder, me))
            except _ERRORS as error:
                warnings.append((str(folder.parent.parent), _unshared(error)))
        yield claims


def _may_be_made(config: Settings) -> bool:
    """Whether folders of claims may be made: not in a model that does not exist, which the plan
    is about to say."""
    root = claims_folder(config).parent.parent
    is_model = isinstance(config, RunConfig) and config.output_dir is None
    return not is_model or not isinstance(root, Path) or os.path.isdir(root)


def _remove_at_end(stack: ExitStack, folder: AnyPath) -> None:
    """Remove the folders that claims need and nothing else has used: the run may do nothing."""
    if isinstance(folder, Path):
        missing = takewhile(lambda place: not os.path.exists(place), folder.parents)
        for place in reversed(list(missing)):
            stack.callback(remove_if_empty, place)


def own_run_dir(result: RunResult, claims: Claims) -> None:
    """Let the log go below the run directory where another run writes its log there."""
    number, name = 0, f"log {result.run_dir}"
    try:
        while (taken := claims.take(name, number)).state is State.OVER:
            number += 1
    except _ERRORS as error:
        warning = f"another run could write to the same log: {_reason(error)}"
        result.warnings.append((str(result.run_dir), warning))
        return
    if taken.state is State.HELD:
        result.run_dir /= f"{claims.me.host}-{claims.me.pid}"
        result.plan = replace(result.plan, run_dir=result.run_dir)


def _reason(error: OSError | RayposeError) -> str:
    return error.message if isinstance(error, RayposeError) else error.strerror or str(error)


def _unshared(error: OSError | RayposeError) -> str:
    return f"other runs on these outputs would do the same work again: {_reason(error)}"


@dataclass
class _Shared:
    """A recording, or several of the same name.

    Attributes:
        plans: as planned.
        tasks: as planned last.
        number: of the claim to try.
        n_left: tasks that have not ended.
        fails_since: when asking for it began to fail; None where the last answer was one.
    """

    plans: list[RecordingPlan] = field(default_factory=list)
    tasks: tuple[Task, ...] = ()
    number: int = 0
    n_left: int = 0
    fails_since: float | None = None


class SharedWork:
    """Claims recordings for an executor, which it observes for a `Recorder`.

    Args:
        claims: of this run.
        result: of this run; learns what others finish.
        recordings: the tasks of each pending recording of the plan.
        recorder: is told what happens.
        n_gpus: workers with a GPU.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        claims: Claims,
        result: RunResult,
        recordings: Sequence[tuple[Task, ...]],
        recorder: Recorder,
        *,
        n_gpus: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claims, self._result, self._recorder = claims, result, recorder
        self._n_gpus, self._clock = n_gpus, clock
        self._began = clock()
        self._shared: dict[str, _Shared] = {}
        self._recording_of: dict[str, str] = {}
        for plan, tasks in zip(result.plan.pending, recordings, strict=True):
            shared = self._shared.setdefault(plan.key, _Shared())
            shared.plans.append(plan)
            shared.tasks += tasks
        for key, shared in self._shared.items():
            self._set_tasks(key, shared.tasks)
        self._to_do = set(self._shared)  # neither claimed nor finished by another run
        self._mine: set[str] = set()  # claimed, and not ended
        self._held: dict[str, str] = {}
        self._said = ""

    def _set_tasks(self, key: str, tasks: tuple[Task, ...]) -> None:
        self._shared[key].tasks, self._shared[key].n_left = tasks, len(tasks)
        self._recording_of.update((task.id, key) for task in tasks)

    # --- claims -----------------------------------------------------------------------------

    def claim(self, recording: str, ahead: bool) -> events.OfRecording:
        """See `raypose.execution.base.Claim`."""
        if ahead and not self._may_claim_ahead():
            return events.Postponed(recording)
        try:
            answer = self._claim(recording)
            self._shared[recording].fails_since = None
        except _ERRORS as error:
            answer = self._after_error(recording, error)
        if isinstance(answer, events.Held):
            self._say_who_is_awaited()
            return answer
        self._said = ""
        self._held.pop(recording, None)
        self._to_do.discard(recording)
        if self._shared[recording].n_left:
            self._mine.add(recording)
        return answer

    def _after_error(self, recording: str, error: OSError | RayposeError) -> events.OfRecording:
        """The answer where none could be found."""
        shared, now = self._shared[recording], self._clock()
        if shared.fails_since is None:
            shared.fails_since = now
        # A run that is at work most likely still is: a network fails for a moment now and then.
        if recording in self._held and now - shared.fails_since < STALE_S:
            return events.Held(recording)
        # Not knowing what others do, this run does everything, as if it were alone.
        self._warn(recording, _unshared(error))
        return events.Claimed(recording)

    def _may_claim_ahead(self) -> bool:
        n_others = self._claims.n_others
        n_left = len(self._to_do) - len(self._held)
        if n_left >= _PLENTY * (1 + n_others) * max(1, self._n_gpus):
            return True
        return n_others == 0 and self._clock() - self._began > _ALONE_S

    def _claim(self, recording: str) -> events.OfRecording:
        shared, name = self._shared[recording], f"recording {recording}"
        found: list[RecordingPlan] | None = None
        while True:
            taken = self._claims.take(name, shared.number)
            if taken.state is State.HELD:
                self._held[recording] = str(taken.by or "another run")
                return events.Held(recording)
            is_mine = taken.state is State.MINE
            redoes = self._claims.me.overwrites and not (
                taken.by is not None and taken.by.overwrites and taken.is_new
            )
            if is_mine and found is None and self._claims.others_seen and not redoes:
                found = self._look_again(shared)
            elif not is_mine and not redoes:
                found = self._look_again(shared)
            if found is not None and all(plan.done for plan in found):
                if is_mine:
                    self._claims.end(name)
                by = "" if is_mine or taken.by is None else str(taken.by)
                return self._without_tasks(recording, found, by)
            if is_mine:
                return self._replanned(recording, found)
            shared.number += 1

    def _look_again(self, shared: _Shared) -> list[RecordingPlan]:
        """The plans of a recording as it is now; those that can't be made count as failed."""
        made: list[RecordingPlan] = []
        problems: list[Problem] = []
        for plan in shared.plans:
            if plan.look_again is None:
                made.append(plan)
                continue
            again, found = plan.look_again()
            problems += found
            made += [] if again is None else [again]
        usable, clashes = without_clashes(made)
        failures = [as_failure(p) for p in (*problems, *clashes) if p.fatal]
        known = self._result.failures
        known += [failure for failure in failures if failure not in known]
        return usable

    def _without_tasks(
        self, recording: str, plans: Sequence[RecordingPlan], by: str
    ) -> events.Replanned:
        """The answer for a recording that another run has finished, or that can't be done now."""
        if plans:
            self._result.elsewhere[recording] = by
        self._take_in(plans)
        dropped = self._shared[recording].tasks
        self._set_tasks(recording, ())
        return events.Replanned(recording, dropped, (), by)

    def _replanned(
        self, recording: str, plans: Sequence[RecordingPlan] | None
    ) -> events.OfRecording:
        """The answer for a recording that is claimed; `plans` as it is now, if that was asked."""
        if plans is None:
            return events.Claimed(recording)
        self._take_in(plans)
        before = self._shared[recording].tasks
        n_gpus = min(self._n_gpus, sum(task.gpu for task in before))
        now = replace(self._result.plan, recordings=tuple(plans))
        tasks = tuple(task for of_one in plan_tasks(now, max(1, n_gpus)) for task in of_one)
        if tasks == before:
            return events.Claimed(recording)
        self._set_tasks(recording, tasks)
        return events.Replanned(recording, before, tasks)

    def _take_in(self, plans: Sequence[RecordingPlan]) -> None:
        """Add to the result what is recorded of outputs that are finished by now."""
        result = self._result
        now = replace(result.plan, recordings=tuple(plans))
        result.warnings += [note for note in now.notes if note not in result.warnings]
        result.damaged.update(now.damaged)
        result.precisions |= now.precisions

    def _say_who_is_awaited(self) -> None:
        if self._mine or len(self._held) < len(self._to_do):
            return
        runs = sorted(set(self._held.values()))
        n = len(self._held)
        what = "1 recording is" if n == 1 else f"{n} recordings are"
        by = "another run" if len(runs) == 1 else f"{len(runs)} other runs"
        said = f"{what} being done by {by} ({'; '.join(runs)})"
        if said != self._said:
            self._said = said
            self._recorder.waiting(said)

    def _warn(self, subject: str, warning: str) -> None:
        if not any(warning == known for _, known in self._result.warnings):
            self._result.warnings.append((subject, warning))

    # --- the executor's observer ------------------------------------------------------------

    def progress(self, progress: Progress) -> None:
        self._recorder.progress(progress)

    def lost(self, worker: str, reason: str) -> None:
        self._recorder.lost(worker, reason)

    def replanned(self, event: events.Replanned) -> None:
        self._recorder.replanned(event)

    def finished(self, summary: Summary) -> None:
        self._recorder.finished(summary)
        key = self._recording_of[summary.task]
        shared = self._shared[key]
        shared.n_left -= 1
        if shared.n_left == 0:
            self._mine.discard(key)
            self._claims.end(f"recording {key}")
