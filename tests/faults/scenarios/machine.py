"""The machine: a clock that jumps, and memory that is short."""

from __future__ import annotations

from functools import partial

from tests.faults.preload import preloaded
from tests.faults.trial import ON_RAY, PLACES, NotHere, Scenario, Trial


def clock_jumps(by_s: int, *options: str, trial: Trial) -> None:
    """The time of day jumps in the middle of the run, and is right when it is run again."""
    if not trial.job.n_changes:
        raise NotHere("there is no C compiler")
    switches = trial.folder / "switches"
    switches.mkdir()
    command = trial.start(*options, **preloaded(trial.job.folder, FAULTS_SWITCHES=str(switches)))
    if command.wait(trial.random.uniform(0, trial.job.seconds)):
        (switches / "clock").write_text(str(by_s))
        trial.strike(True)
    trial.end(command)


def memory_monitor(trial: Trial) -> None:
    """Ray kills workers because it counts the machine's memory as used up."""
    command = trial.start(
        *ON_RAY, RAY_memory_usage_threshold="0.001", RAY_memory_monitor_refresh_ms="200"
    )
    trial.strike(True)
    trial.end(command)


def small_object_store(trial: Trial) -> None:
    """Ray's object store is as small as Ray allows, so that it has to spill to disk."""
    size = str(76 * 2**20)
    command = trial.start(*ON_RAY, RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES=size)
    trial.strike(True)
    trial.end(command)


_DAY = 86400

SCENARIOS = (
    *(
        Scenario(f"the clock jumps a day {which}, {place}", "clock",
                 partial(clock_jumps, by_s, *options), on_ray)
        for which, by_s in (("forward", _DAY), ("back", -_DAY))
        for place, options, on_ray in PLACES
    ),
    Scenario("Ray's memory monitor kills workers", "memory", memory_monitor, True),
    Scenario("a small object store", "memory", small_object_store, True),
)  # fmt: skip
