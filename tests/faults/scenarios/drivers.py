"""Two drivers with the same command and output folder."""

from __future__ import annotations

from functools import partial

from tests.faults.scenarios.processes import KILL
from tests.faults.trial import INLINE, ON_RAY, Scenario, Trial


def both(options: tuple[str, ...], others: tuple[str, ...], trial: Trial) -> None:
    """The second one starts while the first one runs, and shares its work."""
    first = trial.start(*options)
    first.wait(trial.random.uniform(0, 0.8 * trial.job.seconds))
    trial.strike(not first.ended)
    second = trial.start(*others)
    trial.end(first)
    trial.end(second)


def one_is_killed(options: tuple[str, ...], trial: Trial) -> None:
    """One of the two is killed, and the other goes on."""
    first = trial.start(*options)
    first.wait(trial.random.uniform(0, 0.5 * trial.job.seconds))
    second = trial.start(*options)
    victim, other = trial.random.sample((first, second), 2)
    if victim.wait(trial.random.uniform(0, trial.job.seconds)):
        trial.strike(victim.signal(KILL))
    trial.end(victim, KILL)
    trial.end(other)


SCENARIOS = (
    Scenario("two drivers, inline", "two drivers", partial(both, INLINE, INLINE)),
    Scenario("two drivers, one on Ray", "two drivers", partial(both, INLINE, ON_RAY), True),
    Scenario("one of two drivers is killed", "two drivers", partial(one_is_killed, INLINE)),
)
