"""`raypose watch`: a run over the existing videos, then over each new one.

Nothing is remembered between two starts: the records of the outputs say what is finished, as for
any run. Ray stays up while the watch waits; its GPUs are free meanwhile.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from raypose import pipeline, storage
from raypose.config import RunConfig
from raypose.errors import StorageError, UsageError
from raypose.execution.interrupts import stop_signals_interrupt
from raypose.inputs.arrivals import Arrivals, verdict_of
from raypose.inputs.videos import find_videos
from raypose.planning import check_run
from raypose.results import Display, RunResult
from raypose.storage.identity import Identity

if TYPE_CHECKING:
    from raypose.execution.ray.connection import Connection

SETTLE_S = 30.0
"""For how long a file must not have changed, unless something else is asked for."""

REPORT_EVERY_S = 600.0
"""Seconds between two reports while there are always more videos to process."""

_LOOKS = 5  # while a file settles
_LEAST_SLEEP_S = 0.5
_MOST_NAMED = 2


def watch(
    config: RunConfig,
    *,
    settle_s: float = SETTLE_S,
    display: Callable[[], Display | None],
    on_result: Callable[[RunResult], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Process videos as they arrive, until it is interrupted.

    Args:
        config: what to make of each video; as for a run.
        settle_s: seconds that a file must not have changed.
        display: makes the display of a run, or of the time until the next; None shows nothing.
        on_result: called with the result of each run.
        sleep: waits.
        clock: seconds, from any beginning.

    Raises:
        RayposeError: nothing can be run.
        KeyboardInterrupt: it was stopped; finished outputs stay.
    """
    _check(config)
    # All parts share one run directory, also where it is named after the time.
    run_dir = pipeline.run_directory(config, config.output_dir)
    config = config.model_copy(update={"run_dir": run_dir})
    arrivals = Arrivals(verdict_of, settle_s=settle_s)
    reports = _Reports(clock)
    waiting = _Waiting(display)
    result: RunResult | None = None  # of the last run, until it is shown
    has_views = bool(config.views or config.calibration)
    with _cluster(config) as connection, stop_signals_interrupt():
        try:
            while True:
                with suppress(StorageError):  # it does not answer now: what is known stays
                    arrivals.look(_files(config), clock())
                ready = arrivals.take(clock())
                if result is not None:
                    reports.write(more_to_come=bool(ready))
                    with nullcontext() if connection is None else connection.shows_errors():
                        on_result(result)
                    result = None
                if ready:
                    waiting.end()
                    # A recording may lack a view in one run and have it in the next.
                    videos = arrivals.taken if has_views else ready
                    result = _run(config, videos, display(), continues=reports.n_parts > 0)
                    if result is not None:
                        reports.add(result)
                        has_views |= any(model.takes_views for model in result.plan.models)
                    continue
                waiting.say(_in_words(arrivals))
                if connection is not None:
                    connection.check()
                sleep(max(_LEAST_SLEEP_S, settle_s / _LOOKS))
        finally:
            waiting.end()
            reports.write(more_to_come=False)


class _Waiting:
    """The display between two runs, made when there is something to say."""

    def __init__(self, display: Callable[[], Display | None]) -> None:
        self._make = display
        self._shown: Display | None = None

    def say(self, text: str) -> None:
        self._shown = self._shown or self._make()
        if self._shown is not None:
            self._shown.waiting(text)

    def end(self) -> None:
        if self._shown is not None:
            self._shown.ended()
        self._shown = None


class _Reports:
    """Writes the report of all parts of a watch so far, when nothing more urgent is to do.

    Attributes:
        n_parts: how many parts did something.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.n_parts = 0
        self._clock = clock
        self._latest: RunResult | None = None  # of the parts that no report shows yet
        self._written = clock()

    def add(self, result: RunResult) -> None:
        if not result.plan.done:
            self.n_parts += 1
            self._latest = result

    def write(self, *, more_to_come: bool) -> None:
        """Write it if it shows something new; while more videos wait, every ten minutes."""
        soon = more_to_come and self._clock() - self._written < REPORT_EVERY_S
        if self._latest is not None and not soon:
            pipeline.write_report(self._latest)
            self._latest, self._written = None, self._clock()


def _run(
    config: RunConfig, videos: list[str], display: Display | None, *, continues: bool
) -> RunResult | None:
    """Run these videos; None where they are gone again."""
    try:
        if display is not None:
            display.planning()
        return pipeline.run_some(config, videos, display, continues=continues)
    except UsageError:
        if _files(config):
            raise
        return None
    finally:
        if display is not None:
            display.ended()


def _files(config: RunConfig) -> dict[str, Identity]:
    """The videos that there are now, and what tells whether they change."""
    try:
        found = find_videos(config.videos, recursive=config.recursive, may_lack=True).videos
    except UsageError:
        return {}  # there is none yet
    files = {}
    for video in found:
        try:
            files[str(video.path)] = storage.identity_of(video.path)
        except (OSError, StorageError):
            continue  # it is gone again, or its store does not answer now
    return files


def _check(config: RunConfig) -> None:
    """Raises UsageError where nothing can be watched."""
    if config.sessions is not None:
        hint = "Give directories or globs instead, with --views."
        raise UsageError("--sessions lists videos, and watch looks for new ones", hint=hint)
    _check_places(config)
    check_run(config)


def _check_places(config: RunConfig) -> None:
    """Raises UsageError where a place to watch does not exist."""
    for argument in config.videos:
        path = storage.local_path(argument)
        if path is not None and not os.path.lexists(path) and not glob.has_magic(argument):
            raise UsageError("no such file or directory", path=argument, hint="Check the path.")


def _cluster(config: RunConfig) -> AbstractContextManager[Connection | None]:
    """Ray for all runs; nothing where they run without it."""
    if config.inline:
        return nullcontext()
    from raypose.execution.ray.connection import held_open

    log = pipeline.run_directory(config, config.output_dir) / pipeline.RAY_LOG
    return held_open(config.address, config.gpus, config.cpus, log)


def _in_words(arrivals: Arrivals) -> str:
    """What the watch waits for."""
    parts = []
    if changing := arrivals.changing:
        parts.append(f"{len(changing)} still changing ({_named(changing)})")
    if unfinished := arrivals.unfinished:
        named = [f"{os.path.basename(p)}: {why}" for p, why in unfinished.items()]
        parts.append(f"{len(unfinished)} not finished ({'; '.join(named[:_MOST_NAMED])})")
    done = f"{len(arrivals.taken)} processed"
    return f"Waiting for videos, {', '.join([done, *parts])}"


def _named(paths: list[str]) -> str:
    names = ", ".join(os.path.basename(path) for path in paths[:_MOST_NAMED])
    return f"{names}, …" if len(paths) > _MOST_NAMED else names
