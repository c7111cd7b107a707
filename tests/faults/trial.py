"""One scenario on one output folder: disturb a run, run the same command again, and compare."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.command import TIMEOUT_S, Command
from tests.faults.job import Job
from tests.faults.results import LOST, MISSED, RECOVERED, SKIPPED, SURVIVED, Outcome

_CLEAN_CODES = (0, 1, 2, 130)


class NotHere(Exception):
    """This machine can't produce the fault."""


INLINE = ("--inline",)
ON_RAY = ("--gpus", "2", "--cpus", "2")
PLACES = (("inline", INLINE, False), ("on Ray", ON_RAY, True))
"""Where a command runs, in words, with its options; and whether that is on Ray."""


@dataclass(frozen=True)
class Scenario:
    """A fault, and how it is brought about.

    Attributes:
        name: of the scenario, in words.
        kind: the group in the summary.
        disturb: starts a command through the `trial`, disturbs it, and waits for its end.
        on_ray: whether Ray is started, which takes longer.
        is_long: whether it needs the job with the long video.
    """

    name: str
    kind: str
    disturb: Callable[..., None]
    on_ray: bool = False
    is_long: bool = False


@dataclass
class Trial:
    """One try of a scenario.

    Attributes:
        job: what is run.
        folder: of this trial alone; its name is short.
        random: chooses moments and victims.
        undo: what is put right before the same command is run again.
        n_faults: how often something was done to a running command.
        complaints: everything that must not happen.
    """

    job: Job
    folder: Path
    random: random.Random
    undo: ExitStack = field(default_factory=ExitStack)
    cleanup: ExitStack = field(default_factory=ExitStack)
    n_faults: int = 0
    codes: list[int | None] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    out: Path = field(init=False)
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.out = self.folder / "out"
        (self.folder / "tmp").mkdir()
        self.environment = {**self.job.environment, "TMPDIR": str(self.folder / "tmp")}

    def start(
        self,
        *options: str,
        videos: Path | None = None,
        models: Path | None = None,
        within: Sequence[str] = (),
        **environment: str,
    ) -> Command:
        """Start the command; what is given in `environment` is given to this one alone."""
        self.arguments = self.job.arguments(self.out, *options, videos=videos, models=models)
        return self._start({**self.environment, **environment}, within)

    def _start(self, environment: dict[str, str], within: Sequence[str] = ()) -> Command:
        log = self.folder / f"command-{len(self.commands)}.log"
        command = Command(self.arguments, self.out, log, environment, within)
        self.commands.append(command)
        return command

    def strike(self, happened: bool) -> bool:
        """Count a fault, if it hit a running command."""
        self.n_faults += happened
        return happened

    def end(self, command: Command, *sent: signal.Signals, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for a disturbed command's end, and check how it ended.

        `sent` are the signals of which its driver, or `timeout` around it, may die.
        """
        code = command.finish(timeout_s)
        self.codes.append(code)
        died_of = [-what for what in sent] + [128 + what for what in sent] + [124] * bool(sent)
        output = command.output
        if code is None:
            self.complaints.append(f"it still ran after {timeout_s:.0f} s: {output[-200:]!r}")
        elif code not in (*_CLEAN_CODES, *died_of):
            self.complaints.append(f"it ended with {code}: {output[-300:]!r}")
        if code in _CLEAN_CODES and code and not output.strip():
            self.complaints.append(f"it ended with {code} and without a word")
        self._check_end(command)

    def repeat(self) -> int | None:
        """The same command again, with nothing in its way; returns its exit code."""
        command = self._start(self.environment)
        code = command.finish()
        if code != 0:
            said = command.output[-500:]
            self.complaints.append(f"the same command again ended with {code}: {said!r}")
        self._check_end(command)
        return code

    def _check_end(self, command: Command) -> None:
        if "Traceback (most recent call last)" in command.output:
            at = command.output.index("Traceback (most recent call last)")
            self.complaints.append(f"a traceback: {command.output[at:][-600:]!r}")
        if left := command.left_processes():
            self.complaints.append(f"processes left: {', '.join(left)}")


def try_scenario(scenario: Scenario, job: Job, seed: int, *, keep: bool = False) -> Outcome:
    """Try it once. With `keep` the folder of a trial that was lost is kept."""
    began = time.monotonic()
    trial = Trial(job, Path(tempfile.mkdtemp(prefix="rpf-")), random.Random(seed))
    shared_memory = _shared_memory()
    verdict = LOST
    try:
        with trial.cleanup:
            scenario.disturb(trial=trial)
            trial.undo.close()
            survived = bool(trial.codes) and all(code == 0 for code in trial.codes)
            if survived or trial.repeat() == 0:
                trial.complaints += [*job.differences(trial.out), *job.wrong_status(trial.out)]
                verdict = SURVIVED if survived else RECOVERED
            trial.complaints += _left_in_memory(shared_memory)
    except NotHere as reason:
        return Outcome(scenario.name, scenario.kind, seed, SKIPPED, 0, (), str(reason), 0.0)
    except Exception as error:  # the other scenarios go on
        trial.complaints.append(f"the trial itself failed: {type(error).__name__}: {error}")
        verdict = LOST
    finally:
        for command in trial.commands:
            command.kill()
        if not (keep and (trial.complaints or verdict == LOST)):
            shutil.rmtree(trial.folder, ignore_errors=True)
    if trial.complaints:
        verdict = LOST
    elif not trial.n_faults:
        verdict = MISSED
    if trial.complaints and keep:
        print(f"kept: {trial.folder}", flush=True)
    why = "; ".join(trial.complaints).replace(f"{trial.folder}/", "")
    seconds = time.monotonic() - began
    return Outcome(
        scenario.name, scenario.kind, seed, verdict, trial.n_faults, tuple(trial.codes), why,
        round(seconds, 1),
    )  # fmt: skip


def _shared_memory() -> set[Path]:
    return set(Path("/dev/shm").glob("*"))


def _left_in_memory(before: set[Path]) -> list[str]:
    """Files in shared memory that are new, and that no living process uses."""
    new = _shared_memory() - before
    return [f"left in shared memory: {path.name}" for path in new if not _is_used(path)]


def _is_used(path: Path) -> bool:
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if str(path) in maps.read_text():
                return True
        except OSError:
            continue
    return False


def mount_disk(trial: Trial, at: Path, size: str) -> None:
    """A file system in memory, of this size, until the end of the trial."""
    at.mkdir(parents=True, exist_ok=True)
    run_tool(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)])
    trial.cleanup.callback(subprocess.run, ["umount", "-l", str(at)], check=False)


def run_tool(command: Sequence[str]) -> None:
    """Run a program of the system; `NotHere` if it is missing or not allowed."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotHere(f"there is no {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise NotHere(f"{command[0]} is not allowed here ({error.stderr.strip()})") from error
