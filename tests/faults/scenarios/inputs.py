"""Videos and models that change, vanish, or can't be read in the middle of a run."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tests.faults.command import Command
from tests.faults.preload import preloaded
from tests.faults.trial import INLINE, ON_RAY, PLACES, NotHere, Scenario, Trial
from tests.videos import make_video


def replaced(what: str, *options: str, trial: Trial) -> None:
    """A video is taken away, replaced by another or cut short; later the right one is back."""
    videos = trial.job.copy("videos", trial.folder)
    victim = trial.random.choice(sorted(videos.iterdir()))
    kept = trial.folder / victim.name
    trial.undo.callback(lambda: os.replace(kept, victim) if kept.exists() else None)
    command = trial.start(*options, videos=videos)
    if _wait_for_the_plan(trial, command):
        os.rename(victim, kept)
        if what == "replaced":
            make_video(victim, n_frames=trial.random.choice((30, 60, 90)), gop=5)
        elif what == "cut":
            content = kept.read_bytes()
            victim.write_bytes(content[: trial.random.randrange(1, len(content))])
        trial.strike(not command.ended)
    trial.end(command)


def model_taken_away(*options: str, trial: Trial) -> None:
    """A model's folder is renamed in the middle of the run."""
    models = trial.job.copy("models", trial.folder)
    trial.environment["RAYPOSE_CACHE_DIR"] = str(trial.folder / "cache")
    here, away = models / "m1", models / "away"
    trial.undo.callback(lambda: os.rename(away, here) if away.exists() else None)
    command = trial.start(*options, models=models)
    if _wait_for_the_plan(trial, command):
        os.rename(here, away)
        trial.strike(not command.ended)
    trial.end(command)


def unreadable(switch: str, for_s: float, *options: str, trial: Trial) -> None:
    """Reads of videos fail, or wait, for some seconds: a network disk that does not answer."""
    if not trial.job.n_changes:
        raise NotHere("there is no C compiler")
    switches = trial.folder / "switches"
    switches.mkdir()
    videos = trial.job.copy("videos", trial.folder)
    environment = preloaded(
        trial.job.folder, FAULTS_INPUTS=str(videos), FAULTS_SWITCHES=str(switches)
    )
    command = trial.start(*options, videos=videos, **environment)
    if command.wait(trial.random.uniform(0, trial.job.seconds)):
        (switches / switch).touch()
        trial.strike(True)
        command.wait(for_s)
        (switches / switch).unlink()
    trial.end(command)


def _wait_for_the_plan(trial: Trial, command: Command) -> bool:
    """Wait until the run is planned, and a little longer; whether it still goes on."""
    command.wait_until(lambda: Path(trial.out / "raypose" / "run.json").exists())
    return command.wait(trial.random.uniform(0, 0.8 * trial.job.seconds))


SCENARIOS = (
    *(
        Scenario(f"a video is {what}, {place}", "videos and models",
                 partial(replaced, how, *options), on_ray)
        for what, how in (("taken away", "away"), ("replaced", "replaced"), ("cut short", "cut"))
        for place, options, on_ray in PLACES
    ),
    *(
        Scenario(f"a model is taken away, {place}", "videos and models",
                 partial(model_taken_away, *options), on_ray)
        for place, options, on_ray in PLACES
    ),
    *(
        Scenario(f"reads {what}, {place}", "reads of videos",
                 partial(unreadable, switch, for_s, *options), on_ray)
        for what, switch, for_s, stall in (
            ("fail for a moment", "read-error", 1.0, ()),
            ("wait for 5 s", "read-stall", 5.0, ()),
            ("wait for longer than --stall-timeout", "read-stall", 20.0, ("--stall-timeout", "10"))
        )
        for place, options, on_ray in (
            ("inline", (*INLINE, *stall), False),
            ("on Ray", (*ON_RAY, *stall), True),
        )
    ),
)  # fmt: skip
