"""Signals to the processes of a run: killed, asked to end, hung up on, paused, frozen."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

from tests.faults.command import Command
from tests.faults.processes import send
from tests.faults.trial import ON_RAY, Scenario, Trial

WORKERS = ("GPU worker", "CPU worker")
HELPERS = ("coordinator", "raylet", "GCS", "agent")
_STALL = ("--stall-timeout", "15")

KILL, TERM, HUP = signal.SIGKILL, signal.SIGTERM, signal.SIGHUP
INT, STOP, CONT = signal.SIGINT, signal.SIGSTOP, signal.SIGCONT


def to_the_driver(what: signal.Signals, *options: str, trial: Trial) -> None:
    """A signal to the driver alone, at any moment."""
    command = trial.start(*options)
    if "--inline" not in options:
        command.wait_until(lambda: command.events("planned"))
    if command.wait(trial.random.uniform(0, 0.9 * trial.job.seconds)):
        trial.strike(command.signal(what))
    trial.end(command, what)


def pause_of_the_driver(*options: str, then: signal.Signals, trial: Trial) -> None:
    """The driver stops for some seconds, as with Ctrl-Z, and goes on or is killed."""
    command = trial.start(*options)
    if command.wait(trial.random.uniform(0, 0.9 * trial.job.seconds)):
        trial.strike(command.signal(STOP))
        command.wait(trial.random.uniform(1, 10))
        command.signal(then)
    trial.end(command, then)


def to_all(what: signal.Signals, *options: str, trial: Trial) -> None:
    """A signal to every process, as from a terminal that closes or a batch system."""
    command = trial.start(*options)
    if command.wait(trial.random.uniform(0, trial.job.seconds)):
        trial.strike(command.signal_all(what))
    trial.end(command, what)


def to_one(role: str, what: signal.Signals, trial: Trial, pause_s: float = 0.0) -> None:
    """A signal to one process of a run on Ray; with `pause_s` it goes on after that."""
    command = trial.start(*ON_RAY, *_STALL)
    if victim := _victim(command, (role,), trial):
        trial.strike(send(victim, what))
        if what == STOP:
            command.frozen.append(victim)
        if pause_s:
            command.wait(pause_s)
            send(victim, CONT)
    trial.end(command)


def _victim(command: Command, roles: tuple[str, ...], trial: Trial) -> int | None:
    """A process of one of the roles, some seconds after there is one."""

    def find() -> list[int]:
        return [pid for role, pids in command.roles().items() if role in roles for pid in pids]

    if command.wait_until(find) and command.wait(trial.random.uniform(0, 8)) and (pids := find()):
        return trial.random.choice(pids)
    return None


def storm(roles: tuple[str, ...], every_s: float, trial: Trial) -> None:
    """Processes are killed again and again, at random, while the run goes on.

    A task that has lost its worker four times fails, and may end a run before the storm is over:
    the command is then run again, in the same storm.
    """
    for _ in range(5):
        command = trial.start(*ON_RAY)
        while trial.n_faults < 100 and command.wait(trial.random.uniform(0.3, 2 * every_s)):
            pids = [pid for role in roles for pid in command.roles().get(role, [])]
            if pids:
                trial.strike(send(trial.random.choice(pids), KILL))
        trial.end(command)
        if command.process.returncode == 0:
            break


def again_and_again(*options: str, trial: Trial) -> None:
    """The driver is killed at random moments, and the command run again, up to twenty times."""
    for _ in range(20):
        command = trial.start(*options)
        if not command.wait(trial.random.uniform(0.5, 0.5 * trial.job.seconds)):
            trial.end(command)
            return
        trial.strike(command.signal(KILL))
        trial.end(command, KILL)


def within_timeout(sent: signal.Signals, *options: str, trial: Trial) -> None:
    """`timeout` ends the command, and all of its process group, after some seconds."""
    seconds = trial.random.uniform(1, 0.9 * trial.job.seconds)
    within = ("timeout", f"--signal={sent.name[3:]}", f"{seconds:.2f}")
    command = trial.start(*options, within=within)
    command.wait(seconds)
    trial.strike(not command.ended)
    trial.end(command, sent)


def while_networks_are_built(what: signal.Signals, *options: str, trial: Trial) -> None:
    """The cache is empty, so that networks are built first; all processes get a signal."""
    trial.environment["RAYPOSE_CACHE_DIR"] = str(trial.folder / "cache")
    command = trial.start(*options)
    if command.wait(trial.random.uniform(1, 2 * trial.job.seconds)):
        trial.strike(command.signal(what))
    trial.end(command, what)


def _scenario(
    name: str, kind: str, disturb: Callable[..., None], *, on_ray: bool, is_long: bool = False
) -> Scenario:
    return Scenario(name, kind, disturb, on_ray, is_long)


def _of_drivers() -> list[Scenario]:
    found = []
    for place, options, kind in (
        ("inline", ("--inline",), "driver without Ray"),
        ("on Ray", ON_RAY, "driver on Ray"),
    ):
        ray = place == "on Ray"
        found += [
            _scenario(f"{what.name} to the driver, {place}", kind,
                      partial(to_the_driver, what, *options), on_ray=ray)
            for what in (KILL, TERM, HUP, INT)
        ]  # fmt: skip
        found += [
            _scenario(f"{what.name} to all processes, {place}", kind,
                      partial(to_all, what, *options), on_ray=ray)
            for what in (KILL, TERM, HUP, INT)
        ]  # fmt: skip
        found += [
            _scenario(f"the driver is stopped, then {then.name}, {place}", kind,
                      partial(pause_of_the_driver, *options, then=then), on_ray=ray)
            for then in (CONT, KILL)
        ]  # fmt: skip
        found += [
            _scenario(f"timeout ends it with {sent.name}, {place}", kind,
                      partial(within_timeout, sent, *options), on_ray=ray)
            for sent in (TERM, KILL)
        ]  # fmt: skip
        found += [
            _scenario(f"killed again and again until it is done, {place}", kind,
                      partial(again_and_again, *options), on_ray=ray),
            _scenario(f"killed while networks are built, {place}", kind,
                      partial(while_networks_are_built, KILL, *options), on_ray=ray),
        ]  # fmt: skip
    return found


def _of_one() -> list[Scenario]:
    found = []
    for role in (*WORKERS, *HELPERS):
        kind = "workers" if role in WORKERS else "Ray's own processes"
        found += [
            _scenario(f"{what.name} to one {role}", kind, partial(to_one, role, what), on_ray=True)
            for what in (KILL, TERM, HUP)
        ]
        found += [
            _scenario(f"one {role} stops for some seconds", kind,
                      partial(to_one, role, STOP, pause_s=5.0), on_ray=True),
            _scenario(f"one {role} stops for good", kind, partial(to_one, role, STOP),
                      on_ray=True),
        ]  # fmt: skip
    return found


_STORMS = [
    _scenario(f"{what} killed every {every_s:g} s", "workers, again and again",
              partial(storm, roles, every_s), on_ray=True, is_long=True)
    for what, roles, every_s in (
        ("GPU workers", ("GPU worker",), 3.0),
        ("all workers", WORKERS, 1.0),
        ("all workers", WORKERS, 2.0),
        ("workers and coordinator", (*WORKERS, "coordinator"), 1.5),
    )
]  # fmt: skip

SCENARIOS = (*_of_drivers(), *_of_one(), *_STORMS)
