"""The disk that outputs go to: full, failing, read-only, gone; and a kill in the middle of a
change."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults.command import Command
from tests.faults.preload import preloaded
from tests.faults.scenarios.processes import KILL
from tests.faults.trial import (
    INLINE,
    ON_RAY,
    PLACES,
    NotHere,
    Scenario,
    Trial,
    mount_disk,
    run_tool,
)


def at_a_change(how: str, *options: str, trial: Trial) -> None:
    """At one of all changes of files, chosen at random, the process is killed or the disk fails.

    On Ray each process counts its own changes, and meets the fault again when it is replaced.
    """
    count = trial.job.n_changes
    if not count:
        raise NotHere("there is no C compiler")
    environment = preloaded(trial.job.folder, FAULTS_OUTPUTS=str(trial.out), FAULTS_HOW=how)
    for _ in range(trial.random.randrange(1, 6)):
        at = trial.random.randrange(1, count if "--inline" in options else count // 4)
        command = trial.start(*options, **environment, FAULTS_AT=str(at))
        trial.end(command, KILL)
        ended_well = command.process.returncode == 0
        trial.strike(not (ended_well and how == "kill"))  # else it made fewer changes
        if ended_well:
            break


def small_disk(*options: str, trial: Trial) -> None:
    """The output folder is on a disk that becomes full somewhere; it is given more room later."""
    needed = sum(p.stat().st_size for p in trial.job.undisturbed.rglob("*") if p.is_file())
    size_kb = max(16, int(trial.random.uniform(0.02, 1.0) * needed / 1024) // 4 * 4)
    mount_disk(trial, trial.out, f"{size_kb}k")
    trial.undo.callback(run_tool, ["mount", "-o", "remount,size=64m", str(trial.out)])
    trial.end(trial.start(*options))
    trial.strike(True)


def no_room_for(variable: str, *options: str, trial: Trial) -> None:
    """A full disk below the cache or the temporary files, and not below the outputs."""
    place = trial.folder / "full"
    mount_disk(trial, place, "16k")
    with suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    trial.end(trial.start(*options, **{variable: str(place)}))
    trial.strike(True)


def folder_taken_away(*options: str, trial: Trial) -> None:
    """The output folder is renamed in the middle of the run, and later it is back."""
    away = trial.folder / "away"
    command = trial.start(*options)

    def give_back() -> None:
        if away.exists():
            shutil.rmtree(trial.out, ignore_errors=True)
            os.rename(away, trial.out)

    trial.undo.callback(give_back)
    if _wait_for_a_moment(trial, command):
        os.rename(trial.out, away)
        trial.strike(not command.ended)
    trial.end(command)


def folder_read_only(*options: str, trial: Trial) -> None:
    """No file can be made, renamed or removed in the output folders any more."""
    command = trial.start(*options)
    if _wait_for_a_moment(trial, command):
        folders = [folder for folder, _, _ in os.walk(trial.out)]
        free = partial(subprocess.run, ["chattr", "-f", "-R", "-i", str(trial.out)], check=False)
        trial.cleanup.callback(free)
        trial.undo.callback(free)
        try:
            run_tool(["chattr", "+i", *folders])
        except NotHere:
            command.kill()
            raise
        trial.strike(not command.ended)
    trial.end(command)


def folder_removed(*options: str, trial: Trial) -> None:
    """Everything written so far is removed in the middle of the run."""
    command = trial.start(*options)
    if _wait_for_a_moment(trial, command):
        shutil.rmtree(trial.out, ignore_errors=True)
        trial.strike(not command.ended)
    trial.end(command)


def _wait_for_a_moment(trial: Trial, command: Command) -> bool:
    """Wait until some outputs are there, and a little longer; whether the run still goes on."""
    n = trial.random.randrange(1, 20)
    command.wait_until(lambda: len(_records(trial.out)) >= n)
    return command.wait(trial.random.uniform(0, 1.0)) and trial.out.exists()


def _records(out: Path) -> list[str]:
    # `rglob` fails where a folder vanishes meanwhile.
    files = (f"{folder}/{name}" for folder, _, names in os.walk(out) for name in names)
    return [file for file in files if "/.raypose/" in file and file.endswith(".json")]


SCENARIOS = (
    *(
        Scenario(f"killed in the middle of a change, {place}", "kill in a change of a file",
                 partial(at_a_change, "kill", *options), on_ray)
        for place, options, on_ray in PLACES
    ),
    *(
        Scenario(f"{what}, {place}", "disk full or failing", partial(at_a_change, how, *options),
                 on_ray)
        for what, how in (("no space from some change on", "full"), ("one change fails", "error"))
        for place, options, on_ray in PLACES
    ),
    Scenario("a small disk, inline", "disk full or failing", partial(small_disk, *INLINE)),
    Scenario("a small disk, on Ray", "disk full or failing", partial(small_disk, *ON_RAY), True),
    Scenario("no room in the cache", "disk full or failing",
             partial(no_room_for, "RAYPOSE_CACHE_DIR", *INLINE)),
    Scenario("no room for temporary files, inline", "disk full or failing",
             partial(no_room_for, "TMPDIR", *INLINE)),
    *(
        Scenario(f"the output folder {what}, {place}", "output folder", partial(how, *options),
                 on_ray)
        for what, how in (
            ("is renamed and comes back", folder_taken_away),
            ("becomes read-only", folder_read_only),
            ("is removed", folder_removed),
        )
        for place, options, on_ray in PLACES
    ),
)  # fmt: skip
